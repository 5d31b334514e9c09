"""A RESTORE of a table or of one of its children alone stops the import, so that no row is lost or repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lakeray.delta.log import read_back
from lakeray.delta.table import open_table
from lakeray.delta.upkeep import restores_since
from lakeray.errors import ImportFailed
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.recording.restores import effective_versions
from lakeray.importer.unnest.record import ChildBatch
from lakeray.importer.unnest.tables import child_identity


def check_children(
    context: ImportContext,
    identity: ImportId,
    children: Sequence[ChildBatch],
    *,
    lost: Sequence[int],
    newest: int,
    note: Callable[[str], None],
) -> list[ChildBatch]:
    """Hold the child tables of the last batch, ``newest``, to what a RESTORE took out of the step's own table: the
    batches ``lost``, which are imported again.

    Returns them as looked at up to their newest version. Raises ImportFailed when a child lost other batches than the
    table did, unless ``on_restore: keep`` says to leave it so.
    """
    seen = []
    for child in children:
        handle = open_table(child.uri)
        if handle is None or handle.id != child.table_id:
            seen.append(child)  # refused when the next batch is planned
            continue
        app_id = child_identity(identity, child.table_id).app_id
        keep = context.plan.on_restore == "keep"
        only = newest if context.mode == "overwrite" else None
        found = _look(child, app_id, handle.version, lost=lost, only=only, lost_log="ignore" if keep else "raise")
        if not keep:
            _check(context, child, found, lost)
        elif found.gone:
            said = f"a RESTORE took the rows of batch {_listed(found.gone)} out of {child.name}"
            note(f"{said}; on_restore: keep leaves it so")
        seen.append(replace(child, checked=handle.version))
    return seen


def _check(context: ImportContext, child: ChildBatch, found: _Found, lost: Sequence[int]) -> None:
    table, child_alone = context.plan.into, found.gone - set(lost)
    keep = f"or say `on_restore: keep` under steps.{context.step_name}.import: then they stay away"
    if child_alone:
        raise ImportFailed(
            f"a RESTORE took the rows of batch {_listed(child_alone)} out of the child table {child.name}, but not out "
            f"of {table}",
            uri=child.uri,
            hint=f"restore {child.name} to the version before that RESTORE (`lakeray tables history`), or {table} to "
            f"before these batches as well; {keep}",
        )
    if found.there:
        raise ImportFailed(
            f"a RESTORE took the rows of batch {_listed(found.there)} out of {table}, but not out of its child table "
            f"{child.name}, where importing them again would repeat them",
            uri=child.uri,
            hint=f"restore {child.name} to before these batches as well (`lakeray tables history`); {keep}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Batches with rows in a child: ``gone``, which a RESTORE took out of it that nobody dealt with; ``there``, which
    its own table lost and it did not.
    """

    gone: set[int]
    there: set[int]


def _look(
    child: ChildBatch,
    app_id: str,
    current: int,
    *,
    lost: Sequence[int],
    only: int | None,
    lost_log: Literal["raise", "ignore"],
) -> _Found:
    restores = restores_since(child.uri, child.checked, upto=current, lost_log=lost_log)
    if not restores and not lost:
        return _Found(gone=set(), there=set())
    earlier = restores_since(child.uri, 0, lost_log="ignore", upto=child.checked)
    first = restores[0].at_version if restores else current + 1
    now = effective_versions(current, [*earlier, *restores])
    before = effective_versions(first - 1, earlier)
    gone: set[int] = set()
    there: set[int] = set()
    untold, oldest = set(lost), current
    for commit in read_back(child.uri, current):
        oldest = commit.version
        number = commit.transactions.get(app_id)
        if number is None:
            continue
        untold.discard(number)
        if not commit.adds:
            continue
        if _within(commit.version, now):
            there.add(number)
        elif commit.version >= first or _within(commit.version, before):
            gone.add(number)
    there |= untold if oldest else set()  # a log that was cleaned up cannot tell
    gone = gone - there if only is None else gone & {only}
    return _Found(gone=gone, there=there & set(lost))


def _within(version: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= version <= last for first, last in ranges)


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
