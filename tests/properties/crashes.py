"""Machines that drive a small lake, and crashes in the middle of what it does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from lakeray import failpoints
from lakeray.delta.table import open_table
from lakeray.objects import open_store
from lakeray.runtime.upkeep import TableOf
from tests.unit.importer.small_lake import SmallLake

STRIKE = failpoints._strike


def examples(default: int) -> int:
    """How many examples a test takes: ``LAKERAY_PROPERTY_EXAMPLES``, where it is set."""
    return int(os.environ.get("LAKERAY_PROPERTY_EXAMPLES", str(default)))


class Crash(BaseException):
    """The end of the process, as far as this process can have one."""


def crash(*_: Any) -> None:
    """Stands for a signal that kills."""
    raise Crash


@contextmanager
def armed(point: str, passes: int = 1, *, strike: Callable[..., None] = crash) -> Iterator[None]:
    """At that pass of a failpoint ``strike`` is called, once; no point is no crash."""

    def once(*parts: Any) -> None:
        failpoints._ARMED = {}
        strike(*parts)

    failpoints._PASSES.clear()
    failpoints._strike, failpoints._ARMED = once, {point: ("kill", passes)} if point else {}
    try:
        yield
    finally:
        failpoints._strike, failpoints._ARMED = STRIKE, {}


class LakeMachine(RuleBasedStateMachine):
    """Has a lake, ``begin_with`` one; upkeep may happen to its table at any time."""

    lake: SmallLake

    def begin_with(self, **parts: Any) -> None:
        """Make the lake."""
        self.folder = Path(tempfile.mkdtemp(prefix="lake-"))
        self.lake = SmallLake(self.folder, **parts)
        self.lake.raw.mkdir()
        self.next_id = 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @property
    def exists(self) -> bool:
        """Whether something was imported."""
        return open_table(self.lake.table_uri) is not None

    def etag(self, name: str) -> str:
        """Of the object's version that is there."""
        uri = self.lake.uri(name)
        return open_store(uri).head(uri).etag or ""

    @precondition(lambda self: self.exists)
    @rule()
    def optimize(self):
        TableOf(self.lake.table_uri).optimize()

    @precondition(lambda self: self.exists)
    @rule()
    def vacuum(self):
        TableOf(self.lake.table_uri).vacuum(0, dry_run=False)

    @classmethod
    def settings_of(cls, steps: int) -> settings:
        """How histories of so many steps are tried."""
        return settings(
            max_examples=examples(30),
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
