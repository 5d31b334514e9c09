"""Hands notifications to their addresses: signed, at least once, later each time, and after so many tries not at all.

Headers and signature are those of Standard Webhooks (https://www.standardwebhooks.com): ``webhook-signature`` is
``v1,`` and the base64 of HMAC-SHA256 over ``<webhook-id>.<webhook-timestamp>.<body>``. No redirect is followed. A host
is resolved once, and connected to is what was looked at: loopback, private, link-local and other addresses that are not
public need its name among those that whoever runs lakeray allows.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import msgspec

from lakeray.errors import ConfigError, LakerayError, RevisionConflict
from lakeray.failpoints import failpoint
from lakeray.runtime.durable.notices import TOPIC, Notification
from lakeray.runtime.durable.triggers.apart import apart
from lakeray.runtime.durable.triggers.telling import KeptNotification, kept, pending, undelivered
from lakeray.security.secrets import resolve
from lakeray.state import EventStore
from lakeray.workflow.overlap import share

_log = logging.getLogger(__name__)
_FIRST_S, _LAST_S = 5.0, 4 * 3600.0
_GROWTH = 3
_JITTER = 0.2
_AT_ONCE = 16
_GONE: Final = 410
_SECRET_PREFIX = "whsec_"  # noqa: S105 - how keys of Standard Webhooks begin


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a try came to: handed over, to be tried again (perhaps not before ``after_s``), or hopeless."""

    handed_over: bool
    why: str = ""
    hopeless: bool = False
    after_s: float = 0.0


def signature(message_id: str, timestamp: int, body: bytes, key: bytes) -> str:
    """The value of ``webhook-signature``. ``key`` is as the receiver has it: ``whsec_`` and base64, or any bytes."""
    text = key.decode("latin-1")
    if text.startswith(_SECRET_PREFIX):
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def post(message_id: str, notification: Notification, *, now: datetime, private_hosts: Collection[str]) -> Answer:
    """Post one notification. Raises nothing; what it says in the end holds no secret."""
    body = msgspec.json.encode(notification.event)
    try:
        key = resolve(notification.secret).reveal()
        signed = signature(message_id, int(now.timestamp()), body, key)
    except ConfigError as error:
        return Answer(handed_over=False, why=error.message)
    except ValueError:
        return Answer(handed_over=False, why="the key begins with whsec_ and what follows is no base64")
    headers = {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "user-agent": "lakeray",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signed,
    }
    try:
        return _send(notification, body, headers, private_hosts)
    except PrivateAddress as error:
        return Answer(handed_over=False, why=error.message, hopeless=True)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(handed_over=False, why=f"{type(error).__name__}: {error}")


class PrivateAddress(LakerayError):
    """A webhook's host has an address that is not public, and nobody allowed that."""

    code = "private_address"


def _send(notification: Notification, body: bytes, headers: dict[str, str], private_hosts: Collection[str]) -> Answer:
    parts = urlsplit(notification.url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = public_address(host, port, private_hosts)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = _Pinned(host, port, timeout=notification.timeout_s, address=address)
    else:
        connection = http.client.HTTPConnection(address, port, timeout=notification.timeout_s)
        headers = {"host": parts.netloc, **headers}
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body=body, headers=headers)
        return _judged(connection.getresponse())
    finally:
        connection.close()


def _judged(response: http.client.HTTPResponse) -> Answer:
    status = response.status
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own
        return Answer(handed_over=True)
    said = response.getheader("retry-after") or ""
    after_s = float(said) if said.isdigit() else 0.0
    return Answer(handed_over=False, why=f"HTTP {status}", hopeless=status == _GONE, after_s=min(after_s, _LAST_S))


