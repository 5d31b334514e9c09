"""Each kind of condition is true, false or unknown as its words say, and keeps what it saw as evidence."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakeray.gates.evaluate import evaluate
from lakeray.gates.facts import AlignmentFacts, ExpectationFacts, StepFacts
from lakeray.gates.functions import ImportedFunctions
from lakeray.gates.judgement import Verdict
from tests.unit.gates.facts import condition, facts

STEPS = {
    "ingest": StepFacts(
        state="succeeded",
        metrics={"rows_written": 990, "pass_rate": 0.99, "rows_read": 1000, "duration": 1.5},
        expectations={
            "positive": ExpectationFacts(checked=1000, violated=10),
            "unseen": ExpectationFacts(checked=0, violated=0),
        },
        output={"cutoff": 7, "secret": "hunter2"},
    ),
    "in-gest": StepFacts(state="skipped", metrics={"rows_written": 0}),
    "align": StepFacts(state="succeeded", alignment=AlignmentFacts(passed=7, failed=2, undecided=1)),
}
TABLES = {"orders": {"rows": 5, "age": 60.0, "bytes": math.nan}}


def told(said, **more):
    return evaluate(condition(said), facts(steps=STEPS, tables=TABLES, **more))


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({"step": "ingest", "at_least": 0.99}, "true"),
        ({"step": "ingest", "at_least": 0.991}, "false"),
        ({"step": "ingest", "at_most": 0.99}, "true"),
        ({"step": "ingest", "metric": "rows_read", "at_least": 1, "at_most": 999}, "false"),
        ({"step": "ingest", "metric": "rows_dropped", "at_most": 0}, "unknown"),
        ({"step": "nothing", "at_least": 0}, "unknown"),
        ({"step": "ingest", "expectation": "positive", "at_least": 0.99}, "true"),
        ({"step": "ingest", "expectation": "positive", "at_least": 0.9901}, "false"),
        ({"step": "ingest", "expectation": "positive", "metric": "violated", "at_most": 9}, "false"),
        ({"step": "ingest", "expectation": "positive", "metric": "checked", "at_least": 1000}, "true"),
        ({"step": "ingest", "expectation": "unseen", "at_least": 1}, "true"),
        ({"step": "ingest", "expectation": "other", "at_least": 0}, "unknown"),
        ({"table": "orders", "metric": "rows", "at_least": 5}, "true"),
        ({"table": "orders", "metric": "age", "at_most": 59}, "false"),
        ({"table": "orders", "metric": "bytes", "at_most": 59}, "unknown"),
        ({"table": "orders", "metric": "files", "at_most": 59}, "unknown"),
        ({"table": "others", "metric": "rows", "at_least": 0}, "unknown"),
    ],
)
def test_quality(said, verdict):
    assert told({"data_quality": said}).verdict == verdict


@pytest.mark.parametrize(
    ("at_least", "verdict"), [(1.0, "false"), (0.81, "false"), (0.8, "unknown"), (0.71, "unknown"), (0.7, "true")]
)
def test_alignment_is_decided_once_the_undecided_cannot_turn_it(at_least, verdict):
    assert told({"alignment": {"step": "align", "at_least": at_least}}).verdict == verdict


def test_alignment_of_a_step_without_checks_is_unknown():
    assert told({"alignment": {"step": "ingest"}}).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("steps.ingest.rows_written < 10000000", "true"),
        ("steps.ingest.rows_written < 990", "false"),
        ("steps.ingest.pass_rate >= 0.99 && steps.ingest.state == 'succeeded'", "true"),
        ("steps.ingest.rows_written < 990.5", "true"),
        ('steps["in-gest"].rows_written == 0', "true"),
        ("tables.orders.rows > 4", "true"),
        ("steps.ingest.output.cutoff == 7", "true"),
        ("run.tenant == 'acme' && run.principal == 'ann' && run.labels.team == 'sales'", "true"),
        ("arguments.day == '2025-03-01'", "true"),
        ("now >= timestamp('2025-03-01T12:00:00Z')", "true"),
        ("now > timestamp('2025-03-01T12:00:00Z')", "false"),
        ("steps.ingest.nothing < 1", "unknown"),
        ("steps.nothing.rows > 0", "unknown"),
        ("steps.nothing.rows > 0 || true", "true"),
        ("steps.nothing.rows > 0 && false", "false"),
        ("has(steps.ingest.nothing)", "false"),
        ("steps.ingest.rows_written / 0 > 1", "unknown"),
        ("steps.ingest.rows_written", "unknown"),
        ("steps.ingest.state > 3", "unknown"),
        ("tables.orders.bytes > 0.0", "false"),
    ],
)
def test_business_rules(rule, verdict):
    judgement = told({"business_rule": rule}, labels={"team": "sales"}, arguments={"day": "2025-03-01"})
    assert judgement.verdict == verdict, judgement.reason


def test_a_rule_that_would_go_on_for_very_long_is_unknown_soon():
    ten = "[1,1,1,1,1,1,1,1,1,1]"
    rule = f"{ten}.all(a, {ten}.all(b, {ten}.all(c, {ten}.all(d, {ten}.all(e, true)))))"
    judgement = told({"business_rule": rule})
    assert judgement.verdict is Verdict.UNKNOWN
    assert "budget" in judgement.reason


@pytest.mark.parametrize(
    "rule",
    [
        "int(steps.ingest.output.secret) > 0",
        "steps.ingest.output.secret > 1",
        "timestamp(steps.ingest.output.secret) < now",
        "'x'.matches(steps.ingest.output.secret + '(')",
        "arguments.odd == 1",
    ],
)
def test_a_rule_that_fails_quotes_no_value(rule):
    judgement = told({"business_rule": rule}, arguments={"odd": {"hunter2": object()}})
    assert judgement.verdict is Verdict.UNKNOWN
    assert "hunter2" not in repr(judgement)


def test_the_evidence_of_a_rule_has_the_numbers_that_it_names_and_no_output():
    rule = 'steps.ingest.rows_written > 1 && steps["in-gest"].state == "skipped" && steps.ingest.output.secret != ""'
    (evidence,) = told({"business_rule": rule}).evidence
    assert evidence.values["named"] == {"steps.ingest.rows_written": 990, "steps.in-gest.state": "skipped"}
    assert "hunter2" not in repr(evidence)


def test_the_evidence_of_quality_has_the_number_and_the_bounds():
    (evidence,) = told({"data_quality": {"step": "ingest", "at_least": 0.995}}).evidence
    assert evidence.said == "pass_rate of step ingest is 0.99; it must be at least 0.995"
    assert evidence.values == {
        "subject": "step ingest",
        "metric": "pass_rate",
        "value": 0.99,
        "at_least": 0.995,
        "at_most": None,
    }


def test_conditions_are_looked_at_side_by_side_where_the_caller_has_a_pool():
    """Each of two functions waits for the other to be called as well."""
    both = threading.Barrier(2, timeout=30)

    class Meeting:
        def call(self, function, arguments, facts):
            both.wait()
            return True

    gate = condition({"all": [{"python": "m:f"}, {"python": "m:g"}]})
    with ThreadPoolExecutor(2) as pool:
        assert evaluate(gate, facts(), functions=Meeting(), each=pool.map).outcome == "passed"


class Answers:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def call(self, function, arguments, facts):
        self.asked.append((function, dict(arguments), facts.run_id))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "verdict", "said"),
    [
        (True, "true", "m:f returned true"),
        (False, "false", "m:f returned false"),
        ("too few", "false", "m:f: too few"),
        ("", "unknown", "m:f returned str, neither true, false nor a text"),
        (None, "unknown", "m:f returned NoneType, neither true, false nor a text"),
        (1, "unknown", "m:f returned int, neither true, false nor a text"),
        (ValueError("hunter2"), "unknown", "m:f raised ValueError"),
    ],
)
def test_functions_of_the_user(answer, verdict, said):
    functions = Answers(answer)
    judgement = evaluate(
        condition({"python": {"function": "m:f", "arguments": {"n": 3}}}), facts(), functions=functions
    )
    assert (judgement.verdict, judgement.evidence[0].said) == (verdict, said)
    assert functions.asked == [("m:f", {"n": 3}, "r1")]


def test_functions_may_not_be_called_unless_somebody_allows_it():
    assert evaluate(condition({"python": "os:getcwd"}), facts()).verdict is Verdict.UNKNOWN


def few_rows(limit, facts):
    return facts.steps["ingest"].metrics["rows_written"] < limit


def test_a_function_is_imported_and_given_its_arguments_and_the_facts():
    asked = condition({"python": {"function": f"{__name__}:few_rows", "arguments": {"limit": 991}}})
    known = facts(steps=STEPS)
    assert evaluate(asked, known, functions=ImportedFunctions(None)).verdict is Verdict.TRUE
    assert evaluate(asked, known, functions=ImportedFunctions(frozenset({"os:getcwd"}))).verdict is Verdict.UNKNOWN
    allowed = ImportedFunctions(frozenset({f"{__name__}:few_rows"}))
    assert evaluate(asked, known, functions=allowed).verdict is Verdict.TRUE
    missing = condition({"python": f"{__name__}:nothing"})
    judgement = evaluate(missing, known, functions=ImportedFunctions(None))
    assert judgement.evidence[0].said == f"{__name__}:nothing raised TransformError"
