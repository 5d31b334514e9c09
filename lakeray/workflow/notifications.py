"""What object stores say about new objects, in the forms in which they say it.

S3 event notifications (from a queue, wrapped by SNS, or from EventBridge) and Azure Event Grid's blob events. Anything
else is no news: a queue may hold test messages and events of other kinds, and a look at the source finds what is new.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html,
https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote, unquote_plus, urlsplit

import msgspec

_MOST_BYTES: Final = 2**20
"""Of one message; a queue's are at most 256 KiB."""
_DEEPEST: Final = 3
"""Envelopes around an event: a queue's message, a topic's, a bus's."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A store says that an object was made or replaced. ``notice_id`` is the same when the store says it again."""

    uri: str
    notice_id: str


def told_by(message: bytes) -> tuple[Told, ...]:
    """The objects that a message tells of, in its order; none when it is about something else or cannot be read."""
    if len(message) > _MOST_BYTES:
        return ()
    try:
        return tuple(_events(msgspec.json.decode(message), 0))
    except (msgspec.MsgspecError, RecursionError):
        return ()


def _events(said: Any, depth: int) -> Iterator[Told]:
    if depth > _DEEPEST:
        return
    if isinstance(said, list):
        for item in said:
            yield from _events(item, depth + 1)
    elif not isinstance(said, Mapping):
        return
    elif isinstance(said.get("Records"), list):
        yield from (told for record in said["Records"] if (told := _s3(record)) is not None)
    elif said.get("source") == "aws.s3":
        yield from _bus(said)
    elif isinstance(said.get("Message"), str):
        yield from _events(_read(said["Message"]), depth + 1)
    else:
        yield from _grid(said)


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None


def _s3(record: Any) -> Told | None:
    event, bucket = _text(record, "eventName"), _text(record, "s3", "bucket", "name")
    key = _text(record, "s3", "object", "key")
    if event is None or bucket is None or key is None or not event.removeprefix("s3:").startswith("ObjectCreated"):
        return None
    # Keys are encoded as in a form: a blank is a plus sign.
    return _told(f"s3://{bucket}/{unquote_plus(key)}", record["s3"]["object"], ("versionId", "eTag"))


def _told(uri: str, thing: Mapping[str, Any], versions: tuple[str, str]) -> Told:
    version = next((thing[key] for key in versions if thing.get(key)), "")
    return Told(uri=uri, notice_id=f"{uri}#{version}#{thing.get('sequencer') or ''}")


def _bus(said: Mapping[str, Any]) -> Iterator[Told]:
    bucket, key = _text(said, "detail", "bucket", "name"), _text(said, "detail", "object", "key")
    if said.get("detail-type") == "Object Created" and bucket is not None and key is not None:
        yield _told(f"s3://{bucket}/{key}", said["detail"]["object"], ("version-id", "etag"))


def _grid(said: Mapping[str, Any]) -> Iterator[Told]:
    kind, url = said.get("eventType") or said.get("type"), _text(said, "data", "url")
    if kind != "Microsoft.Storage.BlobCreated" or url is None or not isinstance(said.get("id"), str):
        return
    place = urlsplit(url)
    account, _, _ = place.netloc.partition(".")
    container, _, blob = place.path.lstrip("/").partition("/")
    if account and container and blob:
        host = f"{account}.dfs.core.windows.net"
        yield Told(uri=f"abfss://{container}@{host}/{unquote(blob)}", notice_id=said["id"])


def _text(said: Any, *path: str) -> str | None:
    for key in path:
        said = said.get(key) if isinstance(said, Mapping) else None
    return said if isinstance(said, str) and said else None
