"""A part of a source is imported beside the running stream, and every object once, whoever dies when.

Crash points: every name in ``lakeray.failpoints.BACKFILLS`` and ``EVERY_IMPORT`` on several passes (claim, batches,
closing, hand-over), with the stream run by others before the part is carried on.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from deltalake import DeltaTable

from lakeray.errors import ImportFailed
from lakeray.failpoints import BACKFILLS, EVERY_IMPORT
from lakeray.importer.claims import take
from lakeray.importer.claims.claim import active
from lakeray.importer.claims.ranges import Range, moment
from lakeray.importer.claims.take import ClaimHeld, Wish, free_claims, give_up, import_part, withdraw_part
from lakeray.importer.claims.view import seen_by_stream
from lakeray.importer.discovery import difference
from lakeray.importer.discovery.look import plan
from lakeray.importer.discovery.source import open_listing
from lakeray.importer.loop import ClaimOver, ImportLoop
from lakeray.importer.quarantine.reprocess import Choice
from lakeray.importer.recording.amend import LedgerOf
from lakeray.importer.recording.ledger import Ledger
from tests.commands import Started
from tests.sample_lake import finished
from tests.unit.importer import parts_world as world
from tests.unit.importer.small_lake import SmallLake, lines


@pytest.fixture
def lake(tmp_path):
    lake = world.lake_in(tmp_path)
    world.fill(lake)
    return lake


def claimed(lake, day, owner="backfill 1"):
    """A part that has its claim and imported nothing."""
    loop = ImportLoop(lake.context())
    wish = Wish(owner=owner, range=world.of(day))
    with suppress(ZeroDivisionError):
        import_part(_Stops(loop), wish)
    [claim] = [each for each in active(lake.ledger().identity) if each.owner == owner]
    return claim


class _Stops:
    """A stream's import whose part dies before it has planned anything."""

    def __init__(self, loop):
        self._loop = loop

    def __getattr__(self, name):
        return getattr(self._loop, name)

    def part(self, claim):
        raise ZeroDivisionError


def test_a_part_is_imported_into_a_table_that_is_not_there_yet(lake):
    world.part(lake, world.DAYS[1])
    assert {id_[:10] for id_ in world.found(lake)} == {world.DAYS[1]}
    assert world.claims(lake) == []
    lake.run()
    assert world.found(lake) == world.expected(lake)


def test_the_stream_leaves_a_claimed_part_alone_and_takes_what_comes_late(lake):
    lake.put(
        f"day={world.DAYS[0]}/first.json", lines({"id": f"{world.DAYS[0]}/first/a"}, {"id": f"{world.DAYS[0]}/first/b"})
    )
    claimed(lake, world.DAYS[1])
    summary = lake.run()
    assert {id_[:10] for id_ in world.found(lake)} == {world.DAYS[0], world.DAYS[2]}
    assert any("3 objects are left to backfill 1" in note for note in summary.notes), summary.notes
    world.part(lake, world.DAYS[1])
    assert world.found(lake) == world.expected(lake)
    world.fill(lake, objects=1, days=(world.DAYS[1],), name="late")
    lake.run()
    assert world.found(lake) == world.expected(lake)
    assert set(lake.outcomes().values()) == {"loaded"}


def test_a_part_has_nothing_to_do_with_what_the_stream_has_imported(lake):
    lake.run()
    before = DeltaTable(lake.table_uri).version()
    world.part(lake, world.DAYS[1])
    assert world.found(lake) == world.expected(lake)
    assert DeltaTable(lake.table_uri).version() == before + 2, "the claim and its end"
    world.part(lake, world.DAYS[1])
    assert world.found(lake) == world.expected(lake)


def test_what_the_stream_has_planned_is_the_streams(lake, monkeypatch):
    """Planned before the claim; whoever claims finishes it when the stream does not."""
    monkeypatch.setattr(take, "_PATIENCE_S", 0.0)
    world.part(lake, world.DAYS[0])
    loop = ImportLoop(replace(lake.context(), cancelled=_Set()))
    with pytest.raises(Exception, match="asked to stop"):
        loop.drain()
    world.part(lake, world.DAYS[1])
    lake.run()
    assert world.found(lake) == world.expected(lake)


class _Set:
    """Asked to stop as soon as a batch is planned."""

    def __init__(self):
        self.asked = 0

    def is_set(self):
        self.asked += 1
        return self.asked > 4

    def wait(self, _):
        return False


def test_overlapping_claims_are_refused_and_others_are_not(lake):
    lake.run()
    claim = claimed(lake, world.DAYS[1])
    with pytest.raises(ClaimHeld, match="backfill 1 has claimed"):
        import_part(ImportLoop(lake.context()), Wish(owner="backfill 2", range=world.of(world.DAYS[0], days=2)))
    with pytest.raises(ClaimHeld, match="may belong to"):
        import_part(ImportLoop(lake.context()), Wish(owner="backfill 2", range=replace(claim.range, by=())))
    world.part(lake, world.DAYS[2], owner="backfill 2")
    assert world.claims(lake) == ["backfill 1"]


