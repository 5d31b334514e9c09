"""SQL that no run could use is refused in the file, with its line and column, whatever the data holds."""

from __future__ import annotations

import json

import pytest

from lakeray.errors import SpecError
from lakeray.lake import connect
from lakeray.spec.load import load_workflow
from lakeray.spec.problems import WorkflowFileError
from lakeray.transform.written import check_expressions

FILE = """\
workflow: w
sources: {{r: {{uri: raw/, format: json}}}}
tables: {{t: {{uri: t}}}}
steps:
  i:
    import: {{from: r, into: t}}
    select:
      total: {select}
    where: {where}
    expect:
      good: {{sql: {expect}, on_violation: drop}}
"""
RIGHT = 'price * CAST(quantity AS DECIMAL(9, 2)) > upper("Name") OR now() > placed_at -- a comment'
WRONG = {
    "upperr(x)": "calls upperr(), which is not available; did you mean 'upper'?",
    "sum(x)": "calls sum(), an aggregate or window; expressions see one row at a time",
    "row_number() OVER (ORDER BY x)": "holds a window (OVER)",
    "random() < 1": "calls random(), which differs from one attempt to the next",
    "unnest(x)": "calls unnest(), which makes more rows; use an apply hook for that",
    "x = (SELECT 1)": "holds a subquery",
    "x; y": "holds more than one statement",
    "x = 1 AND AND y": "holds a mistake at line 1, column 13: something is missing",
    "x y": "holds AS: the name of the column is the key",
    "(x": "holds a mistake at line 1, column 2: expecting )",
    "'it": "holds a text that cannot be read as SQL",
    "CAST(x AS FOO)": "holds the type FOO, which is not known",
    "CAST(x AS INT64)": "holds the type INT64, which is not known; types of SQL: BIGINT, ",
    "-- nothing": "holds no expression",
    "DROP TABLE t": "holds DROP, which is not a per-row expression",
}


def written(**texts):
    right = {"select": RIGHT, "where": RIGHT, "expect": RIGHT}
    return FILE.format(**{name: json.dumps(text) for name, text in {**right, **texts}.items()})


def test_right_expressions_are_right_whatever_columns_there_are():
    check_expressions(load_workflow(written()))


@pytest.mark.parametrize(
    ("place", "line", "column", "path"),
    [
        ("select", 8, 14, "steps.i.select.total"),
        ("where", 9, 12, "steps.i.where"),
        ("expect", 11, 19, "steps.i.expect.good.sql"),
    ],
)
@pytest.mark.parametrize("sql", WRONG)
def test_a_wrong_expression_is_refused_where_it_stands(sql, place, line, column, path):
    with pytest.raises(WorkflowFileError) as caught:
        check_expressions(load_workflow(written(**{place: sql})))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.path) == (line, column, path)
    assert problem.expected.startswith(f"the expression {sql!r} {WRONG[sql]}")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("option", ["mode: merge, key: [id], delete_when", "mode: overwrite, replace_where"])
def test_a_condition_of_the_import_is_refused_too(option):
    text = written().replace("into: t}", f'into: t, {option}: "max(op) = 1"}}')
    with pytest.raises(WorkflowFileError, match=r":6:\d+  steps.i.import.\w+: .* calls max\(\), an aggregate"):
        check_expressions(load_workflow(text))
    check_expressions(load_workflow(text.replace("max(op)", "upper(op)")))


def test_all_of_them_are_told_at_once_in_the_order_of_the_file():
    with pytest.raises(WorkflowFileError) as caught:
        check_expressions(load_workflow(written(expect="x;y", select="sum(x)", where="a b")))
    assert [problem.line for problem in caught.value.problems] == [8, 9, 11]


def test_the_lake_refuses_the_file_before_anything_starts(tmp_path):
    file = tmp_path / "w.yaml"
    file.write_text(written(where="sum(x) > 1"))
    lake = connect()
    for ask in (lake.validate, lake.run, lake.plan, lake.discover):
        with pytest.raises(SpecError, match=r"w.yaml:9:12  steps.i.where: .* calls sum\(\)"):
            ask(file)
    assert [path.name for path in tmp_path.iterdir()] == ["w.yaml"]
