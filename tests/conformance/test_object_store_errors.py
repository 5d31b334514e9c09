"""What is wrong with a bucket, a variable or the network is told within ten seconds, by name and with what to do."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakeray.errors import AccessDenied, ObjectError, ObjectNotFound, StoreUnavailable
from lakeray.objects import open_store
from tests.servers import AzureServer, S3Server

UseEnvironment = Callable[[dict[str, str]], None]
WITHIN_S = 10.0


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never answers, as a firewall or a hung server would."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def told(kind: type[ObjectError], uri: str, *mentions: str) -> None:
    """Every way of touching ``uri`` raises ``kind`` in time, with its uri, what to do and no noise."""
    prefix = uri.rpartition("/")[0] + "/"
    for touched, call in (
        (prefix, lambda: next(iter(open_store(uri).list(prefix)), None)),
        (uri, lambda: open_store(uri).create(uri, b"x")),
        (uri, lambda: open_store(uri).read(uri)),
    ):
        started = time.monotonic()
        with pytest.raises(kind) as raised:
            call()
        assert time.monotonic() - started < WITHIN_S
        error = raised.value
        assert error.uri == touched
        assert touched in error.message
        assert error.hint
        for mention in mentions:
            assert mention in str(error), str(error)
        for noise in ("Traceback", "botocore", "aiohttp", "object at 0x", "RequestId", "wrong-secret"):
            assert noise not in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.s3
class TestS3:
    def test_no_such_bucket(self, s3_server: S3Server, cloud_environment: UseEnvironment) -> None:
        cloud_environment(s3_server.env)
        told(ObjectNotFound, "s3://no-such-bucket-here/raw/x", "no-such-bucket-here", "AWS_ENDPOINT_URL")

    def test_no_credentials(self, s3_server: S3Server, cloud_environment: UseEnvironment) -> None:
        cloud_environment({"AWS_ENDPOINT_URL": s3_server.endpoint})
        told(AccessDenied, "s3://some-bucket/raw/x", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")

    def test_a_missing_profile(self, s3_server: S3Server, cloud_environment: UseEnvironment) -> None:
        cloud_environment({"AWS_ENDPOINT_URL": s3_server.endpoint, "AWS_PROFILE": "nobody"})
        told(AccessDenied, "s3://some-bucket/raw/x", "AWS_PROFILE", "nobody")

    def test_refused_connection(self, closed_port: int, cloud_environment: UseEnvironment) -> None:
        cloud_environment(elsewhere(f"http://127.0.0.1:{closed_port}"))
        told(StoreUnavailable, "s3://some-bucket/raw/x", "AWS_ENDPOINT_URL", str(closed_port), "refused")

    def test_a_name_that_dns_does_not_know(self, cloud_environment: UseEnvironment) -> None:
        cloud_environment(elsewhere("http://no-such-host.invalid:9000"))
        told(StoreUnavailable, "s3://some-bucket/raw/x", "AWS_ENDPOINT_URL", "no-such-host.invalid", "resolved")

    def test_an_endpoint_that_is_no_s3(self, azure_server: AzureServer, cloud_environment: UseEnvironment) -> None:
        cloud_environment(elsewhere(azure_server.endpoint.rpartition("/")[0]))
        told(ObjectError, "s3://some-bucket/raw/x", "AWS_ENDPOINT_URL")

    def test_an_endpoint_without_its_scheme(self, cloud_environment: UseEnvironment) -> None:
        cloud_environment(elsewhere("127.0.0.1:9000"))
        told(ObjectError, "s3://some-bucket/raw/x", "AWS_ENDPOINT_URL", "http://")

    def test_wrong_keys_and_no_permission(self, s3_server: S3Server, cloud_environment: UseEnvironment) -> None:
        """A mock knows no permissions: there the unknown key is all that can be asked."""
        bucket = s3_server.new_bucket()
        if s3_server.stranger is None:
            assert s3_server.kind == "moto"
            return
        cloud_environment({**s3_server.env, "AWS_ACCESS_KEY_ID": "unknown"})
        told(AccessDenied, bucket + "raw/x", "AWS_ACCESS_KEY_ID")
        cloud_environment({**s3_server.env, "AWS_SECRET_ACCESS_KEY": "wrong-secret"})
        told(AccessDenied, bucket + "raw/x", "AWS_SECRET_ACCESS_KEY")
        cloud_environment(s3_server.stranger())
        told(AccessDenied, bucket + "raw/x", "policy", bucket.split("/")[2])

    def test_an_impossible_bucket_name(self, s3_server: S3Server, cloud_environment: UseEnvironment) -> None:
        cloud_environment(s3_server.env)
        told(ObjectError, "s3://no spaces allowed/raw/x", "bucket")

    def test_a_bucket_in_another_region(self, cloud_environment: UseEnvironment) -> None:
        """The local servers have one region only, so Amazon's own answer is judged."""
        from botocore.exceptions import ClientError

        from lakeray.objects.s3_errors import judge
        from lakeray.objects.s3_settings import S3Settings

        for code, status in (("AuthorizationHeaderMalformed", 400), ("PermanentRedirect", 301), ("301", 301)):
            answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
            verdict = judge(S3Settings(region="eu-west-9"), "s3://b/k", ClientError(answer, "GetObject"))
            assert isinstance(verdict.error, StoreUnavailable)
            assert "AWS_REGION" in str(verdict.error)
            assert "eu-west-9" in str(verdict.error)
            assert not verdict.retry


