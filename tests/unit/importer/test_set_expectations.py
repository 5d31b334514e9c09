"""A batch that breaks a rule over its rows together is never visible, or tells which rows went."""

from __future__ import annotations

import pytest

from lakeray.delta.table import open_table
from lakeray.errors import ExpectationFailed, TransformError
from lakeray.importer.recording.recovery import last_result
from tests.unit.importer.small_lake import NOW, SmallLake, balance, lines

AGES = [
    ({"unique": ["id"]}, [{"id": 1}, {"id": 2}], [{"id": 3}, {"id": 3}]),
    ({"row_count": {"min": 2}}, [{"id": 1}, {"id": 2}], [{"id": 3}]),
    ({"row_count": {"max": 2}}, [{"id": 1}], [{"id": 3}] * 3),
    ({"row_count": {"of_source": 0.9}}, [{"id": 1}], [{"id": 3}, b"{broken"]),
    ({"null_rate": {"column": "v", "max": 0.5}}, [{"id": 1, "v": 1}], [{"id": 1, "v": None}]),
    ({"range": {"column": "id", "min": 1, "max": 5}}, [{"id": 1}, {"id": 5}], [{"id": 1}, {"id": 6}]),
    ({"sql": "SELECT sum(id) < 10 AND count(DISTINCT id) > 0 FROM batch"}, [{"id": 1}], [{"id": 8}, {"id": 4}]),
    ({"sql": "SELECT NULL FROM batch LIMIT 1"}, [], [{"id": 1}]),
    (
        {"freshness": {"column": "at", "max_age": "1d"}},
        [{"at": "2024-05-01T00:00:00"}],
        [{"at": "2024-04-29T00:00:00"}],
    ),
    ({"python": "tests.unit.importer.test_set_expectations:small"}, [{"id": 1}], [{"id": 1}] * 5),
    ({"python": "tests.unit.importer.test_set_expectations:explains"}, [{"id": 1}], [{"id": 1}] * 5),
]


def small(batch):
    return batch.count_rows() < 3


def explains(batch):
    return True if batch.to_table(columns=["id"]).num_rows < 3 else "there are too many"


def lake_with(folder, rule, on_violation, **more):
    step = {"expect_set": {"rule": {**rule, "on_violation": on_violation}}, **more.pop("step", {})}
    hints = {"id": "int64", "v": "int64", "at": "timestamp"}
    return SmallLake(folder, step=step, source={"schema_hints": hints, **more.pop("source", {})}, **more)


@pytest.mark.parametrize(("rule", "good", "bad"), AGES)
def test_a_failing_batch_is_never_visible_and_leaves_no_file(tmp_path, rule, good, bad):
    lake = lake_with(tmp_path, rule, "fail")
    if good:
        lake.put("a.json", lines(*good))
        lake.run()
    lake.put("b.json", lines(*bad))
    with pytest.raises(ExpectationFailed, match="'rule' is violated"):
        lake.run()
    assert (lake.count() if good or open_table(lake.table_uri) else 0) == len(good)
    assert not lake.stray_files()


@pytest.mark.parametrize(("rule", "good", "bad"), AGES)
def test_a_warning_counts_and_lets_the_batch_through(tmp_path, rule, good, bad):
    lake = lake_with(tmp_path, rule, "warn")
    if good:
        lake.put("a.json", lines(*good))
        found = lake.run().set_expectations["rule"]
        assert (found.checked, found.violated) == (1, 0), found.detail
    lake.put("b.json", lines(*bad))
    found = lake.run().set_expectations["rule"]
    assert (found.kind, found.checked, found.violated) == (next(iter(rule)), 1, 1)
    assert found.detail
    result = last_result(lake.ledger().identity)
    assert result is not None
    assert result.set_expectations["rule"].passed is False
    assert not lake.stray_files()


