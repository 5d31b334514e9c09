"""Business rules over what a run knows: a rule that cannot be told is unknown, never an error of the run."""

from __future__ import annotations

import re
from typing import Any

from lakeray.gates.facts import Facts
from lakeray.gates.finding import Finding, unknown
from lakeray.gates.judgement import Verdict
from lakeray.spec.rules import compile_rule
from lakeray.spec.wrong import WrongValue

_NAMED = re.compile(
    r"""\b(?P<kind>steps|tables)(?:\.(?P<word>[A-Za-z_]\w*)|\[\s*["'](?P<key>[\w-]+)["']\s*\])\.(?P<metric>[a-z_]\w*)""",
    re.ASCII,
)
_HARMLESS = re.compile(r"Key not found in map|No matching overloads|divide by zero|overflow|budget|No value with name")
_LONGEST = 300


def look_at_rule(text: str, facts: Facts) -> Finding:
    """What the rule says of ``facts``; a missing name, a division by zero, a value that is no condition is unknown."""
    known = bindings(facts)
    values = {"rule": text, "named": _named(text, known)}
    try:
        result = compile_rule(text).eval(data=known)
        kind, value = result.type().name(), result.value()
    except (RuntimeError, TypeError, WrongValue) as error:
        return unknown(f"the rule cannot be evaluated: {_reason(error)}", **values)
    if kind == "ERROR":
        return unknown(f"the rule cannot be told: {_reason(value)}", **values)
    if not isinstance(value, bool):
        return unknown(f"the rule gave a value of type {kind.lower()}, which is neither true nor false", **values)
    return Finding(
        verdict=Verdict.of(value), said=f"the rule {text.strip()} is {'true' if value else 'false'}", values=values
    )


def bindings(facts: Facts) -> dict[str, Any]:
    """The variables that a rule may speak of."""
    steps = {name: {**step.metrics, "state": step.state, "output": step.output} for name, step in facts.steps.items()}
    run = {
        "id": facts.run_id,
        "workflow": facts.workflow,
        "tenant": facts.tenant,
        "principal": facts.started_by.name,
        "labels": dict(facts.labels),
    }
    tables = {name: dict(metrics) for name, metrics in facts.tables.items()}
    return {"steps": steps, "tables": tables, "run": run, "arguments": dict(facts.arguments), "now": facts.now}


def _named(text: str, known: dict[str, Any]) -> dict[str, Any]:
    """The numbers and words that the rule names; an output may be large or private and is left out."""
    found = {}
    for match in _NAMED.finditer(text):
        name = match["word"] or match["key"]
        value = known[match["kind"]].get(name, {}).get(match["metric"])
        if isinstance(value, bool | int | float | str) and match["metric"] != "output":
            found[f"{match['kind']}.{name}.{match['metric']}"] = value
    return found


def _reason(error: object) -> str:
    """The evaluator's words where they are about the rule; others may quote values, and outputs are private."""
    text = str(error).partition("\n")[0]
    return text if _HARMLESS.search(text) and len(text) <= _LONGEST else "its values do not fit it"
