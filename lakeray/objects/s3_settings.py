"""The usual ``AWS_*`` variables become one value that s3fs and delta-rs both obey."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from typing import Any

_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Settings:
    """Where S3 is and who asks. Hashable; its repr shows no secret.

    ``endpoint`` None means Amazon's own. Without ``key`` the client looks for a profile, a role or the machine's
    identity.
    """

    endpoint: str | None = None
    region: str = "us-east-1"
    key: str | None = None
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    profile: str | None = None
    anonymous: bool = False
    virtual_host: bool = False
    checksums: str | None = None

    @classmethod
    def from_environment(cls) -> S3Settings:
        """Settings from this process's variables.

        Reads ``AWS_ENDPOINT_URL(_S3)``, ``AWS_REGION`` or ``AWS_DEFAULT_REGION``, ``AWS_ACCESS_KEY_ID``,
        ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_PROFILE``, ``AWS_SKIP_SIGNATURE``,
        ``AWS_REQUEST_CHECKSUM_CALCULATION`` and ``AWS_VIRTUAL_HOSTED_STYLE_REQUEST``. Amazon's own endpoint is asked in
        virtual-host style, any other with the bucket in the path unless the last variable is true.
        """
        read = os.environ.get
        endpoint = read("AWS_ENDPOINT_URL_S3") or read("AWS_ENDPOINT_URL") or None
        return cls(
            endpoint=endpoint,
            region=read("AWS_REGION") or read("AWS_DEFAULT_REGION") or "us-east-1",
            key=read("AWS_ACCESS_KEY_ID") or None,
            secret=read("AWS_SECRET_ACCESS_KEY") or None,
            token=read("AWS_SESSION_TOKEN") or None,
            profile=read("AWS_PROFILE") or None,
            anonymous=read("AWS_SKIP_SIGNATURE", "").lower() in _TRUE,
            virtual_host=endpoint is None or read("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in _TRUE,
            checksums=read("AWS_REQUEST_CHECKSUM_CALCULATION") or None,
        )

    def client_options(self) -> dict[str, Any]:
        """Arguments for ``s3fs.S3FileSystem``, timeouts and retries aside."""
        config: dict[str, Any] = {"s3": {"addressing_style": "virtual" if self.virtual_host else "path"}}
        if self.endpoint and not self.checksums:
            # Many S3-compatible servers refuse the checksum trailers that botocore sends by default since 1.36.
            config |= {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        return {
            "anon": self.anonymous,
            "key": self.key,
            "secret": self.secret,
            "token": self.token,
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": self.region},
            "config_kwargs": config,
        }

    def delta_options(self) -> dict[str, str]:
        """``storage_options`` for delta-rs; both keys always, or it would ask the cloud's metadata address for them."""
        options = {
            "AWS_REGION": self.region,
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(self.virtual_host).lower(),
            "aws_conditional_put": "etag",
        }
        if self.endpoint:
            options["AWS_ENDPOINT_URL"] = self.endpoint
            options["AWS_ALLOW_HTTP"] = str(self.endpoint.startswith("http://")).lower()
        if self.anonymous:
            options["AWS_SKIP_SIGNATURE"] = "true"
            return options
        key, secret, token = self.key, self.secret, self.token
        if not (key and secret):
            key, secret, token = _credentials(self)
        if key and secret:
            options |= {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        if token:
            options["AWS_SESSION_TOKEN"] = token
        return options


def _credentials(settings: S3Settings) -> tuple[str | None, str | None, str | None]:
    """What the session holds now: a role's keys are renewed by botocore, so ask each time."""
    found = _session_credentials(settings)
    if found is None:
        return None, None, None
    frozen = found.get_frozen_credentials()
    return frozen.access_key, frozen.secret_key, frozen.token


@functools.lru_cache(maxsize=8)
def _session_credentials(settings: S3Settings) -> Any:
    import botocore.exceptions
    import botocore.session

    try:
        return botocore.session.Session(profile=settings.profile).get_credentials()
    except botocore.exceptions.BotoCoreError:
        return None  # the store's first contact tells which profile is wrong
