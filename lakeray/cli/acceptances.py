"""What became of an import whose records were lost, or would: said so that nothing is assumed in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lakeray.cli import views
from lakeray.cli.reply import Reply
from lakeray.observability.figures import count, counted

if TYPE_CHECKING:
    from lakeray.importer.recording.accept import Acceptance

_LISTED = 8


def reply_to(acceptance: Acceptance, *, start_over: bool, done: bool) -> Reply:
    """The answer to `ledger rebuild --accept-table` and `--start-over`."""
    document = {"done": done, "start_over": start_over, **acceptance.model_dump(mode="json")}
    lines = [views.quiet(f"  {line}") for line in _told(acceptance, start_over=start_over)]
    if done:
        headline = "every object is imported again by the next run" if start_over else "the table is taken as it is"
        return Reply(document=document, view=views.stacked([views.good(headline), *lines]))
    option = "--start-over" if start_over else "--accept-table"
    return Reply(
        document=document,
        view=views.stacked([views.warning(f"{option} would do this, and nothing was changed:"), *lines]),
        aside=[views.quiet("Say --yes to do it, while no run of this workflow goes on.")],
    )


def _told(found: Acceptance, *, start_over: bool) -> Iterator[str]:
    yield f"{counted(found.batches, 'batch', 'batches')} of this import; {count(found.whole)} with their results"
    if found.ledger_damaged:
        yield "the ledger is damaged: it is written anew"
    if found.from_ledger:
        yield f"{_batches(found.from_ledger)}: the result is lost, the ledger says what it did"
    yield from _assumed(found, start_over=start_over)
    if found.gone:
        yield f"{_batches(found.gone)}: not in this older copy of the table; their objects are imported again"
    if found.ids_lost:
        yield "the table forgot its batches' numbers: it is taken to hold every batch that was planned"
    if found.open_batch:
        yield f"batch {found.open_batch} was planned and is not in the table; its torn manifest is removed"
    if start_over:
        yield (
            "every object is imported again, and rows that are in the table stay: to have each once, empty the table "
            "first (`lakeray tables restore FILE --version 0`, where lakeray created it)"
        )


def _assumed(found: Acceptance, *, start_over: bool) -> Iterator[str]:
    if start_over:
        if found.from_manifest or found.from_nothing:
            yield f"{_batches(found.from_manifest + found.from_nothing)}: result and ledger are lost"
        return
    if found.from_manifest:
        yield (
            f"{_batches(found.from_manifest)}: result and ledger are lost; the objects of the manifest count as "
            "loaded, with unknown numbers of rows"
        )
    if found.from_nothing:
        yield (
            f"{_batches(found.from_nothing)}: everything is lost; {counted(found.assumed, 'object')} that the source "
            f"lists, last modified by {found.until:%Y-%m-%d %H:%M:%S} UTC, count as loaded; later ones are imported"
        )
    if found.from_manifest or found.from_nothing:
        yield "what is assumed has the error code `accepted` in `ledger show`; `ledger reset` has it imported again"


def _batches(numbers: list[int]) -> str:
    """``batch 3``, ``batches 1, 2, 5 and 40 more``."""
    shown = ", ".join(str(number) for number in numbers[:_LISTED])
    more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
    return f"{'batch' if len(numbers) == 1 else 'batches'} {shown}{more}"