def test_rows_that_are_not_unique_go_into_quarantine(tmp_path):
    lake = lake_with(tmp_path, {"unique": ["id"], "against": "table"}, "quarantine", slots=2)
    lake.put("a.json", lines({"id": 1}, {"id": 2}, {"id": 2}))
    assert balance(lake.run()) == {"read": 3, "written": 2, "quarantined": 1}
    lake.put("b.json", lines({"id": 1}, {"id": 3}))
    lake.put("c.json", lines({"id": 3}))
    summary = lake.run()
    assert balance(summary) == {"read": 3, "written": 1, "quarantined": 2}
    assert summary.set_expectations["rule"].rows == 2
    assert sorted(lake.rows("id")) == [1, 2, 3]
    refused = lake.quarantined()
    assert {found["rule"] for found in refused} == {"expect_set:rule"}
    assert sorted((found["object_uri"], found["row"], found["record"][:7]) for found in refused) == [
        (lake.uri("a.json"), 3, '{"id":2'),
        (lake.uri("b.json"), 1, '{"id":1'),
        (lake.uri("c.json"), 1, '{"id":3'),
    ]
    assert lake.outcomes() == dict.fromkeys(("a.json", "b.json", "c.json"), "partly_loaded")
    assert not lake.stray_files()


@pytest.mark.parametrize("broadcast", [True, False])
def test_a_reference_to_nothing_is_found(tmp_path, monkeypatch, broadcast):
    """Few referenced keys are given to every task, many are divided by hash."""
    if not broadcast:
        monkeypatch.setattr("lakeray.importer.sets.rules.BROADCAST_ROWS", 0)
    lake = lake_with(tmp_path / "x", {"references": {"column": "id", "to": "t.v"}}, "quarantine", slots=2)
    lake.put("a.json", lines({"id": None, "v": 7}, {"id": None, "v": 8}))
    lake.run()
    lake.put("b.json", lines({"id": 7}, {"id": 9}, {"id": None}))
    lake.put("c.json", lines({"id": 8}, {"id": 10}))
    assert balance(lake.run()) == {"read": 5, "written": 3, "quarantined": 2}
    assert sorted(found["row"] for found in lake.quarantined()) == [2, 2]


def test_rules_see_what_is_left_after_duplicates_went(tmp_path):
    step = {"deduplicate": {"key": ["id"]}}
    lake = lake_with(tmp_path, {"unique": ["id"]}, "fail", step=step)
    lake.put("a.json", lines({"id": 1}, {"id": 1}))
    assert balance(lake.run()) == {"read": 2, "written": 1, "deduplicated": 1}


def test_a_batch_is_compared_with_earlier_ones(tmp_path):
    rule = {"row_count": {"versus_history": {"window": 3, "tolerance": 0.5}}}
    lake = lake_with(tmp_path, rule, "warn")
    for number, size in enumerate([10, 12, 11]):
        lake.put(f"{number}.json", lines(*({"id": n} for n in range(size))))
        assert lake.run().set_expectations["rule"].violated == 0
    lake.put("9.json", lines(*({"id": n} for n in range(40))))
    found = lake.run().set_expectations["rule"]
    assert (found.violated, "11 that the last 3 batches" in found.detail) == (1, True), found.detail


@pytest.mark.parametrize("metric", ["mean", "stddev", "psi", "quantiles"])
def test_a_distribution_that_moves_is_seen(tmp_path, metric):
    rule = {"distribution": {"column": "v", "metric": metric, "tolerance": 0.3}}
    lake = lake_with(tmp_path, rule, "warn", slots=2)
    for number in range(3):
        lake.put(f"{number}.json", lines(*({"v": n + number} for n in range(100, 300))))
        found = lake.run().set_expectations["rule"]
        assert found.violated == 0, found.detail
    lake.put("9.json", lines(*({"v": 1000 + 7 * n} for n in range(100, 300))))
    found = lake.run().set_expectations["rule"]
    assert found.violated == 1, found.detail


