"""Each recommendation follows from a measurement that passes its threshold, never before it."""

from __future__ import annotations

import pytest

from lakeray.importer.recording.summary import Rows
from lakeray.reports import advice, build_report
from lakeray.reports.advice import recommendations


@pytest.fixture
def codes(imported):
    """The codes of the advice for a healthy import with these changes."""

    def found(*, number_of_batches: int = 2, won: bool = True, **changes: object) -> list[str]:
        [one, *_] = imported().batches
        healthy: dict[str, object] = {
            "batches": [one.model_copy(update={"number": n, "won": won}) for n in range(1, number_of_batches + 1)],
            "objects": {"loaded": 100},
            "rows": Rows(read=1_000_000, written=1_000_000),
            "bytes_read": 1_000_000_000,
            "problems": [],
            "phases_s": {"list": 1.0, "write": 1.0},
            "duration_s": 2.0,
        }
        return [advised.code for advised in recommendations(imported(**(healthy | changes)))]

    return found


def test_a_healthy_import_needs_no_advice(codes):
    assert codes() == []


CASES = {
    "poison_objects": ({"objects": {"loaded": 9, "poison": 1}}, {"objects": {"loaded": 9, "poison": 0}}),
    "low_pass_rate": (
        {"rows": Rows(read=1000, written=949, quarantined=51)},
        {"rows": Rows(read=1000, written=950, quarantined=50)},
    ),
    "rescued_rows": (
        {"rows": Rows(read=1000, written=1000, rescued=10)},
        {"rows": Rows(read=1000, written=1000, rescued=9)},
    ),
    "dominant_phase": ({"phases_s": {"list": 12.0, "write": 8.0}}, {"phases_s": {"list": 11.0, "write": 9.0}}),
    "low_throughput": (
        {"duration_s": 60.0, "rows": Rows(read=599_999, written=599_999), "bytes_read": 299_000_000},
        {"duration_s": 59.0, "rows": Rows(read=500_000, written=500_000), "bytes_read": 1_000_000},
    ),
    "small_objects": (
        {"objects": {"loaded": 1000}, "bytes_read": 63_000_000},
        {"objects": {"loaded": 1000}, "bytes_read": 64_000_000},
    ),
    "small_batches": (
        {"number_of_batches": 20, "bytes_read": 150_000_000},
        {"number_of_batches": 19, "bytes_read": 150_000_000},
    ),
    "small_files": (
        {"files": 50, "bytes_written": 799_000_000},
        {"files": 49, "bytes_written": 10_000_000},
    ),
    "lost_batches": ({"number_of_batches": 1, "won": False}, {"number_of_batches": 1}),
}


@pytest.mark.parametrize("code", CASES)
def test_advice_begins_at_its_threshold(codes, code):
    beyond, within = CASES[code]
    assert codes(**beyond) == [code]
    assert codes(**within) == []


def test_a_short_phase_never_dominates(codes):
    assert codes(phases_s={"list": advice.DOMINANT_S - 0.1, "write": 0.1}) == []


@pytest.mark.parametrize("phase", [*advice.PHASE_ADVICE, "something else"])
def test_advice_about_a_phase_names_it(imported, phase):
    [found] = recommendations(
        imported(phases_s={phase: 50.0, "b": 1.0}, objects={"loaded": 1}, rows=Rows(read=10**6, written=10**6))
    )
    assert f"“{phase}” took 50.0 s, 98 % of the time" in found.why
    assert found.advice.endswith(".")
    assert found.advice[0].isupper()


def test_an_import_of_nothing_needs_no_advice(imported, ran):
    nothing = imported(
        objects={}, rows=Rows(), batches=[], bytes_read=0, bytes_written=0, files=0, phases_s={}, duration_s=0.0
    )
    assert recommendations(nothing) == []
    assert build_report(ran(nothing)).performance.recommendations == []
