"""The emulator's clock can be moved for one account: see emulator/clock.py."""

import datetime
import email.utils
import urllib.error
import urllib.request

from botocore.exceptions import ClientError

from tests import support
from tests.support import Account, EmulatorTest, allow, assume, token


def move(account: Account, seconds: int) -> None:
    with urllib.request.urlopen(f"{support.endpoint()}/_stack/clock?{account.id}={seconds}") as answer:
        assert answer.status == 200


def utc(seconds: int = 0) -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


class MovedClock(EmulatorTest):
    def setUp(self) -> None:
        super().setUp()
        self.reading = {"Condition": {"DateLessThan": {"aws:CurrentTime": utc(120).isoformat(timespec="seconds")}}}

    def reader(self, account: Account) -> tuple:
        bucket = account.bucket()
        account.root.s3.put_object(Bucket=bucket, Key="x")
        return account.actor("reader", allow("s3:GetObject", **self.reading)).s3, {"Bucket": bucket, "Key": "x"}

    def test_policies_go_by_it_and_other_accounts_do_not(self) -> None:
        (s3, what), (others, theirs) = self.reader(self.account), self.reader(Account())
        s3.get_object(**what)
        move(self.account, 240)
        self.denied(s3.get_object, **what)
        others.get_object(**theirs)
        move(self.account, 0)
        s3.get_object(**what)

    def test_every_answer_says_it(self) -> None:
        def heard(call, **arguments) -> float:
            try:
                headers = call(**arguments)["ResponseMetadata"]["HTTPHeaders"]
            except ClientError as error:
                headers = error.response["ResponseMetadata"]["HTTPHeaders"]
            return email.utils.parsedate_to_datetime(headers["date"]).timestamp() - utc().timestamp()

        move(self.account, 200)
        for call, arguments in ((self.account.root.iam.list_roles, {}), (self.account.root.kms.list_keys, {}),
                                (self.account.root.s3.list_buckets, {}),
                                (self.account.root.iam.get_role, {"RoleName": "absent"})):
            self.assertAlmostEqual(heard(call, **arguments), 200, delta=30)
        self.assertAlmostEqual(heard(Account().root.iam.list_roles), 0, delta=30)

    def test_dates_of_what_is_made_are_by_it(self) -> None:
        move(self.account, 200)
        self.account.role("a")
        created = self.account.root.iam.get_role(RoleName="a")["Role"]["CreateDate"]
        self.assertAlmostEqual((created - utc()).total_seconds(), 200, delta=30)

    def test_signatures_and_tokens_age_by_it(self) -> None:
        arn = self.account.role("a")
        s3 = assume(arn, token("system:serviceaccount:test:a")).s3
        s3.list_buckets()
        move(self.account, 3_700)
        self.refused("RequestTimeTooSkewed", s3.list_buckets)
        self.refused("ExpiredTokenException", assume, arn, token("system:serviceaccount:test:a"))
        assume(arn, token("system:serviceaccount:test:a", lifetime=7_200))

    def test_what_is_no_clock_is_refused(self) -> None:
        for query in ("", "1=5", f"{self.account.id}=soon"):
            with self.assertRaises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{support.endpoint()}/_stack/clock?{query}")