def test_the_partition_column_is_among_the_batchs(tmp_path):
    rule = {"sql": "SELECT count(DISTINCT day) = 2 AND min(day) = '2024-01-01' AND count(*) = 3 FROM batch"}
    lake = lake_with(tmp_path, rule, "fail", table={"partition_by": ["day"]})
    lake.put("a.json", lines(*({"id": n, "day": f"2024-01-0{n}"} for n in (1, 2, 2))))
    lake.run()
    assert lake.count() == 3


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT count(*) > 0 FROM '/etc/passwd'", "the only table is batch"),
        ("SELECT count(*) > 0 FROM other", "the only table is batch"),
        ("SELECT count(*) > 0 FROM batch, generate_series(1, 9)", "the only table is batch"),
        ("COPY batch TO '/tmp/x.csv'", "is not one query"),
        ("SELECT 1 = 1 FROM batch; SELECT 1", "is not one query"),
        ("CREATE TABLE t AS SELECT * FROM batch", "is not one query"),
        ("SELECT id = 1 FROM batch", "not one true or false"),
        ("SELECT count(*) FROM batch", "not one true or false"),
        ("SELECT random() > 2 FROM batch LIMIT 1", "cannot be answered"),
        ("SELECT count(*) > 0 FROM information_schema.tables", "the only table is batch"),
        ("SELECT nothing = 1 FROM batch LIMIT 1", "cannot be answered"),
        ("SELECT (", "cannot be read as SQL"),
    ],
)
def test_a_query_sees_the_batch_and_nothing_else(tmp_path, sql, says):
    lake = lake_with(tmp_path, {"sql": sql}, "fail")
    lake.put("a.json", lines({"id": 1}, {"id": 2}))
    with pytest.raises(TransformError, match=says):
        lake.run()
    assert not lake.stray_files()


def test_now_in_a_query_is_the_batchs_own_time(tmp_path):
    lake = lake_with(
        tmp_path, {"sql": f"SELECT date_part('year', now()) = {NOW.year} AND count(*) = 1 FROM batch"}, "fail"
    )
    lake.put("a.json", lines({"id": 1}))
    lake.run()


def test_a_referenced_table_that_is_not_there_is_named(tmp_path):
    lake = lake_with(tmp_path, {"references": {"column": "id", "to": "t.nothing"}}, "fail")
    lake.put("a.json", lines({"id": 1}))
    with pytest.raises(TransformError, match="no column 'nothing'"):
        lake.run()


MIRROR = {"changed_objects": "replace", "deleted_objects": "delete", "deletion_guard": 1.0}


@pytest.mark.parametrize("memory", [2**27, 2**14], ids=["one task", "many shares"])
def test_rows_that_the_batch_takes_out_are_not_there_for_it(tmp_path, memory):
    """An object that changed has most of its keys again; a key of one that is gone comes in another; both stay."""
    lake = lake_with(tmp_path, {"unique": ["id"], "against": "table"}, "fail", source=MIRROR, memory=memory)

    def rows(first, last, value):
        return lines(*({"id": key, "v": value} for key in range(first, last)))

    lake.put("a.json", rows(0, 400, 1))
    lake.put("b.json", rows(400, 600, 1))
    lake.put("c.json", rows(600, 610, 1))
    assert balance(lake.run()) == {"read": 610, "written": 610}
    lake.put("a.json", rows(100, 390, 2))
    (lake.raw / "b.json").unlink()
    lake.put("d.json", rows(400, 450, 3))
    assert balance(lake.run()) == {"read": 340, "written": 340}
    expected = [*((key, 2) for key in range(100, 390)), *((key, 3) for key in range(400, 450))]
    found = sorted((item["id"], item["v"]) for item in lake.rows("id", "v"))
    assert found == [*expected, *((key, 1) for key in range(600, 610))]
    lake.put("e.json", rows(609, 611, 4))
    with pytest.raises(ExpectationFailed, match="rule"):
        lake.run()
