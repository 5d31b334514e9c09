"""Servers and empty lakes for every test that asks for them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from lakeray.config import Settings
from tests.missing import or_skip
from tests.servers import AzureServer, RedisServer, S3Server, ServerMissing, start_azurite, start_redis, start_s3

# Explaining a failure traces every line of lakeray: it takes so long that the timeout hides what failed.
settings.register_profile("lakeray", settings(), phases=[phase for phase in Phase if phase is not Phase.explain])
settings.load_profile("lakeray")

CLOUD_PREFIXES = ("AWS_", "AZURE_", "AZURITE_")


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a test that says nothing of a state leave their history in a file of that test alone."""
    state = f"sqlite:///{tmp_path_factory.getbasetemp()}/{uuid.uuid4().hex[:12]}/state.db"
    monkeypatch.setitem(Settings.__init__.__kwdefaults__, "state", state)
    monkeypatch.setenv("LAKERAY_STATE", os.environ.get("LAKERAY_STATE", state))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for the session: radosgw, or moto where that is not installed."""
    try:
        with start_s3(tmp_path_factory.mktemp("s3")) as server:
            yield server
    except ServerMissing as missing:
        or_skip(missing)


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """One Azurite for the session."""
    try:
        with start_azurite(tmp_path_factory.mktemp("azure")) as server:
            yield server
    except ServerMissing as missing:
        or_skip(missing)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the session, which keeps every write on disk; whoever uses it empties it first."""
    try:
        with start_redis(tmp_path_factory.mktemp("redis")) as server:
            yield server
    except ServerMissing as missing:
        or_skip(missing)


@pytest.fixture
def cloud_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Sets exactly these cloud variables and none of the machine's own."""

    def use(env: dict[str, str]) -> None:
        for name in [name for name in os.environ if name.startswith(CLOUD_PREFIXES)]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in env.items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture(scope="session")
def _buckets() -> dict[str, str]:
    """One bucket a server and session; each test has a folder of its own in it."""
    return {}


@pytest.fixture(
    params=[
        "local",
        pytest.param("s3", marks=pytest.mark.s3),
        pytest.param("azure", marks=pytest.mark.azure),
    ]
)
def lake_root(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    cloud_environment: Callable[[dict[str, str]], None],
    _buckets: dict[str, str],
) -> str:
    """An empty prefix uri, with the last slash, on local disk, S3 and Azure in turn; the variables for it are set."""
    kind: str = request.param
    if kind == "local":
        folder = tmp_path / "lake"
        folder.mkdir()
        return f"{folder}/"
    server: S3Server | AzureServer = request.getfixturevalue(f"{kind}_server")
    cloud_environment(server.env)
    if kind not in _buckets:
        _buckets[kind] = server.new_bucket()
    return f"{_buckets[kind]}{uuid.uuid4().hex[:12]}/"
