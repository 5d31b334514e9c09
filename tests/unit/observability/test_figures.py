"""Numbers and names are shown the same everywhere, without surprises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.observability.figures import coarse, counted, duration, per_second, percent, size
from lakeray.observability.metrics import OTHER, ImportMetrics
from lakeray.observability.visible import visible, without_credentials


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (123_456_789, "123 MB"),
        (999_950, "1.00 MB"),
    ],
)
def test_sizes(number, shown):
    assert size(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 ms"),
        (0.04, "40 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7_380, "2 h 03 min"),
        (90_000, "1 d 01 h"),
        (float("nan"), "unknown"),
        (-1.0, "unknown"),
    ],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


def test_foretold_seconds_have_no_fractions():
    assert [coarse(s) for s in (0.01, 1.4, 59.4, 75, float("inf"))] == ["1 s", "1 s", "59 s", "1 min 15 s", "unknown"]


@given(st.floats(min_value=0, max_value=1))
def test_only_a_whole_is_a_hundred_percent(share):
    assert (percent(share) == "100 %") == (share >= 1)


def test_counts_agree_with_their_noun():
    assert [counted(n, "object") for n in (0, 1, 1_234)] == ["0 objects", "1 object", "1,234 objects"]
    assert per_second(5, 0) == 0.0


@given(st.text(alphabet=st.characters(codec=None), max_size=200), st.one_of(st.none(), st.integers(3, 50)))
def test_visible_text_is_one_harmless_line(text, limit):
    shown = visible(text, limit)
    assert not set(shown) & set("\n\r\t\x1b\x7f\x9b\u202e\u2066\u2028\u200b\ufeff")
    shown.encode("utf-8")
    assert limit is None or len(shown) <= limit


def test_a_long_name_keeps_both_its_ends():
    assert visible("s3://bucket/very/long/part-0001.json", 20) == "s3://buck…-0001.json"


def test_names_in_all_scripts_stay_readable():
    assert visible("données/数据/файл ü.json") == "données/数据/файл ü.json"


def test_credentials_are_hidden_in_urls():
    assert without_credentials("at redis://u:p@h/0 and s3://b/k@v:1") == "at redis://(hidden)@h/0 and s3://b/k@v:1"


def count_batch(metrics: ImportMetrics, step: str = "ingest", *, won: bool = True) -> None:
    metrics.batch(
        workflow="orders",
        step=step,
        objects={"loaded": 3, "poison": 1, "s3://never/a/label": 1},
        rows={"read": 10, "written": 8, "quarantined": 2},
        bytes_read=100,
        bytes_written=50,
        duration_s=1.5,
        won=won,
    )


def test_metrics_are_rendered_for_prometheus():
    metrics = ImportMetrics()
    count_batch(metrics)
    count_batch(metrics)
    count_batch(metrics, won=False)
    metrics.error(workflow="orders", step="ingest", code="access_denied")
    text = metrics.render()
    for line in (
        'lakeray_import_objects_total{outcome="loaded",step="ingest",workflow="orders"} 6.0',
        'lakeray_import_objects_total{outcome="other",step="ingest",workflow="orders"} 2.0',
        'lakeray_import_rows_total{fate="written",step="ingest",workflow="orders"} 16.0',
        'lakeray_import_read_bytes_total{step="ingest",workflow="orders"} 200.0',
        'lakeray_import_batch_duration_seconds_count{step="ingest",workflow="orders"} 2.0',
        'lakeray_import_batches_lost_total{step="ingest",workflow="orders"} 1.0',
        'lakeray_import_errors_total{code="access_denied",step="ingest",workflow="orders"} 1.0',
    ):
        assert line in text.splitlines()
    assert "s3://" not in text
    assert 'fate="read"' not in text


def test_labels_stay_few():
    metrics = ImportMetrics(most_steps=5)
    for number in range(50):
        count_batch(metrics, f"step-{number}")
    steps = {line.split('step="')[1].split('"')[0] for line in metrics.render().splitlines() if 'step="' in line}
    assert steps == {*(f"step-{number}" for number in range(5)), OTHER}


def test_two_registries_do_not_know_each_other():
    first, second = ImportMetrics(), ImportMetrics()
    count_batch(first)
    assert "lakeray_import_objects_total{" not in second.render()