def test_whoever_still_works_under_a_claim_that_is_over_can_plan_nothing(lake):
    lake.run()
    claim = claimed(lake, world.DAYS[1])
    zombie = ImportLoop(lake.context()).part(claim)
    world.part(lake, world.DAYS[1])
    world.fill(lake, objects=1, days=(world.DAYS[1],), name="late")
    with pytest.raises(ClaimOver):
        zombie.drain()
    lake.run()
    assert world.found(lake) == world.expected(lake)


def test_a_claim_can_be_given_up(lake):
    claim = claimed(lake, world.DAYS[1])
    give_up(lake.context(), claim)
    assert world.claims(lake) == []
    lake.run()
    assert world.found(lake) == world.expected(lake)


@pytest.mark.parametrize("point", ["after_manifest", "after_result", "after_commit"])
def test_what_is_given_up_in_the_middle_is_the_streams(tmp_path, point):
    lake = world.lake_in(tmp_path)
    world.fill(lake)
    assert drive(tmp_path, "part", LAKERAY_FAILPOINTS=f"{point}=kill:2") == -9
    assert world.claims(lake) == ["backfill 1"]
    free_claims(lake.context(), "backfill 1")
    assert world.claims(lake) == []
    lake.run()
    assert world.found(lake) == world.expected(lake)


@pytest.mark.parametrize(("point", "said"), [("after_manifest=kill:1", "begins"), ("after_manifest=kill:4", "ends")])
def test_the_begin_and_the_end_of_a_claim_cannot_be_abandoned(tmp_path, point, said):
    lake = world.lake_in(tmp_path)
    world.fill(lake)
    assert drive(tmp_path, "part", LAKERAY_FAILPOINTS=point) == -9
    before = world.claims(lake)
    with pytest.raises(ImportFailed, match=f"{said} a claim"):
        LedgerOf(lake.context()).abandon()
    assert world.claims(lake) == before, "and nothing has become of it"


def test_what_a_part_has_imported_can_be_taken_out_while_it_is_claimed(tmp_path):
    lake = world.lake_in(tmp_path)
    lake.table = {"provenance": True}
    world.fill(lake)
    lake.run()
    world.fill(lake, objects=5, name="more")
    loop = ImportLoop(replace(lake.context(), run_id="backfill 1"))
    wish = Wish(owner="backfill 1", range=world.of(world.DAYS[1]))
    with suppress(ZeroDivisionError):
        import_part(_Hands(loop), wish)
    before = lake.count()
    done = withdraw_part(lake.context(), wish, run_id="backfill 1", fate="compensated")
    assert done is not None
    assert done.rows_removed == before - lake.count() == 10
    free_claims(lake.context(), "backfill 1")
    lake.run()
    assert world.found(lake) == world.expected(lake)
    world.part(lake, world.DAYS[2])
    world.fill(lake, objects=1, days=(world.DAYS[2],), name="last")
    world.part(lake, world.DAYS[2], owner="backfill 3")
    with pytest.raises(ImportFailed, match="do not say where they came from"):
        withdraw_part(lake.context(), replace(wish, owner="backfill 3"), run_id="backfill 3", fate="compensated")


class _Hands(_Stops):
    """One whose part dies when everything is imported, before it is handed over."""

    def part(self, claim):
        part = self._loop.part(claim)

        def close():
            raise ZeroDivisionError

        part.close = close
        return part


def test_a_ledger_that_is_rebuilt_knows_what_was_imported_under_claims(lake):
    world.part(lake, world.DAYS[1])
    lake.run()
    LedgerOf(lake.context()).rebuild()
    lake.run()
    assert world.found(lake) == world.expected(lake)
    assert world.claims(lake) == []


def test_a_restore_takes_back_what_was_imported_under_a_claim(tmp_path):
    lake = SmallLake(tmp_path, plan={"on_restore": "reimport"})
    world.fill(lake)
    world.part(lake, world.DAYS[0])
    before = DeltaTable(lake.table_uri).version()
    world.part(lake, world.DAYS[1])
    lake.run()
    DeltaTable(lake.table_uri).restore(before)
    lake.run()
    assert world.found(lake) == world.expected(lake)


def test_a_restore_to_a_version_between_a_parts_batch_and_its_end_repeats_nothing(tmp_path):
    lake = SmallLake(tmp_path, plan={"on_restore": "reimport"})
    world.fill(lake)
    world.part(lake, world.DAYS[0])
    world.part(lake, world.DAYS[1])
    DeltaTable(lake.table_uri).restore(DeltaTable(lake.table_uri).version() - 1)
    lake.run()
    assert world.found(lake) == world.expected(lake)


def test_what_a_part_refuses_can_be_reprocessed_like_what_the_stream_does(tmp_path):
    lake = SmallLake(tmp_path, step={"expect": {"known": {"sql": "kind = 'a'", "on_violation": "quarantine"}}})
    for day in world.DAYS:
        lake.put(f"day={day}/o.json", lines({"id": f"{day}/1", "kind": "a"}, {"id": f"{day}/2", "kind": "b"}))
    world.part(lake, world.DAYS[1])
    lake.run()
    assert sorted(lake.quarantined("step")) == ["ingest", "ingest", "ingest.1"]
    lake.step = {}
    ImportLoop(lake.context()).reprocess(Choice())
    assert lake.quarantined("step") == []
    assert sorted(lake.rows("id")) == sorted(f"{day}/{number}" for day in world.DAYS for number in (1, 2))


