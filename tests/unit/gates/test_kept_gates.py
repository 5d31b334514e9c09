"""A gate that a run keeps in its first event, as plain values, is the gate of the file."""

from __future__ import annotations

import pytest

from lakeray.gates.evaluate import evaluate
from lakeray.spec.gates import Condition
from lakeray.spec.load import load_workflow
from lakeray.workflow.compile import compile_definition
from lakeray.workflow.definition import decode_definition, encode_definition
from tests.unit.gates.facts import condition, facts, person, vote
from tests.unit.spec.test_contract import CONTRACT, EVERYTHING


@pytest.mark.parametrize("text", [CONTRACT.read_text(), EVERYTHING])
def test_it_is_the_same_condition_after_any_number_of_bytes(text):
    workflow = load_workflow(text)
    plans = decode_definition(encode_definition(compile_definition(workflow))).steps
    gates = {name: step.gate for name, step in workflow.steps.items() if step.gate is not None}
    assert gates
    for name, gate in gates.items():
        assert Condition.model_validate(plans[name].body) == gate
    for name, step in workflow.steps.items():
        for said, kept in ((step.requires, plans[name].requires), (step.ensures, plans[name].ensures)):
            assert said is None or Condition.model_validate(kept) == said


def test_a_kept_gate_is_judged_as_the_one_of_the_file():
    said = {"approval": {"role": "steward", "expires_in": 60, "on_expiry": "escalate", "escalate_to": "chief"}}
    kept = Condition.model_validate(condition(said).model_dump(mode="json", by_alias=True))
    known = facts(votes=(vote(person("eve", "chief"), 61),), now=62)
    assert evaluate(kept, known) == evaluate(condition(said), known)
