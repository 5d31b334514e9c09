"""Notifications of object stores are read in every form they come in, and anything else is no news."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.workflow.notifications import told_by


def s3(key="raw/a+b%28c%29.json", event="ObjectCreated:Put", **thing):
    said = {"key": key, "size": 5, "eTag": "e1", "sequencer": "0055", **thing}
    return {"eventSource": "aws:s3", "eventName": event, "s3": {"bucket": {"name": "lake"}, "object": said}}


def grid(kind="Microsoft.Storage.BlobCreated", url="https://acc.blob.core.windows.net/lake/raw/a%20b.json"):
    return {"id": "9aeb", "eventType": kind, "subject": "x", "data": {"api": "PutBlob", "url": url}}


BUS = {
    "version": "0",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "detail": {"bucket": {"name": "lake"}, "object": {"key": "raw/a b.json", "etag": "e1", "sequencer": "7"}},
}


@pytest.mark.parametrize(
    ("said", "uris"),
    [
        ({"Records": [s3()]}, ["s3://lake/raw/a b(c).json"]),
        (
            {"Records": [s3("x"), s3("y", "ObjectRemoved:Delete"), s3("z", "s3:ObjectCreated:Copy")]},
            ["s3://lake/x", "s3://lake/z"],
        ),
        ({"Type": "Notification", "Message": json.dumps({"Records": [s3("x")]})}, ["s3://lake/x"]),
        (BUS, ["s3://lake/raw/a b.json"]),
        ({**BUS, "detail-type": "Object Deleted"}, []),
        ([grid()], ["abfss://lake@acc.dfs.core.windows.net/raw/a b.json"]),
        (grid(), ["abfss://lake@acc.dfs.core.windows.net/raw/a b.json"]),
        (
            {**grid(), "eventType": None, "type": grid()["eventType"], "specversion": "1.0"},
            [told_by(json.dumps(grid()).encode())[0].uri],
        ),
        (grid("Microsoft.Storage.BlobDeleted"), []),
        (grid(url="https://acc.blob.core.windows.net/lake"), []),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent"}, []),
        ({"Records": [None, 3, {}, {"eventName": "ObjectCreated:Put"}, s3("")]}, []),
        ({"Message": "hello"}, []),
        ([[[[[grid()]]]]], []),
        ("text", []),
        (None, []),
    ],
)
def test_what_a_message_tells_of(said, uris):
    assert [told.uri for told in told_by(json.dumps(said).encode())] == uris


def test_the_same_event_has_the_same_id_and_another_version_another():
    def notice_id(**thing):
        return told_by(json.dumps({"Records": [s3("x", **thing)]}).encode())[0].notice_id

    assert notice_id() == notice_id()
    assert len({notice_id(), notice_id(eTag="e2"), notice_id(versionId="v1"), notice_id(sequencer="0056")}) == 4


def test_a_huge_message_is_no_news():
    assert told_by(b"[" + b" " * 2**20 + b"]") == ()


@given(st.binary() | st.text().map(str.encode) | st.integers(1, 100_000).map(lambda n: b"[" * n))
def test_any_bytes_are_news_or_none(data):
    assert isinstance(told_by(data), tuple)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["Records", "s3", "object", "bucket", "Message", "source", "detail", "data", "eventName", "key"]
                ),
                x,
            )
        ),
    )
)
def test_any_json_is_news_or_none(said):
    assert told_by(json.dumps(said).encode()) == ()
