"""Starts the AWS emulator: `python -m emulator --port N`."""

import argparse
import asyncio
import os
import resource
import socket


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m emulator", description="The AWS emulator of the local stack.")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port

    # ministack reads its settings while it is imported.
    os.environ.update(AUTH="true", GATEWAY_PORT=str(port), LOG_LEVEL=os.environ.get("LOG_LEVEL", "WARNING"))

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
