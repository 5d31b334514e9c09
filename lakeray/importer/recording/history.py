"""What earlier batches of a step were like, from their results alone."""

from __future__ import annotations

from lakeray.delta.log import find_transactions
from lakeray.delta.table import TableHandle
from lakeray.errors import ExactlyOnceError
from lakeray.importer.identity import ImportId
from lakeray.importer.result import RESULT_KEY, Result, load_result


def earlier_results(identity: ImportId, handle: TableHandle, *, batch: int, count: int) -> list[Result]:
    """Results of the last ``count`` batches before ``batch`` that a source's objects made, newest first.

    Fewer where there were fewer, or where the table's log was cleaned up. Replays and reprocessed rows are no measure
    of what the source sends, nor are abandoned batches.
    """
    numbers = range(max(1, batch - count), batch)
    commits = find_transactions(handle.uri, app_id=identity.app_id, numbers=numbers, version=handle.version)
    found = []
    for number in reversed(numbers):
        if number not in commits:
            continue
        try:
            result = load_result(identity, commits[number].metadata()[RESULT_KEY])
        except (ExactlyOnceError, KeyError):
            continue  # a comparison can do without one of them
        if not result.abandoned and result.replays is None and result.reprocessed is None:
            found.append(result)
    return found
