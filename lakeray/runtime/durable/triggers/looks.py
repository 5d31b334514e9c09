"""Looks at sources and tables for triggers: what is not imported yet, which version a table has.

A look may take long, a duty may not: it is taken in a thread, and a trigger gets its answer at a later tick.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from lakeray.delta.log import changes_data
from lakeray.delta.query import query
from lakeray.delta.table import open_table
from lakeray.errors import LakerayError
from lakeray.importer.claims.view import seen_by_stream
from lakeray.importer.context import ImportContext
from lakeray.importer.discovery.source import open_listing
from lakeray.importer.executor import InlineExecutor
from lakeray.importer.recording.ledger import LOADED, Ledger, identity_keys, quoted
from lakeray.observability.progress import Silent
from lakeray.runtime.bench import utc_now
from lakeray.spec.model import Workflow
from lakeray.workflow.triggers import Look

_log = logging.getLogger(__name__)
_MOST_COMMITS = 200
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The version of a table, None where there is none; ``data_changed`` since the version that was known."""

    table_id: str = ""
    version: int | None = None
    data_changed: bool = True


@dataclass(frozen=True, kw_only=True)
class Newest:
    """When an object of a source was imported last."""

    at: datetime | None


class Looks(Protocol):
    """Answers, or says None: ask again at the next tick. ``key`` is the trigger's."""

    def source(self, key: str, workflow: Workflow, source: str) -> Look | None:
        """What of the source is not imported."""
        ...

    def newest(self, key: str, workflow: Workflow, source: str) -> Newest | None:
        """When something new of the source was imported last."""
        ...

    def table(self, key: str, uri: str, *, after: int | None) -> Seen | None:
        """The table's version, with what happened behind version ``after``."""
        ...

    def close(self) -> None:
        """Begin no further looks. Those under way know nothing of the store: nobody waits for them."""
        ...


class Beside:
    """Keeps the contract of ``Looks`` in the threads of ``pool``. A look that fails is said and taken again."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._under_way: dict[str, Future[object]] = {}

    def source(self, key: str, workflow: Workflow, source: str) -> Look | None:
        """See ``Looks``."""
        return self._answer(key, lambda: look_at_source(workflow, source))

    def newest(self, key: str, workflow: Workflow, source: str) -> Newest | None:
        """See ``Looks``."""
        return self._answer(key, lambda: Newest(at=newest_import(workflow, source)))

    def table(self, key: str, uri: str, *, after: int | None) -> Seen | None:
        """See ``Looks``."""
        return self._answer(key, lambda: look_at_table(uri, after=after))

    def close(self) -> None:
        """See ``Looks``."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, key: str, look: Callable[[], T]) -> T | None:
        future = self._under_way.get(key)
        if future is None:
            future = self._under_way[key] = self._pool.submit(look)
        if not future.done():
            return None
        del self._under_way[key]
        error = future.exception()
        if isinstance(error, LakerayError):
            _log.warning("trigger %s: %s", key, error.message)
            return None
        if error is not None:
            _log.error("a defect in the look of trigger %s", key, exc_info=error)
            return None
        return future.result()  # type: ignore[return-value]


def _contexts(workflow: Workflow, source: str) -> list[ImportContext]:
    """The imports that read the source."""
    return [
        ImportContext.of(workflow, name, run_id="look", executor=InlineExecutor(), observer=Silent(), now=utc_now)
        for name, step in workflow.steps.items()
        if step.import_ is not None and step.import_.from_ == source
    ]


def _ledger(context: ImportContext) -> Ledger | None:
    handle = open_table(context.table.uri)
    return Ledger(context.identity(handle)) if handle is not None else None


def look_at_source(workflow: Workflow, source: str) -> Look:
    """How many objects of a source its imports have not read, under a mark that changes when any of them does."""
    ledgers = [_ledger(context) for context in _contexts(workflow, source)] or [None]
    digest, objects = hashlib.blake2b(digest_size=16), 0
    for ledger in ledgers:
        listing = open_listing(workflow.sources[source], now=utc_now, ledger=ledger)
        for window in seen_by_stream(listing, ledger):
            objects += window.fresh.num_rows
            tries = zip(identity_keys(window.fresh).to_pylist(), window.fresh["tries"].to_pylist(), strict=True)
            digest.update("\n".join(f"{key}\x00{tried}" for key, tried in tries).encode())
    return Look(objects=objects, mark=digest.hexdigest() if objects else "")


def newest_import(workflow: Workflow, source: str) -> datetime | None:
    """When an object of the source was recorded as imported last."""
    outcomes = ", ".join(map(quoted, LOADED))
    found = []
    for context in _contexts(workflow, source):
        ledger = _ledger(context)
        handle = ledger.open() if ledger is not None else None
        if handle is not None:
            last = query(handle, f"SELECT max(recorded_at) AS at FROM this WHERE outcome IN ({outcomes})")  # noqa: S608 - ours
            found.append(last["at"][0].as_py())
    return max(filter(None, found), default=None)


def look_at_table(uri: str, *, after: int | None) -> Seen:
    """Which version a table has, and whether one behind ``after`` changed its rows."""
    handle = open_table(uri)
    if handle is None:
        return Seen()
    newer = range(max(0 if after is None else after + 1, handle.version - _MOST_COMMITS), handle.version + 1)
    changed = after is None or len(newer) > _MOST_COMMITS or any(changes_data(uri, version) for version in newer)
    return Seen(table_id=handle.id, version=handle.version, data_changed=changed)
