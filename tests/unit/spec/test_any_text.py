"""Whatever text stands in a workflow file, loading it gives a workflow or a SpecError, never anything else."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lakeray.errors import LakerayError, SpecError
from lakeray.spec.built import refuse_unbuilt
from lakeray.spec.document import read_document
from lakeray.spec.load import WorkflowFileError, load_workflow
from lakeray.spec.schema import workflow_json_schema

CONTRACT = (Path(__file__).parents[3] / "examples" / "orders.yaml").read_text()
WORDS = re.findall(r"\w+|[^\w\s]|\s+", CONTRACT)
SCHEMA = jsonschema.Draft202012Validator(workflow_json_schema())
ODD = [
    *(
        "~",
        "null",
        "yes",
        "[]",
        "{}",
        "[a]",
        "{a: b}",
        "-1",
        "1e999",
        ".inf",
        "0x7f",
        "2024-01-01",
        "'",
        '"',
        "&a",
        "*a",
    ),
    *(
        "!!set",
        "!x",
        "---",
        "...",
        "|",
        ">-",
        "#",
        "import",
        "after",
        "steps.x.y",
        "<<: ",
        "%YAML 1.1",
        "? ",
        ": ",
        ", ",
    ),
    *("\t", "\x00", "\ud800", "\ufeff", "\u2028", r'"\ud800"', r'"\x00"', "9" * 5000),
]
SCRAPS = st.sampled_from(ODD) | st.text(max_size=12)
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
FEW = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refusal(call, *arguments):
    """What ``call`` returns, with the SpecError that it raised."""
    try:
        return call(*arguments), None
    except SpecError as error:
        return None, error


def loads_or_is_refused(text):
    """Load ``text``; a refusal names at least one problem, each in a place of the text, each on one line."""
    workflow, error = refusal(load_workflow, text + "\n")
    if error is None:
        _, unbuilt = refusal(refuse_unbuilt, workflow)
        assert unbuilt is None or str(unbuilt).encode()
        return workflow
    assert isinstance(error, WorkflowFileError)
    assert error.problems
    for problem in error.problems:
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + 3 + text.count("\r")
        assert problem.render("f").encode()
        assert len(problem.render("f").splitlines()) == 1
    return None


@FEW
@given(st.text(max_size=200))
@example("&a {<<: *a}")
@example("a: &a\n  <<: [*a, *a]")
@example("%YAML 9.9\n---\na: b")
@example("%TAG ! tag:\n---\n!a b")
@example("{? : }")
@example("workflow: x\nsteps: {a: {wait: {for: " + "9" * 400 + "}}}")
@example("workflow: x\nsteps: {a: {map: {over: [1, [2]], python: 'a:b'}}}")
@example('workflow: x\nsteps: {a: {validate: [{unique: {table: "\\ud800", columns: [a]}}]}}')
def test_any_text(text):
    loads_or_is_refused(text)


@FEW
@given(st.data())
def test_the_contract_with_words_replaced_moved_and_removed(data):
    words = list(WORDS)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        kind = data.draw(st.sampled_from(["replace", "insert", "remove", "swap", "repeat"]))
        if kind == "replace":
            words[at] = data.draw(SCRAPS)
        elif kind == "insert":
            words.insert(at, data.draw(SCRAPS))
        elif kind == "remove":
            del words[at]
        elif kind == "swap":
            words[at], words[-at] = words[-at], words[at]
        else:
            words[at:at] = words[max(0, at - 20) : at]
    loads_or_is_refused("".join(words))


def replaced(value, data, depth=0):
    """``value`` with one part of it, chosen by ``data``, replaced by anything."""
    if not isinstance(value, dict | list) or not value or (depth > 1 and data.draw(st.integers(0, 4)) == 0):
        return data.draw(JSONISH)
    if isinstance(value, dict):
        key = data.draw(st.sampled_from(list(value)))
        inner = replaced(value[key], data, depth + 1)
        if data.draw(st.integers(0, 5)) == 0:
            return {
                data.draw(st.sampled_from(WORDS) | st.text(max_size=5)): inner,
                **{k: v for k, v in value.items() if k != key},
            }
        return {**value, key: inner}
    at = data.draw(st.integers(0, len(value) - 1))
    return [*value[:at], replaced(value[at], data, depth + 1), *value[at + 1 :]]


@FEW
@given(st.data())
def test_the_contract_with_a_part_replaced_by_anything(data):
    """What loads also passes the schema of the editors, so that they never mark a right file as wrong."""
    import orjson

    value = replaced(YAML(typ="safe", pure=True).load(CONTRACT), data)
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except (TypeError, UnicodeError):
        return
    workflow = loads_or_is_refused(text)
    if workflow is not None:
        assert not list(SCHEMA.iter_errors(read_document(text).data))


@FEW
@given(st.binary(max_size=100))
def test_any_bytes_in_a_file(content):
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        assert refusal(load_workflow, file.name) != (None, None)


@given(st.text(max_size=60).filter(lambda text: "\n" not in text))
def test_any_name_of_a_file(name):
    with pytest.raises(LakerayError):
        load_workflow(f"/none/{name}")