def elsewhere(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "wrong-secret",
        "AWS_REGION": "us-east-1",
    }


@pytest.mark.azure
class TestAzure:
    def test_no_such_container(self, azure_server: AzureServer, cloud_environment: UseEnvironment) -> None:
        cloud_environment(azure_server.env)
        told(ObjectNotFound, "az://no-such-container/raw/x", "no-such-container", "AZURE_STORAGE_ACCOUNT_NAME")

    def test_no_account_is_named(self, cloud_environment: UseEnvironment) -> None:
        cloud_environment({})
        with pytest.raises(AccessDenied) as raised:
            open_store("az://some-container/raw/")
        assert "AZURE_STORAGE_ACCOUNT_NAME" in str(raised.value)

    def test_a_wrong_key(self, azure_server: AzureServer, cloud_environment: UseEnvironment) -> None:
        right = azure_server.env["AZURE_STORAGE_CONNECTION_STRING"]
        uri = azure_server.new_bucket() + "raw/x"
        cloud_environment({"AZURE_STORAGE_CONNECTION_STRING": right.replace("AccountKey=Eby8", "AccountKey=AAAA")})
        told(AccessDenied, uri, "AZURE_STORAGE_ACCOUNT_KEY")
        cloud_environment({"AZURE_STORAGE_CONNECTION_STRING": right.replace("AccountKey=Eby8", "AccountKey=Eb")})
        told(ObjectError, uri, "AZURE_STORAGE_ACCOUNT_KEY")

    def test_refused_connection(self, closed_port: int, cloud_environment: UseEnvironment) -> None:
        cloud_environment(
            {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{closed_port}"}
        )
        told(
            StoreUnavailable,
            "az://some-container/raw/x",
            str(closed_port),
            "AZURE_STORAGE_CONNECTION_STRING",
            "refused",
        )

    def test_an_account_that_dns_does_not_know(self, cloud_environment: UseEnvironment) -> None:
        key = {"AZURE_STORAGE_ACCOUNT_NAME": "x", "AZURE_STORAGE_ACCOUNT_KEY": "d3Jvbmc="}
        cloud_environment({**key, "AZURE_STORAGE_ENDPOINT": "http://no-such-account.invalid"})
        told(StoreUnavailable, "az://some-container/raw/x", "AZURE_STORAGE_ACCOUNT_NAME", "resolved")

    @pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9/other", "https://127.0.0.1:9/other"])
    def test_no_identity_at_all(self, cloud_environment: UseEnvironment, endpoint: str) -> None:
        cloud_environment({"AZURE_STORAGE_ACCOUNT_NAME": "other", "AZURE_STORAGE_ENDPOINT": endpoint})
        uri = "az://some-container/raw/x"
        started = time.monotonic()
        with pytest.raises(AccessDenied, match="AZURE_STORAGE_ACCOUNT_KEY"):
            open_store(uri).read(uri)
        assert time.monotonic() - started < WITHIN_S


def test_servers_that_never_answer_are_given_up(deaf_port: int, cloud_environment: UseEnvironment) -> None:
    deaf = f"http://127.0.0.1:{deaf_port}"
    cloud_environment({**elsewhere(deaf), "AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": deaf})

    def touch(uri: str) -> float:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            open_store(uri).read(uri)
        return time.monotonic() - started

    with ThreadPoolExecutor(2) as pool:
        assert max(pool.map(touch, ["s3://some-bucket/raw/x", "az://some-container/raw/x"])) < WITHIN_S


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ObjectError, match="gs://") as raised:
        open_store("gs://bucket/x")
    assert "s3://" in str(raised.value.hint)
