"""Workloads that try to read all the time. Reads an order on stdin, prints what they could read. Needs botocore."""

import json
import sys
import threading
import time

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

PAUSE_SECONDS = 0.1


def session(order: dict, who: dict):
    """An S3 client with a session of the ServiceAccount's role."""
    plain = Config(signature_version=botocore.UNSIGNED)
    settings = {"endpoint_url": order["endpoint"], "region_name": order["region"]}
    sts = botocore.session.get_session().create_client("sts", config=plain, **settings)
    got = sts.assume_role_with_web_identity(RoleArn=who["role"], RoleSessionName="bench", WebIdentityToken=who["token"])
    keys = got["Credentials"]
    return botocore.session.get_session().create_client(
        "s3", aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"], config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        **settings)


def main() -> int:
    order = json.load(sys.stdin)
    session(order, order["writer"]).put_object(Bucket=order["bucket"], Key="in/x", Body=b"content")
    counts = {"read_before": 0, "refused_after": 0, "read_after": 0}
    lock = threading.Lock()

    def read(who: dict) -> None:
        client = session(order, who)
        while time.time() < order["until"]:
            sent = time.time()
            try:
                client.get_object(Bucket=order["bucket"], Key="in/x")["Body"].read()
                word = "read_before" if sent < order["end"] else "read_after"
            except ClientError as error:
                # The role goes when nothing needs it: its sessions end as well.
                known = error.response["Error"]["Code"] in ("AccessDenied", "InvalidAccessKeyId", "InvalidClientTokenId")
                word = "refused_after" if sent >= order["end"] and known else "other"
            with lock:
                counts[word] = counts.get(word, 0) + 1
            time.sleep(PAUSE_SECONDS)

    threads = [threading.Thread(target=read, args=(who,)) for who in order["readers"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