class _Pinned(http.client.HTTPSConnection):
    """Connects to an address that was looked at, and believes its certificate for the host's name."""

    def __init__(self, host: str, port: int, *, timeout: float, address: str) -> None:
        context = ssl.create_default_context()
        super().__init__(host, port, timeout=timeout, context=context)
        self._address = address
        self._tls = context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def public_address(host: str, port: int, private_hosts: Collection[str]) -> str:
    """An address of the host. Raises PrivateAddress when one of them is not public, OSError when it has none."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if host not in private_hosts:
        for address in found:
            if not ipaddress.ip_address(address.partition("%")[0]).is_global:
                raise PrivateAddress(
                    f"the host {host} has the address {address}, which is not public",
                    hint="name it in LAKERAY_PRIVATE_HOSTS where lakeray runs, if webhooks may reach it",
                )
    return found[0]


def wait_s(message_id: str, attempts: int) -> float:
    """Seconds before the next try, after so many that failed: longer each time, by chance a bit more or less."""
    grown: float = min(_FIRST_S * _GROWTH ** min(attempts - 1, 30), _LAST_S)
    return grown * (1 + _JITTER * (2 * share(f"{message_id}/{attempts}") - 1))


class Webhooks:
    """A duty. Notifications are posted in threads of ``pool``; one that is under way is due again should this die."""

    name = "webhooks"
    every_s = 1.0

    def __init__(
        self,
        store: EventStore,
        clock: Callable[[], datetime],
        *,
        pool: Executor,
        private_hosts: Collection[str] = (),
    ) -> None:
        self._store = store
        self._clock = clock
        self._pool = pool
        self._private_hosts = private_hosts
        self._pending = pending(store)
        self._under_way: set[str] = set()

    def tick(self) -> None:
        """Begin to hand over what is due."""
        now = self._clock()
        for shard in range(self._store.shards):
            for message in self._store.messages(shard, now, _AT_ONCE):
                if message.topic == TOPIC:
                    self._begin(_OfRun(self._store, shard, kept(message)), now)
        for name in self._pending.names():
            with apart(f"the notification {name}"):
                notification, revision = self._pending.read(name)
                if notification is not None and notification.due_at <= now:
                    self._begin(_BesideRuns(self._store, name, notification, revision), now)

    def close(self) -> None:
        """Wait for those that are handed over just now; others stay due."""
        self._pool.shutdown(cancel_futures=True)

    def _begin(self, place: _OfRun | _BesideRuns, now: datetime) -> None:
        message_id = place.kept.message_id
        if message_id in self._under_way or len(self._under_way) >= _AT_ONCE:
            return
        again = now + timedelta(seconds=2 * place.kept.said.timeout_s + 30)
        if not place.postpone(again, place.kept.attempts):
            return
        self._under_way.add(message_id)
        self._pool.submit(self._hand_over, place)

    def _hand_over(self, place: _OfRun | _BesideRuns) -> None:
        notification = place.kept
        try:
            answer = post(
                notification.message_id, notification.said, now=self._clock(), private_hosts=self._private_hosts
            )
            failpoint("notification_sent")
            attempts = notification.attempts + 1
            if answer.handed_over:
                place.settle()
            elif answer.hopeless or attempts >= notification.said.maximum_attempts:
                dead = msgspec.structs.replace(notification, attempts=attempts, why=answer.why)
                undelivered(self._store).change(notification.message_id, lambda _: dead)
                place.settle()
                _log.error(
                    "%s is a dead letter to %s: %s",
                    notification.message_id,
                    notification.said.subscriber,
                    answer.why,
                )
            else:
                later = max(wait_s(notification.message_id, attempts), answer.after_s)
                place.postpone(self._clock() + timedelta(seconds=later), attempts)
                _log.warning("%s is tried again in %.0f s: %s", notification.message_id, later, answer.why)
        except LakerayError as error:  # it is due again by itself
            _log.warning("%s: %s", notification.message_id, error.message)
        finally:
            self._under_way.discard(notification.message_id)


class _OfRun:
    """A notification in the store's outbox."""

    def __init__(self, store: EventStore, shard: int, notification: KeptNotification) -> None:
        self._store = store
        self._shard = shard
        self.kept = notification

    def postpone(self, due_at: datetime, attempts: int) -> bool:
        """Have it due later."""
        self._store.postpone(self._shard, self.kept.message_id, due_at=due_at, attempts=attempts)
        return True

    def settle(self) -> None:
        """It is over."""
        self._store.settle(self._shard, [self.kept.message_id])


class _BesideRuns:
    """A notification in a register."""

    def __init__(self, store: EventStore, name: str, notification: KeptNotification, revision: int) -> None:
        self._pending = pending(store)
        self._name = name
        self._revision = revision
        self.kept = notification

    def postpone(self, due_at: datetime, attempts: int) -> bool:
        """Have it due later; whether nobody else has it."""
        later = msgspec.structs.replace(self.kept, due_at=due_at, attempts=attempts)
        try:
            self._pending.put(self._name, later, expected=self._revision)
        except RevisionConflict:
            return False
        self._revision = self._pending.read(self._name)[1]
        return True

    def settle(self) -> None:
        """It is over."""
        self._pending.change(self._name, lambda _: None)
