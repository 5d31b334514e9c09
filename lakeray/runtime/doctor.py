"""Looks at everything that a run rests on, and says of each what is wrong and what to do."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel, ConfigDict

from lakeray.config import Settings, unknown_variables
from lakeray.delta.table import open_table
from lakeray.errors import LakerayError, ObjectExists
from lakeray.importer.upkeep.log import needed_since, oldest_entry
from lakeray.objects import SourcePattern, join, open_store
from lakeray.spec.model import Workflow

PACKAGES = ("ray", "deltalake", "pyarrow", "datafusion", "s3fs", "adlfs")
LOW_DISK_BYTES = 2 * 2**30
_FORGETS = "delta.setTransactionRetentionDuration"


class Check(BaseModel):
    """One thing that was looked at; ``hint`` says what to do when it is not ``ok``."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    detail: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class _Failure(Exception):
    detail: str
    hint: str


def examine(settings: Settings, workflow: Workflow | None) -> list[Check]:
    """All checks, in the order in which a run would meet them. Writes nothing but a probe object beside each table,
    which it removes.
    """
    checks = [
        _check("python", _python),
        *(_check(f"package {name}", partial(_package, name)) for name in PACKAGES),
        _check("environment", lambda: _environment(settings)),
        _check("disk", _disk),
    ]
    if workflow is not None:
        for name, source in workflow.sources.items():
            checks.append(_check(f"source {name}", partial(_source, source.uri)))
        for name, table in workflow.tables.items():
            checks.append(_check(f"table {name}", partial(_table, table.uri)))
            checks.append(_check(f"memory of table {name}", partial(_memory, table.uri)))
    return checks


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, detail=look())
    except _Failure as failure:
        return Check(name=name, ok=False, detail=failure.detail, hint=failure.hint)
    except LakerayError as error:
        return Check(name=name, ok=False, detail=error.message, hint=error.hint)


def _python() -> str:
    return sys.version.split()[0]


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise _Failure("not installed", f"install it: python -m pip install {name}") from None


def _environment(settings: Settings) -> str:
    strange = unknown_variables(os.environ)
    if strange:
        guesses = "; ".join(
            f"{name}: did you mean {near}?" if near else f"{name} means nothing" for name, near in strange.items()
        )
        raise _Failure(f"unknown variables: {', '.join(strange)}", guesses)
    where = settings.ray_address or "a local Ray"
    return f"{where}, {settings.task_memory_bytes // 2**20} MiB a task, executor {settings.executor}"


def _disk() -> str:
    free = shutil.disk_usage(".").free
    if free < LOW_DISK_BYTES:
        raise _Failure(f"{free // 2**20} MiB free here", "free some room: a full disk stops a run (it loses nothing)")
    return f"{free / 2**30:.1f} GiB free"


def _source(uri: str) -> str:
    pattern = SourcePattern.parse(uri)
    for page in open_store(pattern.prefix).list(pattern.prefix):
        return f"can be listed; it begins with {page['uri'][0].as_py()}"
    return f"can be listed; nothing is under {pattern.prefix} yet"


def _table(uri: str) -> str:
    store = open_store(uri)
    probe = join(uri, "_lakeray", f"doctor-{secrets.token_hex(8)}")
    try:
        store.create(probe, b"first")
        try:
            store.create(probe, b"second")
        except ObjectExists:
            return "can be written; create-if-absent holds"
        raise _Failure(
            "the store overwrote an object that it should have refused",
            "this store cannot keep exactly-once: use another",
        )
    finally:
        store.delete(probe)


def _memory(uri: str) -> str:
    """Whether the table keeps what an import reads in it: its transaction ids, and its log."""
    handle = open_table(uri)
    if handle is None:
        return "there is no table yet"
    if _FORGETS in handle.properties:
        raise _Failure(
            f"{_FORGETS} is {handle.properties[_FORGETS]}: an import that pauses for longer stops for good",
            f"unset it: ALTER TABLE ... UNSET TBLPROPERTIES ('{_FORGETS}')",
        )
    since, who = needed_since(handle)
    oldest = oldest_entry(uri)
    if oldest > since:
        raise _Failure(
            f"its log begins at version {oldest}, and {who} may ask it from version {since} on",
            "run the import: it says what cannot be ruled out; keep the log longer (delta.logRetentionDuration)",
        )
    return f"transaction ids are kept; the log reaches back to version {oldest}"
