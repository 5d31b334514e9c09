"""Event stores for tests: both backends, opened as often as another process would, with appends that read well."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lakeray.state import Append, Event, EventStore, Lease, NewEvent, RunHead, open_event_store, shard_of
from tests.polling import eventually

NOW = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)
_numbers = itertools.count()


def run_ids(shard: int, shards: int, count: int) -> list[str]:
    """Names of runs that belong to the shard."""
    names = (f"run-{number}" for number in itertools.count())
    return list(itertools.islice((name for name in names if shard_of(name, shards) == shard), count))


def head(run_id: str, **more: Any) -> RunHead:
    """A run's row; what is not said is the same in every test."""
    values = {"tenant": "acme", "workflow": "orders", "state": "running", "started_at": NOW}
    return RunHead(run_id=run_id, **{**values, **more})


def events(*names: str) -> tuple[NewEvent, ...]:
    """An event for each name, which is its type and its data."""
    return tuple(NewEvent(type=name, version=1, data=name.encode(), at=NOW) for name in names)


def append(run_id: str, expected: int, lease: Lease, *names: str, append_id: str | None = None, **more: Any) -> Append:
    """Events by their names; ``more`` goes to the append, or to the head."""
    own = {name: more.pop(name) for name in ("messages", "answers") if name in more}
    return Append(
        append_id=append_id or uuid.uuid4().hex,
        expected=expected,
        epoch=lease.epoch,
        events=events(*(names or ("something",))),
        head=head(run_id, **more),
        **own,
    )


def told(found: list[Event]) -> list[tuple[int, str]]:
    """Sequence and type of every event."""
    return [(event.sequence, event.type) for event in found]


@dataclass
class Backend:
    """One store that may be opened several times. ``pass_time`` moves its clock, or waits where it is a server's."""

    kind: str
    uri: str
    opened: ExitStack
    pass_time: Callable[[float], None]
    make: Callable[[], EventStore] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def open(self) -> EventStore:
        """Another handle, as another process has it; closed with the test."""
        return self.opened.enter_context(self.make() if self.make else open_event_store(self.uri))


@contextmanager
def sqlite_backend(folder: Path) -> Iterator[Backend]:
    """A state file under a clock that stands still until it is moved."""
    from lakeray.state.sqlite.store import SqliteStore

    clock = [datetime.now(UTC)]
    path = folder / "state.db"

    def pass_time(seconds: float) -> None:
        clock[0] += timedelta(seconds=seconds)

    with ExitStack() as opened:
        yield Backend(
            kind="sqlite",
            uri=f"sqlite:///{path}",
            opened=opened,
            pass_time=pass_time,
            make=lambda: SqliteStore(path, clock=lambda: clock[0]),
        )


@contextmanager
def redis_backend(url: str) -> Iterator[Backend]:
    """An emptied server, whose clock is nobody's to move: time passes by waiting for it."""
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushall()
        client.script_flush()

        def pass_time(seconds: float) -> None:
            def clock() -> float:
                whole, millionths = client.time()
                return whole + millionths / 1e6

            until = clock() + seconds
            eventually(lambda: clock() > until, seconds + 10, every_s=0.005)

        with ExitStack() as opened:
            yield Backend(kind="redis", uri=url, opened=opened, pass_time=pass_time)
