"""Starts the AWS emulator: `python -m emulator --port N --issuer-key FILE`."""

import argparse
import asyncio
import os
import resource
import socket
import sys


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m emulator", description="The AWS emulator of the local stack.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--issuer-key", required=True, help="PEM file of the key that signs ServiceAccount tokens")
    arguments = parser.parse_args()

    # ministack reads its settings while it is imported. Nothing but what the operator and its workloads call is
    # served, and nothing is kept.
    os.environ.update(AUTH="true", SERVICES="iam,kms,s3,sts", PERSIST_STATE="0", S3_PERSIST="0",
                      GATEWAY_PORT=str(arguments.port), LOG_LEVEL=os.environ.get("LOG_LEVEL", "WARNING"),
                      EMULATOR_ISSUER_KEY=arguments.issuer_key)
    from emulator import server
    from emulator.corrections import PatchError

    without = frozenset(name for name in os.environ.get("EMULATOR_WITHOUT", "").split(",") if name)
    try:
        application = server.corrected_application(without)
    except PatchError as error:
        sys.exit(f"emulator: {error}")

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", arguments.port))

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    config.include_date_header = False  # each account has a clock of its own: emulator/clock.py
    asyncio.run(serve(application, config))


if __name__ == "__main__":
    main()
