"""What only one backend can do wrong."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from lakeray.errors import ObjectChanged
from lakeray.objects import bucket_and_key, open_store, root_of
from lakeray.objects.azure_listing import Listing
from lakeray.objects.s3_settings import S3Settings
from tests.servers import AzureServer, S3Server

UseEnvironment = Callable[[dict[str, str]], None]


@pytest.mark.s3
def test_versions_of_a_versioned_bucket_are_told_apart(s3_server: S3Server, cloud_environment: UseEnvironment) -> None:
    """The same bytes written twice have one etag but two versions; a delete marker is no object."""
    cloud_environment(s3_server.env)
    root = s3_server.new_bucket(versioned=True)
    store = open_store(root)
    store.put(root + "x", b"same bytes")
    first = store.head(root + "x")
    assert first.version_id
    assert store.read(root + "x", match=first) == b"same bytes"
    store.put(root + "x", b"same bytes")
    second = store.head(root + "x")
    assert second.etag == first.etag
    assert second.version_id != first.version_id
    with pytest.raises(ObjectChanged):
        store.read(root + "x", match=first)
    store.delete(root + "x")
    assert list(store.list(root)) == []
    with pytest.raises(ObjectChanged):
        store.read(root + "x", match=second)
    store.create(root + "x", b"after the delete marker")
    assert store.head(root + "x").size == 23


@pytest.mark.s3
def test_a_discarded_upload_leaves_no_parts_behind(s3_server: S3Server, cloud_environment: UseEnvironment) -> None:
    cloud_environment(s3_server.env)
    root = s3_server.new_bucket()
    file = open_store(root).open_write(root + "x")
    file.write(os.urandom(2**20) * 40)
    client = s3_server.client()
    bucket, _ = bucket_and_key(root)
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads")
    file.discard()
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


@pytest.mark.s3
def test_s3a_is_s3(s3_server: S3Server, cloud_environment: UseEnvironment) -> None:
    cloud_environment(s3_server.env)
    root = s3_server.new_bucket().replace("s3://", "s3a://")
    store = open_store(root)
    store.create(root + "x", b"x")
    assert [uri for page in store.list(root) for uri in page["uri"].to_pylist()] == [root + "x"]
    assert open_store(root.replace("s3a", "s3")).read(root.replace("s3a", "s3") + "x") == b"x"


@pytest.mark.azure
def test_a_hierarchical_listing_gives_the_same_names(
    azure_server: AzureServer, cloud_environment: UseEnvironment
) -> None:
    """The walk for hierarchical accounts, which no emulator has, on a flat account with folder markers."""
    cloud_environment(azure_server.env)
    root = azure_server.new_bucket()
    store = open_store(root)
    names = ["a-b", "a/x", "a/y/1", "a/y/2", "a/y-z", "a.b", "b", "é/1", "\ufffd/2", "😀/3"]
    for name in names:
        store.put(root + name, b"x")
    container, _ = bucket_and_key(root)
    with azure_server.client() as client:
        client.get_blob_client(container, "a/y").upload_blob(b"", metadata={"hdi_isfolder": "true"})
    expected = sorted(names, key=str.encode)
    walk = Listing(store.client, container, root_of(root), hierarchical=True)
    assert [blob.name for page in walk.pages("", "") for blob in page] == expected
    for after in [*names, "a", "a/", "a/y/", "a0"]:
        found = [blob.name for page in walk.pages("", after) for blob in page]
        assert found == [name for name in expected if name.encode() > after.encode()], after


def test_no_repr_shows_a_secret(cloud_environment: UseEnvironment) -> None:
    cloud_environment({"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_SESSION_TOKEN": "t0k3n"})
    settings = S3Settings.from_environment()
    assert settings.secret == "s3cr3t"
    for text in (repr(settings), repr(open_store("s3://b/")), str(settings)):
        assert "s3cr3t" not in text
        assert "t0k3n" not in text


def test_a_changed_environment_is_another_store(cloud_environment: UseEnvironment) -> None:
    cloud_environment({"AWS_ENDPOINT_URL": "http://one:1"})
    first = open_store("s3://b/")
    cloud_environment({"AWS_ENDPOINT_URL": "http://two:2", "AWS_REGION": "eu-west-1"})
    second = open_store("s3://b/")
    assert first.client is not second.client
    assert second.settings.endpoint == "http://two:2"
    assert second.settings.delta_options()["AWS_ALLOW_HTTP"] == "true"
    assert second.settings.delta_options()["AWS_REGION"] == "eu-west-1"
