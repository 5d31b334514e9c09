"""Takes what stores tell of new objects out of SQS-compatible queues, and keeps it until triggers have heard it.

A message is deleted once what it says is kept. Credentials are those of the `AWS_*` variables; the region and the
endpoint come from the queue's address.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from lakeray.failpoints import failpoint
from lakeray.runtime.durable.triggers.news import News, Notice
from lakeray.runtime.durable.triggers.registered import Files
from lakeray.state import EventStore
from lakeray.workflow.notifications import told_by

_log = logging.getLogger(__name__)
_AT_ONCE = 10
_ROUNDS = 20
_CONNECT_S, _READ_S = 3.0, 5.0
_ANY_REGION = "us-east-1"
"""Signed into requests to a queue whose address names none; those that are compatible ask for no other."""


class Queue(Protocol):
    """An SQS-compatible queue."""

    def receive(self) -> list[tuple[str, bytes]]:
        """Some messages, each with the receipt that deletes it; none when there is none."""
        ...

    def delete(self, receipts: list[str]) -> None:
        """Take messages out for good."""
        ...


class Sqs:
    """Keeps the contract of ``Queue`` by Amazon's client."""

    def __init__(self, url: str) -> None:
        from botocore.config import Config
        from botocore.session import get_session

        self._url = url
        place = urlsplit(url)
        labels = (place.hostname or "").split(".")
        regional = len(labels) > 2 and labels[0] in ("sqs", "queue")  # noqa: PLR2004 - sqs.<region>.amazonaws.com
        config = Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries={"max_attempts": 2})
        named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _ANY_REGION
        self._client: Any = get_session().create_client(
            "sqs",
            endpoint_url=f"{place.scheme}://{place.netloc}",
            region_name=labels[1] if regional else named,
            config=config,
        )

    def receive(self) -> list[tuple[str, bytes]]:
        """See ``Queue``."""
        said = self._client.receive_message(QueueUrl=self._url, MaxNumberOfMessages=_AT_ONCE)
        return [(each["ReceiptHandle"], each["Body"].encode()) for each in said.get("Messages", [])]

    def delete(self, receipts: list[str]) -> None:
        """See ``Queue``."""
        entries = [{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)]
        self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)


class Queues:
    """A duty."""

    name = "queues"
    every_s = 5.0

    def __init__(self, store: EventStore, clock: Callable[[], datetime], opened: Callable[[str], Queue] = Sqs) -> None:
        self._clock = clock
        self._files = Files(store)
        self._news = News(store)
        self._opened = opened
        self._queues: dict[str, Queue] = {}

    def tick(self) -> None:
        """Empty every queue that a trigger names, as far as that goes quickly."""
        for url in self._named():
            try:
                if url not in self._queues:
                    self._queues[url] = self._opened(url)
                self._empty(url, self._queues[url])
            except Exception as error:  # noqa: BLE001 - one queue's trouble is none of the others
                _log.warning("the queue %s cannot be read: %s", url, error)

    def _named(self) -> list[str]:
        found = [
            trigger.arrival.queue
            for _, workflow in self._files.all()
            for trigger in workflow.triggers.values()
            if trigger.arrival is not None and trigger.arrival.queue is not None
        ]
        return list(dict.fromkeys(found))

    def _empty(self, url: str, queue: Queue) -> None:
        for _ in range(_ROUNDS):
            messages = queue.receive()
            if not messages:
                return
            told = [told for _, body in messages for told in told_by(body)]
            notices = [Notice(uri=each.uri, notice_id=each.notice_id, origin=url) for each in told]
            self._news.add(notices, self._clock())
            failpoint("after_queue_read")
            queue.delete([receipt for receipt, _ in messages])