def test_parts_by_the_time_of_change(lake):
    paths = sorted(lake.raw.rglob("*.json"))
    for number, path in enumerate(paths):
        os.utime(path, (86_400 * number, 86_400 * number))
    middle = Range(start=_day(3), end=_day(6))
    import_part(ImportLoop(lake.context()), Wish(owner="b", range=middle))
    assert lake.count() == 6
    lake.run()
    assert world.found(lake) == world.expected(lake)


def _day(number):
    return moment(f"1970-01-{number + 1:02d}", __import__("zoneinfo").ZoneInfo("UTC"))


def test_a_plan_leaves_claimed_objects_out(lake):
    claimed(lake, world.DAYS[1])
    summary = plan(lake.context())
    assert summary.new == 6
    ledger = lake.ledger()
    listing = open_listing(lake.context().source, now=lake.context().now, ledger=ledger)
    assert sum(window.fresh.num_rows for window in seen_by_stream(listing, ledger)) == 6


def test_another_version_of_what_a_part_has_imported_waits_for_its_end(lake, monkeypatch):
    """Also where the claim would not have it, its time being another; the part's ledger is read a window at a time."""
    day = Range(start=_day(1), end=_day(2))
    objects = sorted(lake.raw.rglob("*.json"))
    for path in objects:
        os.utime(path, (86_400, 86_400))
    with suppress(ZeroDivisionError):
        import_part(_Hands(ImportLoop(lake.context())), Wish(owner="b", range=day))
    for path in objects:
        os.utime(path, (86_400 * 5, 86_400 * 5))
    whole, scanned = Ledger.scan, []

    def scan(ledger, **asked):
        if ledger.identity.step == "ingest.1":
            scanned.append((asked["after"], asked["up_to"]))
        return whole(ledger, **asked)

    monkeypatch.setattr(Ledger, "scan", scan)
    monkeypatch.setattr(difference, "WINDOW_ROWS", 1)
    listing = open_listing(lake.context().source, now=lake.context().now)
    pages = [page.slice(row, 1) for page in listing.pages() for row in range(page.num_rows)]
    listing = replace(listing, list_pages=lambda _: iter(pages))
    assert sum(window.fresh.num_rows for window in seen_by_stream(listing, lake.ledger())) == 0
    uris = [str(path) for path in objects]
    assert scanned == list(zip([None, *uris], uris, strict=False))


@pytest.mark.parametrize("mode", ["merge", "overwrite", "scd2"])
def test_modes_that_need_the_streams_order_are_refused(tmp_path, mode):
    changes = {"key": ["id"], "sequence": "at"} if mode != "overwrite" else {}
    lake = SmallLake(tmp_path, plan={"mode": mode, **changes})
    with pytest.raises(ImportFailed, match=f"cannot be imported in parts: mode {mode}"):
        world.part(lake, world.DAYS[0])


def drive(folder, what, **env):
    started = Started([what], partial(world.drive, str(folder), what), {**os.environ, **env}, folder)
    return finished(started, within_s=60).returncode


@pytest.mark.parametrize(
    ("point", "count"),
    [
        ("after_claim", 1),
        *(("after_commit", count) for count in (2, 3, 4)),
        ("after_ledger_commit", 3),
        ("after_manifest", 4),
        *((f"{point}_claim_folded", 1) for point in ("before", "after")),
        ("after_claim_gone", 1),
    ],
)
def test_numbers_of_a_part_survive_a_kill(tmp_path, point, count):
    lake = world.lake_in(tmp_path)
    world.fill(lake)
    assert drive(tmp_path, "part", LAKERAY_FAILPOINTS=f"{point}=kill:{count}") == -9
    for _ in range(2):
        summary = world.part(lake, world.DAYS[1])
        assert (summary.objects, summary.rows.written, summary.batch_count) == ({"loaded": 3}, 6, 2)


LATER = ("after_manifest", "commit_reply", "after_commit", "before_ledger_commit")


@pytest.mark.parametrize(
    ("point", "count"),
    [*((point, 1) for point in BACKFILLS), *((point, 2) for point in EVERY_IMPORT), *((point, 4) for point in LATER)],
)
def test_kill(tmp_path, point, count):
    """What an import passes is passed for the claim, for two batches of the part, and for its end."""
    lake = world.lake_in(tmp_path)
    world.fill(lake)
    code = drive(tmp_path, "part", LAKERAY_FAILPOINTS=f"{point}=kill:{count}")
    assert code in (0, -9)
    assert code == -9 or count > 1, "every point is passed"
    world.fill(lake, objects=1, days=world.DAYS[:2], name="late")
    if code == -9:
        lake.run()
    world.part(lake, world.DAYS[1])
    lake.run()
    assert world.found(lake) == world.expected(lake)
    assert world.claims(lake) == []
