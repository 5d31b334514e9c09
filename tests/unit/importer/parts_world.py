"""A source of three days, a part of which is imported beside its stream, in processes that tests kill."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lakeray.importer.claims.claim import active
from lakeray.importer.claims.ranges import Range
from lakeray.importer.claims.take import Wish, import_part
from lakeray.importer.loop import ImportLoop
from lakeray.importer.recording.summary import ImportSummary
from tests.unit.importer.small_lake import SmallLake, lines

DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")


def lake_in(folder: Path) -> SmallLake:
    """Batches of two objects, so that a part has several."""
    return SmallLake(folder, plan={"batch": {"max_objects": 2}})


def fill(lake: SmallLake, *, objects: int = 3, days: tuple[str, ...] = DAYS, name: str = "o") -> None:
    """Objects of two rows for each day."""
    for day in days:
        for number in range(objects):
            lake.put(
                f"day={day}/{name}{number}.json",
                lines({"id": f"{day}/{name}{number}/a"}, {"id": f"{day}/{name}{number}/b"}),
            )


def of(day: str, *, days: int = 1) -> Range:
    """The objects of a day, or of several."""
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return Range(start=start, end=start + timedelta(days=days), by=("day",))


def part(lake: SmallLake, day: str, owner: str = "backfill 1") -> ImportSummary:
    """Import a day beside the stream, to its end; what the owner's run has imported so far counts."""
    loop = ImportLoop(replace(lake.context(), run_id=owner))
    loop.recall(owner)
    import_part(loop, Wish(owner=owner, range=of(day)))
    return loop.tally.summary()


def expected(lake: SmallLake) -> Counter[str]:
    """Every row of every object, once."""
    ids = [
        f"{path.parent.name.removeprefix('day=')}/{path.stem}/{end}"
        for path in lake.raw.rglob("*.json")
        for end in "ab"
    ]
    return Counter(ids)


def found(lake: SmallLake) -> Counter[str]:
    """The rows of the table."""
    return Counter(lake.rows("id"))


def claims(lake: SmallLake) -> list[str]:
    """Owners of the claims in force."""
    return [claim.owner for claim in active(lake.ledger().identity)]


def drive(folder: str, what: str) -> None:
    """What a process does that may be killed."""
    lake = lake_in(Path(folder))
    if what == "part":
        part(lake, DAYS[1])
    else:
        lake.run()


if __name__ == "__main__":
    drive(*sys.argv[1:])
