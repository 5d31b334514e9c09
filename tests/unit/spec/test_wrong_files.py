"""A wrong workflow file is told all that is wrong with it: the line, what is allowed, the nearest right spelling."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import jsonschema
import pytest

from lakeray.spec.document import MAX_CHARACTERS, read_document
from lakeray.spec.load import WorkflowFileError, load_workflow
from lakeray.spec.schema import workflow_json_schema

RIGHT = """\
workflow: shop
tenant: acme
sources:
  raw:
    uri: s3://lake/raw/
    format: csv
tables:
  shop: {uri: s3://lake/shop}
  customers: {uri: s3://lake/customers}
steps:
  ingest:
    import: {from: raw, into: shop}
    where: amount > 0
  check:
    after: [ingest]
    validate:
      - unique: {table: shop, columns: [id]}
  send:
    after: [check]
    deliver: {from: shop, to: [hook]}
targets:
  hook: {webhook: {url: "https://partner.example/in"}}
"""


def _cases():
    text = Path(__file__).with_name("wrong_files.txt").read_text()
    for block in text.split("\n[")[1:]:
        name, old, new, *told = block.strip().splitlines()
        wrong = RIGHT.replace(json.loads(old.removeprefix("< ")), json.loads(new.removeprefix("> ")), 1)
        yield name.rstrip("]"), wrong, [line.removeprefix("= ") for line in told]


CASES = {name: (wrong, told) for name, wrong, told in _cases()}

SCHEMA = workflow_json_schema()

BEYOND_A_SCHEMA = {
    # names that refer to each other, places, orders
    "unnest into an unknown table", "unnest into its own table", "unnest by itself", "trigger called schedule",
    "notify of the same event twice",
    "unnest with two columns of one name", "unnest of a masked list", "unnest by a redacted key",
    "one and a half CPUs",
    "unknown source", "unknown table", "unknown reference", "unknown target", "balance of no import",
    "after nothing known", "after itself", "circle", "verdict before the step", "rule over unknown step",
    "two tables in one place",
    "table in its source", "quarantine in the table", "reference to an unknown table",
    # rules over sets that make no sense together
    "deduplicate with later rows beyond the batch", "quarantine of no rows in particular",
    "limits that limit nothing", "upkeep of nothing", "order without an optimize",
    # keys that must agree
    "contract against evolution", "contract types against fail", "widen without evolving types",
    # texts with a grammar of their own
    "a declared type that is none",
    "misspelt type hint", "half a nested type", "unknown encoding", "codec that is no text", "unknown zone",
    "cron of six fields", "cron out of range", "cron that never comes", "cron shorthand", "unknown compensation",
    "unknown scheme", "misspelt scheme", "no bucket", "credentials in uri", "template without a name",
    "template twice", "wildcard as bucket", "template over folders",
    "empty sql", "quote like delimiter", "json options at csv", "option at another kind", "column twice",
    "overlap twice", "codec without levels", "gzip level out of range", "two words about compression",
    "merge without key", "scd2 without sequence", "two ways to delete", "operation of nothing",
    "operation value twice", "sequence left out", "history at merge", "partial at scd2", "one name for two columns",
    "sequence at append",
    "delta options at csv", "versions that are deleted", "table as its own source", "part of an append",
    "dynamic append", "condition and partitions",
    "partial mask that shows nothing", "end of an email", "cover of two characters", "keys shared for nothing",
    "keys of an unknown table", "tag twice", "output in a table", "output in a source", "codec of another format",
    "output of a merge", "key that is encrypted anew each time",
    "upsert without key", "key at append", "gate without bound", "gate with empty bounds", "access control of nothing",
    "map of nothing", "nothing as redaction", "timeout of nothing", "backoff not a number",
    # mapping and cleansing
    "mapping of nothing", "path without a column", "path with an open bracket", "format without cast",
    "pattern for numbers", "separators for dates", "pattern without a day", "unknown directive",
    "separators of one character", "digit as separator", "text rule behind a number", "numbers everywhere",
    "type that is none", "synonym of two", "unknown without enum", "half a regular expression",
    "group that there is not", "unit that is none", "factor of nothing", "true and false",
    "bounds upside down", "shares beyond one",
    # what a step holds, needs and waits for
    "queue for nothing", "limit without a key", "unknown pool", "slots of nothing",
    "more slots than there are", "precondition over a later step",
    "postcondition over a later step", "person in a precondition", "person in a postcondition",
    "gate that holds slots", "wait that is undone", "instant that is none", "timeout of time", "chunks of a workflow",
    # gates and triggers
    "quality of nothing", "quality of a table without a metric", "metric of another thing", "expectation of a table",
    "unknown expectation", "rule over unknown table", "rule over a step in brackets", "rule that is no CEL",
    "rule over a stranger", "rule over a name with a dash", "rule that is no condition", "rule of two types",
    "expiry of what never expires", "escalation to nobody", "escalation without a word", "escalation to the same",
    "resource without a permission", "arrival of nothing known", "arrival at a long name",
    "reconcile of what is not pushed", "every beside a queue", "version of no table", "version of an unknown table",
    "end of itself", "end state twice", "expectation of an unknown source",
}  # fmt: skip


def test_the_right_file_is_right():
    assert load_workflow(RIGHT).workflow == "shop"
    assert len(CASES) >= 100


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_file_is_told_what_is_wrong(name):
    wrong, told = CASES[name]
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow(wrong)
    assert str(caught.value).replace("<text>:", "").splitlines() == told
    assert caught.value.exit_code == 2
    assert "hunter2" not in repr(caught.value.__dict__)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.problems, str(again), again.file) == (caught.value.problems, str(caught.value), "<text>")


READABLE = {name: document.data for name in CASES if not (document := read_document(CASES[name][0])).problems}


@pytest.mark.parametrize("name", READABLE)
def test_an_editor_refuses_what_a_schema_can_refuse(name):
    refusals = list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(READABLE[name]))
    assert bool(refusals) == (name not in BEYOND_A_SCHEMA), refusals[:1]


def test_the_list_of_what_a_schema_cannot_refuse_is_true():
    assert set(READABLE) >= BEYOND_A_SCHEMA


def test_everything_wrong_is_told_in_one_go_in_the_order_of_the_file():
    wrong = RIGHT.replace("format: csv", "format: cvs").replace("after: [ingest]", "after: [ingset]")
    wrong = wrong.replace("deliver:", "delivr:").replace("acme", "a c m e").replace("where:", "were:")
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow(wrong)
    assert [(p.line, p.path, p.nearest) for p in caught.value.problems] == [
        (2, "tenant", None),
        (6, "sources.raw.format", "csv"),
        (13, "steps.ingest.were", "where"),
        (15, "steps.check.after[0]", "ingest"),
        (20, "steps.send.delivr", "deliver"),
    ]


def _refused(file):
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow(file)
    return str(caught.value).replace(str(file), "FILE")


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "orders.yaml").write_text(RIGHT)
    told = _refused(tmp_path / "order.yaml")
    assert told == f'FILE  found no such file; expected a workflow file. Did you mean "{tmp_path}/orders.yaml"?'
    assert _refused(tmp_path / "none" / "x.yaml") == "FILE  found no such file; expected a workflow file"


def test_a_folder_and_a_name_that_no_file_can_have(tmp_path):
    assert _refused(tmp_path) == "FILE  found a folder; expected a workflow file"
    assert "expected a file that can be read" in _refused("a\x00b")
    assert "expected a file that can be read" in _refused("x" * 5000)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "FILE:1:1  found an empty file; expected a mapping with the keys workflow, sources, tables, steps"),
        (
            b"# nothing\n",
            "FILE:1:1  found an empty file; expected a mapping with the keys workflow, sources, tables, steps",
        ),
        (b"- a\n", "FILE:1:1  found a list; expected a mapping with the keys workflow, sources, tables, steps"),
        (b"hello", 'FILE:1:1  found "hello"; expected a mapping with the keys workflow, sources, tables, steps'),
        (b"a: b\nname: caf\xe9\n", "FILE:2:10  found the byte 0xE9; expected UTF-8 text: save the file as UTF-8"),
        (b"\xff\xfea\x00", "FILE:1:1  found the byte 0xFF; expected UTF-8 text: save the file as UTF-8"),
        (b"PAR1\x00\x00", "FILE:1:5  found the character U+0000; expected text"),
    ],
)
def test_files_that_hold_no_workflow(tmp_path, content, told):
    file = tmp_path / "w.yaml"
    file.write_bytes(content)
    assert _refused(file) == told


def test_a_file_that_is_far_too_long(tmp_path):
    file = tmp_path / "w.yaml"
    file.write_bytes(b"#" * (5 * MAX_CHARACTERS))
    assert _refused(file).endswith(f"expected at most {MAX_CHARACTERS} characters")


def test_aliases_that_stand_for_very_much_are_refused_soon():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(WorkflowFileError, match="aliases that stand for very much; expected at most 50000 values"):
        load_workflow("\n".join(rows))
    maps = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    with pytest.raises(WorkflowFileError, match="aliases that stand for very much"):
        load_workflow("\n".join(maps))


def test_nesting_without_end_is_refused():
    for text in ("[" * 20_000, "{a:\n" * 20_000, "- " * 20_000, "? " * 20_000):
        with pytest.raises(WorkflowFileError, match="nested too deep"):
            load_workflow(f"{text}\n")


def test_very_many_problems_are_counted_and_not_all_shown():
    steps = "".join(f"  s{n}: {{wait: soon}}\n" for n in range(200))
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow(f"workflow: x\nsteps:\n{steps}")
    assert len(caught.value.problems) == 200
    assert str(caught.value).splitlines()[-1] == "and 150 more problems"
