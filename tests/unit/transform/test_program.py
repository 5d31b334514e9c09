"""select, where, expect and mask in their order, every row accounted for once."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.errors import ConfigError, ExpectationFailed, TransformError
from lakeray.transform.mask import Mask, MaskSpec
from lakeray.transform.program import OBJECT_TYPE, QUARANTINED, Expectation, Program, ProgramSpec, Transformed

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
KEYS = {"env:K": b"key"}
Policy = Literal["warn", "drop", "quarantine", "fail"]


def expect(*pairs: tuple[str, str, Policy]) -> tuple[Expectation, ...]:
    return tuple(Expectation(name=name, sql=sql, on_violation=policy) for name, sql, policy in pairs)


def program(**spec: Any) -> Program:
    return Program(ProgramSpec(**spec), now=NOW, seed=7, keys=KEYS)


def run(made: Program, table: pa.Table, first: int = 1) -> Transformed:
    done = made.run(table, pa.array(range(first, first + len(table)), pa.int64()))
    gone = len(done.quarantined) + sum(done.dropped.values()) + done.filtered
    assert len(table) + done.generated == len(done.table) + gone, "every row is accounted for"
    assert done.quarantined.schema == QUARANTINED
    return done


def quarantined(done: Transformed) -> list[tuple[int, str]]:
    return [(row["row"], row["rule"]) for row in done.quarantined.to_pylist()]


def test_nothing_asked_nothing_done() -> None:
    table = pa.table({"a": [1, None], "b": [[1], None]})
    done = run(program(), table)
    assert done.table.equals(table)
    assert (done.filtered, done.dropped, done.violations, done.checked, done.generated) == (0, {}, {}, 2, 0)


def test_selected_columns_replace_in_place_or_are_added_behind() -> None:
    table = pa.table({"a": ["1", "2"], "b": [1, 2]})
    made = program(select={"a": "CAST(a AS INT)", "c": "b * 2", "when": "now()"})
    schema = made.output_schema(table.schema)
    done = run(made, table)
    assert done.table.schema == schema
    assert done.table.schema.names == ["a", "b", "c", "when"]
    assert done.table.to_pylist()[1] == {"a": 2, "b": 2, "c": 4, "when": NOW}


def test_all_selected_expressions_see_the_row_before_select() -> None:
    made = program(select={"a": "b", "b": "a"})
    assert run(made, pa.table({"a": [1], "b": [2]})).table.to_pylist() == [{"a": 2, "b": 1}]


def test_where_and_expectations_see_the_row_after_select() -> None:
    made = program(select={"a": "a + 10"}, where="a > 11", expectations=expect(("e", "a < 13", "drop")))
    done = run(made, pa.table({"a": [1, 2, 3]}))
    assert done.table["a"].to_pylist() == [12]
    assert (done.filtered, done.dropped, done.checked) == (1, {"e": 1}, 2)


def test_where_takes_out_false_and_null() -> None:
    done = run(program(where="a > 1"), pa.table({"a": [1, None, 2]}))
    assert (done.table["a"].to_pylist(), done.filtered) == ([2], 2)


def test_a_row_goes_once_by_the_severest_expectation() -> None:
    made = program(
        expectations=expect(
            ("warned", "a <> 1", "warn"), ("dropped", "a <> 1", "drop"), ("again", "a <> 1", "drop"),
            ("kept", "a <> 1", "quarantine"), ("kept2", "a <> 1", "quarantine"), ("other", "a <> 2", "drop"),
        )
    )  # fmt: skip
    done = run(made, pa.table({"a": [1, 2, 3]}))
    assert done.table["a"].to_pylist() == [3]
    assert quarantined(done) == [(1, "expect:kept")]
    assert done.dropped == {"dropped": 0, "again": 0, "other": 1}
    assert done.violations == {"warned": 1, "dropped": 1, "again": 1, "kept": 1, "kept2": 1, "other": 1}
    assert done.checked == 3


def test_a_null_expectation_is_violated() -> None:
    done = run(program(expectations=expect(("e", "a > 0", "quarantine"))), pa.table({"a": [1, None]}))
    assert quarantined(done) == [(2, "expect:e")]
    assert done.quarantined["reason"][0].as_py() == "violates e: a > 0"


def test_fail_comes_first_and_says_how_many_but_not_what() -> None:
    made = program(
        where="a <> 'filtered'",
        expectations=expect(("soft", "a <> 'secret'", "quarantine"), ("hard", "a <> 'secret'", "fail")),
    )
    with pytest.raises(ExpectationFailed, match="'hard' is violated by 2 rows") as caught:
        run(made, pa.table({"a": ["x", "secret", "secret"]}))
    assert "by 2 rows" in str(pickle.loads(pickle.dumps(caught.value)))
    run(made, pa.table({"a": ["x", "filtered"]}))


def test_fail_does_not_look_at_rows_that_where_took_out() -> None:
    made = program(where="a > 0", expectations=expect(("hard", "a <> -1", "fail")))
    assert run(made, pa.table({"a": [-1, 1]})).violations == {"hard": 0}


def test_constraints_of_the_table_quarantine_whatever_passed() -> None:
    made = program(
        select={"b": "a * 2"},
        expectations=expect(("e", "a IS DISTINCT FROM 2", "drop")),
        constraints=expect(("positive", "b > 0", "fail"), ("id", "b IS NOT NULL", "fail")),
    )
    done = run(made, pa.table({"a": [1, 2, -3, 5, None], "c": [1] * 5}))
    assert sorted(quarantined(done)) == [(3, "constraint:positive"), (5, "constraint:positive")]
    assert done.table["b"].to_pylist() == [2, 10]
    assert done.dropped == {"e": 1}


def test_errors_of_an_expression_refuse_their_rows_alone() -> None:
    made = program(
        select={"n": "CAST(t AS INT)", "q": "10 / d"},
        where="CAST(w AS INT) > 0",
        expectations=expect(("e", "100 / (d - 2) > 0", "warn")),
    )
    table = pa.table(
        {"t": ["1", "x", "3", "4", "5", "x"], "d": [1, 1, 0, 1, 2, 1], "w": ["1", "1", "1", "y", "1", "0"]}
    )
    done = run(made, table)
    assert sorted(quarantined(done)) == [
        (2, "select:n"), (3, "select:q"), (4, "where"), (5, "expect:e"), (6, "select:n"),
    ]  # fmt: skip
    assert done.filtered == 0
    reasons = {row["rule"]: row["reason"] for row in done.quarantined.to_pylist()}
    assert reasons["select:n"] == "a value does not convert"
    assert reasons["select:q"] == "division by zero"


def test_integers_never_wrap_around() -> None:
    big = 2**63 - 1
    made = program(select={"s": "a + b", "p": "a * b", "m": "-a - 2", "i": "i * i"})
    table = pa.table(
        {"a": [1, big, big // 2, -big, 5], "b": [2, 1, 3, 1, 6], "i": pa.array([1, 2, 3, 4, 2**20], pa.int32())}
    )
    done = run(made, table)
    assert done.table.to_pylist() == [
        {"a": 1, "b": 2, "i": 1, "s": 3, "p": 2, "m": -3},
        {"a": -big, "b": 1, "i": 16, "s": 1 - big, "p": -big, "m": big - 2},
    ]
    assert quarantined(done) == [(2, "select:s"), (3, "select:p"), (5, "select:i")]
    assert {row["reason"] for row in done.quarantined.to_pylist()} == {"a result is out of its type's range"}


def test_errors_that_nothing_foresees_are_found_by_halves() -> None:
    texts = ["2020-01-01T00:00:00"] * 10_000
    for bad in (0, 5_000, 5_001, 9_999):
        texts[bad] = "no time"
    made = program(select={"at": "to_timestamp(t, '%Y-%m-%dT%H:%M:%S')", "n": "CAST(n AS INT)"}, where="n > 0")
    done = run(made, pa.table({"t": texts, "n": ["1"] * 9_998 + ["x", "y"]}))
    assert quarantined(done) == [
        (1, "select:at"), (5_001, "select:at"), (5_002, "select:at"), (9_999, "select:n"), (10_000, "select:at"),
    ]  # fmt: skip
    assert len(done.table) == 9_995
    assert done.table["at"].null_count == 0


def test_reasons_carry_no_values() -> None:
    made = program(select={"a": "CAST(a AS INT)", "t": "to_timestamp(t)"})
    done = run(made, pa.table({"a": ["secret-1", "2"], "t": ["2020-01-01T00:00:00", "secret-2"]}))
    assert len(done.quarantined) == 2
    assert "secret" not in " ".join(done.quarantined["reason"].to_pylist())


def test_results_come_in_types_that_a_table_holds() -> None:
    made = program(
        select={
            "u": "arrow_cast(a, 'UInt64')", "t": "CAST(s AS TIME)", "d": "arrow_cast(s, 'Dictionary(Int32, Utf8)')",
            "v": "arrow_cast(s, 'Utf8View')", "n": "arrow_cast(a, 'Timestamp(Nanosecond, None)')",
            "l": "arrow_cast([a], 'LargeList(UInt8)')",
        }
    )  # fmt: skip
    table = pa.table({"a": [1, 2], "s": ["10:00:00", "11:00:00"]})
    assert made.output_schema(table.schema).types[2:] == [
        pa.int64(), pa.string(), pa.string(), pa.string(), pa.timestamp("us", tz="UTC"), pa.list_(pa.int16()),
    ]  # fmt: skip
    done = run(made, table)
    assert done.table.to_pylist()[0] | {"n": None} == {
        "a": 1, "s": "10:00:00", "u": 1, "t": "10:00:00", "d": "10:00:00", "v": "10:00:00", "n": None, "l": [1],
    }  # fmt: skip


def test_results_beyond_the_tables_type_refuse_their_rows() -> None:
    made = program(select={"u": "arrow_cast(a, 'UInt64')"})
    table = pa.table({"a": pa.array([1, 2**63], pa.uint64())})
    done = run(made, table)
    assert quarantined(done) == [(2, "select:a")]
    assert done.quarantined["reason"][0].as_py() == "the value does not fit int64"


def test_a_column_that_is_null_throughout_must_be_given_a_type() -> None:
    with pytest.raises(TransformError, match="'x' has no type"):
        program(select={"x": "NULL"}).output_schema(pa.schema([("a", pa.int64())]))
    assert (
        program(select={"x": "CAST(NULL AS STRING)"}).output_schema(pa.schema([("a", pa.int64())])).types[1]
        == pa.string()
    )


def test_the_object_column_is_there_when_asked_for_and_leaves_again() -> None:
    table = pa.table({"a": [1], "_object": pa.array([{"uri": "s3://b/k", "row": 5}], OBJECT_TYPE)})
    asking = program(select={"src": "_object.uri"}, where="_object.row > 1")
    assert asking.needs_object
    assert asking.output_schema(table.schema).names == ["a", "src"]
    assert run(asking, table).table.to_pylist() == [{"a": 1, "src": "s3://b/k"}]
    keeping = program(select={"_object": "_object"})
    assert run(keeping, table).table.column_names == ["a", "_object"]
    assert not program(select={"b": "a"}).needs_object
    refused = run(program(expectations=expect(("e", "a > 1", "quarantine"))), table)
    assert refused.quarantined["record"].to_pylist() == ['{"a":1}']


def test_rescued_data_can_be_asked_for_whether_or_not_there_is_any() -> None:
    made = program(where="_rescued_data IS NULL")
    assert run(made, pa.table({"a": [1]})).filtered == 0
    table = pa.table({"a": [1, 2], "_rescued_data": ['{"b":1}', None]})
    assert run(made, table).table["a"].to_pylist() == [2]


def test_chunks_of_several_shapes_go_through_one_program() -> None:
    made = program(select={"b": "a + 1"})
    assert run(made, pa.table({"a": [1]})).table.column_names == ["a", "b"]
    assert run(made, pa.table({"a": [1], "new": ["x"]})).table.column_names == ["a", "new", "b"]
    assert run(made, pa.table({"a": pa.array([1.5])})).table["b"].to_pylist() == [2.5]
    assert len(run(made, pa.table({"a": pa.array([], pa.int64())})).table) == 0


def test_expressions_without_columns_and_chunks_in_pieces() -> None:
    assert run(program(select={"x": "1 + 1"}), pa.table({"a": [1, 2]})).table["x"].to_pylist() == [2, 2]
    pieces = pa.table({"a": pa.chunked_array([[1], [2, 3]])})
    done = run(program(select={"b": "a"}, where="b <> 2"), pieces)
    assert done.table["b"].to_pylist() == [1, 3]


class TestMasks:
    def test_written_and_quarantined_values_are_masked_alike(self) -> None:
        made = program(
            expectations=expect(("e", "n > 1", "quarantine"), ("sees", "email LIKE '%@%'", "warn")),
            masks={
                "email": MaskSpec(kind="hmac_sha256", key_ref="env:K"),
                "n2": MaskSpec(kind="redact", replacement="*"),
            },
        )
        table = pa.table({"n": [1, 2], "email": ["a@b", "c@d"], "n2": [5, None]})
        assert made.output_schema(table.schema) == pa.schema(
            [("n", pa.int64()), ("email", pa.string()), ("n2", pa.string())]
        )
        done = run(made, table)
        mask = Mask(MaskSpec(kind="hmac_sha256", key_ref="env:K"), keys=KEYS)
        assert done.table.to_pylist() == [{"n": 2, "email": mask.value("c@d"), "n2": None}]
        assert json.loads(done.quarantined["record"][0].as_py()) == {"n": 1, "email": mask.value("a@b"), "n2": "*"}
        assert done.violations["sees"] == 0, "expectations see the value itself"

    def test_rescued_entries_are_masked_in_both_places(self) -> None:
        made = program(expectations=expect(("e", "n > 1", "quarantine")), masks={"email": MaskSpec(kind="redact")})
        table = pa.table({"n": [1, 2], "_rescued_data": ['{"email":"a@b"}', '{"email":"c@d","z":1}']})
        done = run(made, table)
        assert done.table["_rescued_data"].to_pylist() == ['{"email":null,"z":1}']
        assert "a@b" not in done.quarantined["record"][0].as_py()

    def test_an_absent_column_is_no_error(self) -> None:
        made = program(masks={"email": MaskSpec(kind="redact")})
        assert run(made, pa.table({"n": [1]})).table.to_pylist() == [{"n": 1}]

    def test_a_computed_column_is_masked_and_so_is_its_origin_in_the_record(self) -> None:
        made = program(
            select={"email": "lower(raw)"},
            expectations=expect(("e", "n > 1", "quarantine")),
            masks={"email": MaskSpec(kind="redact", replacement="*")},
        )
        done = run(made, pa.table({"n": [1, 2], "raw": ["A@B", "C@D"]}))
        assert done.table["email"].to_pylist() == ["*"]
        assert json.loads(done.quarantined["record"][0].as_py()) == {"n": 1, "raw": "*"}

    def test_constraints_see_what_is_written(self) -> None:
        made = program(
            constraints=expect(("nn", "email IS NOT NULL", "fail")), masks={"email": MaskSpec(kind="redact")}
        )
        done = run(made, pa.table({"email": ["a@b"]}))
        assert quarantined(done) == [(1, "constraint:nn")]
        hashed = program(
            constraints=expect(("len", "length(email) = 64", "fail")),
            masks={"email": MaskSpec(kind="hmac_sha256", key_ref="env:K")},
        )
        assert len(run(hashed, pa.table({"email": ["a@b"]})).table) == 1

    def test_a_missing_key_is_said_at_once(self) -> None:
        with pytest.raises(ConfigError, match="env:OTHER"):
            program(masks={"email": MaskSpec(kind="hmac_sha256", key_ref="env:OTHER")})


class TestHooks:
    @pytest.fixture(autouse=True)
    def _importable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def test_a_hook_goes_before_select(self) -> None:
        made = program(apply="hooks_for_tests:with_length", select={"twice": "length * 2"})
        table = pa.table({"name": ["a", "bcd"]})
        assert made.output_schema(table.schema).names == ["name", "length", "twice"]
        assert run(made, table).table["twice"].to_pylist() == [2, 6]

    def test_rows_that_a_hook_adds_or_takes_away_are_counted(self) -> None:
        more = run(program(apply="hooks_for_tests:doubled", where="id > 1"), pa.table({"id": [1, 2]}))
        assert (more.generated, more.filtered, len(more.table)) == (2, 2, 2)
        fewer = run(program(apply="hooks_for_tests:evens"), pa.table({"id": [1, 2, 3]}))
        assert (fewer.generated, fewer.filtered, len(fewer.table)) == (0, 2, 1)

    def test_rows_have_no_number_when_a_hook_changed_how_many_there_are(self) -> None:
        wants = expect(("e", "id > 1", "quarantine"))
        done = run(program(apply="hooks_for_tests:doubled", expectations=wants), pa.table({"id": [1]}))
        assert done.quarantined["row"].to_pylist() == [None, None]

    def test_clock_and_seed_are_given_to_hooks_that_ask(self) -> None:
        done = run(program(apply="hooks_for_tests:stamped"), pa.table({"id": [1]}))
        assert done.table.to_pylist() == [{"id": 1, "at": NOW, "seed": 7}]

    def test_whose_fault_an_error_is_shows_and_its_values_do_not(self) -> None:
        made = program(apply="hooks_for_tests:fails")
        with pytest.raises(TransformError, match="hooks_for_tests:fails raised LookupError") as caught:
            run(made, pa.table({"name": ["secret"]}))
        assert "secret" not in str(caught.value)
        assert "LookupError" in str(pickle.loads(pickle.dumps(caught.value)))

    def test_a_column_without_a_type_waits(self) -> None:
        assert run(program(apply="hooks_for_tests:untyped"), pa.table({"id": [1]})).table.column_names == ["id"]

    @pytest.mark.parametrize(
        ("reference", "said"),
        [
            ("nonsense", "is not module:function"),
            ("no_such_module:f", "ModuleNotFoundError"),
            ("hooks_for_tests:absent", "no function absent"),
            ("hooks_for_tests:NOT_CALLABLE", "no function NOT_CALLABLE"),
        ],
    )
    def test_a_hook_that_cannot_be_loaded(self, reference: str, said: str) -> None:
        with pytest.raises(TransformError, match=said):
            program(apply=reference)

    def test_a_hook_must_return_a_table(self) -> None:
        with pytest.raises(TransformError, match="returned list"):
            run(program(apply="hooks_for_tests:returns_a_list"), pa.table({"id": [1]}))


FALLIBLE = [
    "CAST(t AS INT)",
    "CAST(t AS INT) + 2000000000",
    "n * n * n",
    "-n",
    "n / d",
    "n % d",
    "CASE WHEN d <> 0 THEN n / d ELSE -1 END",
    "CASE WHEN n / d > 1 THEN 1 WHEN CAST(t AS INT) > 1 THEN 2 ELSE d END",
    "CASE d WHEN 0 THEN CAST(t AS INT) WHEN CAST(t AS INT) THEN 5 END",
    "coalesce(CAST(u AS INT), n / d, 7)",
    "coalesce(TRY_CAST(t AS INT), n / d)",
    "nullif(CAST(t AS INT), 1)",
    "CAST(CAST(t AS DOUBLE) AS TINYINT)",
    "CAST(m AS DECIMAL(4, 2)) / CAST(d AS DECIMAL(4, 2))",
    "CAST(f AS BIGINT)",
    "length(t) / d + CAST(t AS INT)",
    "to_timestamp(t)",
    "to_date(t)",
    "to_timestamp(t, '%Y-%m-%d')",
    "CAST(t AS DATE)",
    "CAST(t AS TIMESTAMP)",
    "arrow_cast(t, 'Int8')",
    "power(n, 2) / d",
    "abs(n)",
    "n + f",
    "[n / d, 1]",
    "chr(n)",
]
CONDITIONS = [
    "t <> '' AND CAST(t AS INT) > 0",
    "CAST(t AS INT) > 0 AND t <> ''",
    "t IS NULL OR CAST(t AS INT) > 0",
    "d = 0 OR n / d > 1",
    "NOT (d <> 0 AND n / d > 1)",
    "t > 0",
    "t = n",
    "n IN (CAST(t AS INT), 3)",
    "n BETWEEN CAST(t AS INT) AND n / d",
    "(n / d > 0) IS NOT TRUE",
]
ROW = st.fixed_dictionaries(
    {
        "t": st.sampled_from(["1", "-5", "", "x", "2020-01-01", "2020-02-30", "300", "99999999999", "1.5", None]),
        "u": st.sampled_from(["1", "x", None]),
        "n": st.sampled_from([0, 1, -7, 65, 2**31, 2**62, -(2**63), 2**63 - 1, None]),
        "d": st.sampled_from([0, 1, 2, -1, None]),
        "m": st.sampled_from(["1", "99.999", "100", None]),
        "f": st.sampled_from([0.0, 1.5, 1e300, float("nan"), None]),
    }
)
SCHEMA = pa.schema(
    [
        ("t", pa.string()),
        ("u", pa.string()),
        ("n", pa.int64()),
        ("d", pa.int64()),
        ("m", pa.string()),
        ("f", pa.float64()),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ROW, min_size=1, max_size=12),
    st.sampled_from(FALLIBLE),
    st.sampled_from(FALLIBLE),
    st.sampled_from(CONDITIONS),
    st.sampled_from(CONDITIONS),
)
def test_what_becomes_of_a_row_does_not_depend_on_its_company(
    rows: list[dict[str, Any]], first: str, second: str, condition: str, other: str
) -> None:
    """A chunk gives what its rows give one by one, errors and all."""
    made = program(
        select={"a": first, "b": second},
        where=condition,
        expectations=expect(("p", other, "drop"), ("q", condition, "quarantine")),
    )
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    whole = run(made, table)
    singles = [run(made, table.slice(place, 1), first=place + 1) for place in range(len(table))]
    assert whole.table.equals(pa.concat_tables([single.table for single in singles])) or _same(whole, singles)
    assert sorted(quarantined(whole)) == sorted(pair for single in singles for pair in quarantined(single))
    assert whole.filtered == sum(single.filtered for single in singles)
    for counts in ("dropped", "violations"):
        total: Counter[str] = Counter()
        for single in singles:
            total.update(getattr(single, counts))
        assert dict(total) == getattr(whole, counts)


def _same(whole: Transformed, singles: list[Transformed]) -> bool:
    """Equal with NaN equal to itself."""
    rows = [row for single in singles for row in single.table.to_pylist()]
    return repr(whole.table.to_pylist()) == repr(rows)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3) | st.none(), st.sampled_from(["1", "2", "x", "-1", None])), max_size=20),
    st.permutations(["warn", "drop", "quarantine"]),
    st.booleans(),
)
def test_the_order_of_section_4_against_plain_python(
    rows: list[tuple[int | None, str | None]], policies: list[Policy], filters: bool
) -> None:
    made = program(
        select={"t": "CAST(t AS INT)", "sum": "n + CAST(t AS INT)"},
        where="n <> 3" if filters else None,
        expectations=expect(("x", "n > 0", policies[0]), ("y", "t > 0", policies[1]), ("z", "sum <> 0", policies[2])),
    )
    table = pa.table(
        {"n": pa.array([n for n, _ in rows], pa.int64()), "t": pa.array([t for _, t in rows], pa.string())}
    )
    done = run(made, table)
    written, kept, counts, violated = [], [], Counter({"filtered": 0, "checked": 0}), Counter(dict.fromkeys("xyz", 0))
    for number, (n, text) in enumerate(rows, 1):
        if text == "x":
            kept.append(number)
            continue
        t = None if text is None else int(text)
        total = None if n is None or t is None else n + t
        if filters and (n is None or n == 3):
            counts["filtered"] += 1
            continue
        counts["checked"] += 1
        met = {"x": n is not None and n > 0, "y": t is not None and t > 0, "z": total is not None and total != 0}
        broken = [name for name in "xyz" if not met[name]]
        violated.update(broken)
        actions = {policies["xyz".index(name)] for name in broken}
        if "quarantine" in actions:
            kept.append(number)
        elif "drop" in actions:
            counts["dropped"] += 1
        else:
            written.append({"n": n, "t": t, "sum": total})
    assert done.table.to_pylist() == written
    assert [row for row, _ in quarantined(done)] == kept
    assert (done.filtered, done.checked, sum(done.dropped.values())) == (
        counts["filtered"],
        counts["checked"],
        counts["dropped"],
    )
    assert done.violations == dict(violated)


def test_specs_travel_to_workers() -> None:
    spec = ProgramSpec(
        select={"a": "1"},
        expectations=expect(("e", "a > 0", "warn")),
        masks={"m": MaskSpec(kind="redact")},
        apply="m:f",
    )
    assert pickle.loads(pickle.dumps(spec)) == spec
