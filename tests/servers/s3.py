"""An S3 server: a real radosgw where it is installed, else the mock moto."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.processes import SERVERS, ServerMissing, free_ports, listening, program, running, until


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """``kind`` is ``radosgw`` or ``moto``; ``env`` holds the ``AWS_*`` variables.

    ``stranger()`` gives the variables of a user that may touch none of the buckets; None where permissions are not
    enforced.
    """

    kind: str
    endpoint: str
    env: dict[str, str] = field(repr=False)
    stranger: Callable[[], dict[str, str]] | None = None

    def new_bucket(self, *, versioned: bool = False) -> str:
        """Make an empty bucket; its uri, with the last slash."""
        client = self.client()
        bucket = f"lake-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=bucket)
        if versioned:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return f"s3://{bucket}/"

    def client(self):
        """A botocore client, independent of the code under test."""
        import botocore.session

        return botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.env["AWS_REGION"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )


def environment(port: int, key: str, secret: str) -> dict[str, str]:
    """What a user would set for a server on the loopback ``port``."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
    }


@contextlib.contextmanager
def start_moto(folder: Path) -> Iterator[S3Server]:
    """The mock server, in its own environment (it breaks aiobotocore's pins). Raises ServerMissing."""
    command = program("moto_server", variable="LAKERAY_MOTO", places=[SERVERS / "moto/bin/moto_server"])
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    log = folder / "moto.log"
    with running([command, "-H", "127.0.0.1", "-p", str(port)], log) as process:
        until(lambda: listening(port), process, log, 60)
        env = environment(port, "lakekey", "lakesecret")
        yield S3Server(kind="moto", endpoint=env["AWS_ENDPOINT_URL"], env=env)


@contextlib.contextmanager
def start_s3(folder: Path) -> Iterator[S3Server]:
    """radosgw, or moto where it is missing (or ``LAKERAY_S3=moto``), which is said aloud.

    In CI (``CI=true``) it must not be missing.
    """
    from tests.servers.radosgw import start_radosgw

    with contextlib.ExitStack() as stack:
        try:
            if os.environ.get("LAKERAY_S3") == "moto":
                raise ServerMissing("LAKERAY_S3=moto asks for it")  # noqa: TRY301 - one way to the mock
            server = stack.enter_context(start_radosgw(folder))
        except ServerMissing as missing:
            if os.environ.get("CI") == "true":
                raise
            print(f"\nS3 tests run on the mock moto, not on a real server: {missing}", file=sys.stderr)  # noqa: T201
            server = stack.enter_context(start_moto(folder))
        yield server
