"""What a test does without a server that is not installed."""

from __future__ import annotations

import os

import pytest

from tests.servers import ServerMissing


def or_skip(missing: ServerMissing) -> None:
    """Outside CI a server that is not installed is left out aloud; in CI (``CI=true``) that is a failure."""
    if os.environ.get("CI") == "true":
        raise missing
    pytest.skip(str(missing))
