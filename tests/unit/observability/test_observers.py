"""Observers count, show, log; they never break an import."""

from __future__ import annotations

import io
import json
import threading

import pytest
from rich.console import Console

from lakeray.observability import logs
from lakeray.observability.display import QuietConsole, RichObserver
from lakeray.observability.plain import PlainObserver
from lakeray.observability.progress import Observer, Silent
from lakeray.observability.tally import Tally, TallyObserver


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def play(observer: Observer, clock: Clock) -> None:
    """One import of two batches, ten seconds long."""
    observer.import_started(step="ingest", source_uri="s3://b/raw\x1b[2J", table_uri="s3://b/t")
    observer.listing(step="ingest", listed=1_000, new=40)
    for batch in (1, 2):
        observer.batch_started(step="ingest", batch=batch, objects=20, size_bytes=2_000_000)
        for _ in range(4):
            clock.now += 1.25
            observer.advanced(step="ingest", batch=batch, objects=5, rows=1_000, size_bytes=500_000)
        observer.batch_ended(step="ingest", batch=batch, rows_written=3_900, table_version=batch, won=batch == 1)
    observer.note(step="ingest", message="2 objects changed\nand were ignored")
    observer.import_ended(step="ingest", source="raw", rows_written=7_800, duration_s=10.0, errors=2)


def test_plain_lines_are_few(clock):
    stream = io.StringIO()
    play(PlainObserver(stream=stream, interval_s=5.0, clock=clock), clock)
    assert stream.getvalue().splitlines() == [
        "ingest: s3://b/raw\\x1b[2J -> s3://b/t",
        "ingest: 20 of 40 objects, 4,000 rows, 2.00 MB, 800 rows/s, about 5 s left",
        "ingest: 40 of 40 objects, 8,000 rows, 4.00 MB, 800 rows/s",
        "ingest: batch 2 is table version 2, 3,900 rows, committed by another importer",
        "ingest: 2 objects changed\\nand were ignored",
        "ingest: 40 objects, 7,800 rows written, 4.00 MB, 10.0 s (780 rows/s), 2 problems",
    ]


def test_nothing_new_is_said_in_two_words(clock):
    stream = io.StringIO()
    observer = PlainObserver(stream=stream, clock=clock)
    observer.import_started(step="ingest", source_uri="a", table_uri="b")
    observer.import_ended(step="ingest", source="raw", rows_written=0, duration_s=0.2, errors=0)
    assert stream.getvalue().splitlines()[-1] == "ingest: nothing new, in 200 ms"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_display_shows_objects_rows_bytes_speed_and_time_left(clock, width):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=False)
    observer = RichObserver(console=console, clock=clock)
    observer.import_started(step="ingest", source_uri="a", table_uri="b")
    observer.listing(step="ingest", listed=1_000, new=40)
    console.print(*observer.rows(width))
    assert "looking, 1,000 objects listed, 40 new" in stream.getvalue()
    observer.batch_started(step="ingest", batch=7, objects=40, size_bytes=4_000_000)
    clock.now += 5
    observer.advanced(step="ingest", batch=7, objects=10, rows=1_000, size_bytes=1_000_000)
    console.print(*observer.rows(width))
    shown = stream.getvalue()
    for said in ("10 of 40 objects", "15 s left", "1,000 rows", "1.00 MB", "200 rows/s", "batch 7"):
        assert said in shown
    assert max(map(len, shown.splitlines())) <= width
    observer.import_ended(step="ingest", source="raw", rows_written=1_000, duration_s=5.0, errors=0)
    assert observer.rows(width) == []
    assert "✓ ingest" in stream.getvalue()


def test_the_display_can_be_entered_again(clock):
    stream = io.StringIO()
    observer = RichObserver(console=Console(file=stream, width=100, force_terminal=True), clock=clock)
    for _ in range(2):
        with observer:
            play(observer, clock)
    assert stream.getvalue().count("! ") >= 2
    assert "\x1b[2J" not in stream.getvalue()


def test_time_left_follows_bytes_once_all_is_planned():
    tally = Tally(step="s", source_uri="", table_uri="", started_at=0.0, reading_since=10.0, new=4, planned=4)
    tally.planned_bytes, tally.size_bytes, tally.objects = 1_000, 100, 2
    assert tally.left_s(20.0) == pytest.approx(90.0)
    tally.new = 8
    assert tally.left_s(20.0) == pytest.approx(30.0)
    tally.objects = 8
    assert tally.left_s(20.0) is None


def test_counts_are_exact_from_many_threads():
    observer = TallyObserver()
    observer.import_started(step="s", source_uri="", table_uri="")

    def work() -> None:
        for _ in range(500):
            observer.advanced(step="s", batch=1, objects=1, rows=2, size_bytes=3)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally = observer._tallies["s"]
    assert (tally.objects, tally.rows, tally.size_bytes) == (4_000, 8_000, 12_000)


class Broken(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_a_broken_display_does_not_break_the_import(clock):
    play(PlainObserver(stream=Broken(), interval_s=0.0, clock=clock), clock)
    play(RichObserver(console=QuietConsole(file=Broken()), clock=clock), clock)


def test_events_of_an_unknown_step_are_taken(clock):
    observer = PlainObserver(stream=io.StringIO(), clock=clock)
    observer.advanced(step="late", batch=1, objects=1, rows=1, size_bytes=1)
    observer.import_ended(step="later", source="x", rows_written=0, duration_s=0.0, errors=0)


def test_all_observers_keep_the_contract():
    named = {name for name in vars(Observer) if not name.startswith("_")}
    for kind in (Silent, TallyObserver, PlainObserver, RichObserver, logs.LogObserver):
        assert named <= set(dir(kind))


@pytest.fixture
def records():
    import logging

    import structlog

    root = logging.getLogger()
    before = (root.handlers, root.level)
    stream = io.StringIO()
    logs.configure(format="json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers, root.level = before
    structlog.reset_defaults()


def test_json_logs_carry_workflow_step_and_batch(clock, records):
    play(logs.LogObserver(workflow="orders"), clock)
    events = {record["event"]: record for record in records()}
    assert {"import started", "batch started", "batch completed", "import completed"} <= set(events)
    assert all((record["workflow"], record["step"]) == ("orders", "ingest") for record in records())
    assert events["batch completed"]["batch"] == 2
    done = events["import completed"]
    expected = {"source": "raw", "records": 7_800, "duration_s": 10.0, "errors": 2, "throughput": 780.0, "batch": 2}
    assert {key: done[key] for key in expected} == expected


def test_bound_values_are_in_every_record(records):
    import structlog

    with structlog.contextvars.bound_contextvars(workflow="w", step="s", batch=3):
        structlog.stdlib.get_logger("x").info("hello")
    [record] = records()
    assert (record["workflow"], record["step"], record["batch"]) == ("w", "s", 3)


def test_the_standard_library_logs_json_too(records):
    import logging

    logging.getLogger("some.library").warning("careful %s", "now")
    logging.getLogger("botocore").info("chatter")
    [record] = records()
    assert (record["event"], record["level"]) == ("careful now", "warning")


def test_secrets_are_not_logged(records):
    import structlog

    structlog.stdlib.get_logger("x").info("connect", password="hunter2", uri="redis://u:hunter2@h/0", db_dsn="hunter2")
    assert "hunter2" not in json.dumps(records())


def test_odd_values_are_logged(records):
    import structlog

    structlog.stdlib.get_logger("x").info("odd", name="\ud800", large=2**80, kind=object)
    [record] = records()
    assert record["name"] == "\\ud800"
    assert record["large"] == str(2**80)
