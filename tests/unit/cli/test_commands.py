"""Every command answers with text for people and with one JSON document for programs."""

from __future__ import annotations

from datetime import datetime

import pytest

FILE = "orders.yaml"
COMMANDS = {
    ("plan", FILE): ("plans", ("plan", FILE, None)),
    ("plan", FILE, "--step", "a", "--step", "b"): ("plans", ("plan", FILE, ["a", "b"])),
    ("discover", FILE): ("sources", ("discover", FILE, None, False)),
    ("discover", FILE, "--source", "raw", "--register"): ("sources", ("discover", FILE, "raw", True)),
    ("discover", FILE, "--schema-diff"): ("sources", ("discover", FILE, None, False, "sample")),
    ("discover", FILE, "--schema-diff", "--all"): ("sources", ("discover", FILE, None, False, "all")),
    ("ledger", "show", FILE): ("objects", ("show", None, None, None, 100)),
    ("ledger", "show", FILE, "--outcome", "failed", "--uri", "*/a*", "--batch", "2", "-n", "5"): (
        "objects",
        ("show", "failed", "*/a*", 2, 5),
    ),
    ("ledger", "reset", FILE, "--uri", "*"): ("reset", ("reset", "*", None, None)),
    ("ledger", "reset", FILE, "--batch", "1", "--batch", "2", "--outcome", "poison"): (
        "reset",
        ("reset", None, [1, 2], ["poison"]),
    ),
    ("ledger", "reset", FILE, "--all"): ("reset", ("reset", None, None, None)),
    ("ledger", "abandon", FILE, "--step", "ingest", "--yes"): ("abandoned", ("ledger", FILE, "ingest")),
    ("ledger", "withdraw", FILE, "--batch", "1", "--batch", "2", "--yes"): (
        "withdrawn",
        ("withdraw", FILE, None, [1, 2], None),
    ),
    ("ledger", "withdraw", FILE, "--step", "ingest", "--run", "run-1", "--yes"): (
        "withdrawn",
        ("withdraw", FILE, "ingest", None, "run-1"),
    ),
    ("ledger", "rebuild", FILE): ("rows", ("rebuild",)),
    ("quarantine", "list", FILE, "--limit", "7"): ("rows", ("refused", {}, 7)),
    ("quarantine", "list", FILE, "--table", "orders", "--step", "a"): ("rows", ("quarantine", FILE, "orders", "a")),
    ("quarantine", "show", FILE, "--rule", "small", "--batch", "2"): (
        "counts",
        ("count", {"rule": "small", "batch": 2}),
    ),
    ("quarantine", "reprocess", FILE, "--uri", "*/a", "--since", "2024-05-01"): (
        "import",
        ("reprocess", {"object_glob": "*/a", "since": datetime(2024, 5, 1)}),  # noqa: DTZ001 - taken for UTC
    ),
    ("quarantine", "purge", FILE, "--rule", "x"): ("rows", ("purge", {"rule": "x"}, True)),
    ("quarantine", "purge", FILE, "--batch", "1", "--yes"): ("rows", ("purge", {"batch": 1}, False)),
    ("tables", "history", FILE, "orders", "-n", "3"): ("versions", ("history", 3)),
    ("tables", "optimize", "s3://lake/orders"): ("optimized", ("optimize", None)),
    ("tables", "optimize", FILE, "--target-size", "2MiB"): ("optimized", ("optimize", 2 * 2**20)),
    ("tables", "vacuum", FILE): ("files", ("vacuum", None, True)),
    ("tables", "vacuum", FILE, "--delete", "--retention-hours", "200"): ("files", ("vacuum", 200, False)),
    ("tables", "checkpoint", FILE): ("checkpoint", ("checkpoint", False)),
    ("tables", "checkpoint", FILE, "--clean-log"): ("checkpoint", ("checkpoint", True)),
    ("tables", "optimize", FILE, "--z-order", "a, b", "--one-commit"): (
        "optimized",
        ("optimize", None, ["a", "b"], True),
    ),
    ("tables", "restore", FILE, "--version", "2"): ("restored", ("restore", 2)),
    ("runs", "list", "--state", "waiting", "--workflow", "orders", "-n", "3"): (
        "runs",
        ("runs", {"state": "waiting", "workflow": "orders", "limit": 3}),
    ),
    ("runs", "show", "r1"): ("run", ("show run", "r1")),
    ("runs", "watch", "r1"): ("run", ("events", "r1", 0)),
    ("runs", "events", "r1", "--after", "0"): ("events", ("events", "r1", 0)),
    ("runs", "report", "r1"): ("import", ("show run", "r1")),
    ("runs", "replay-check", "r1"): ("differences", ("replay_check", "r1")),
    ("runs", "approve", "r1", "--gate", "g", "--comment", "ok", "--as", "ann", "--role", "steward"): (
        "import",
        ("approve", "r1", {"gate": "g", "comment": "ok", "by": "ann", "roles": ["steward"]}),
    ),
    ("runs", "reject", "r1"): ("import", ("reject", "r1", {})),
    ("runs", "resume", "r1"): ("import", ("resume", "r1", {})),
    ("runs", "retry", "r1", "--from", "s"): ("import", ("retry", "r1", {"from_step": "s"})),
    ("runs", "fork", "r1", "--from", "s"): ("import", ("fork", "r1", {"from_step": "s"})),
    ("runs", "pause", "r1", "--reason", "x"): ("import", ("pause", "r1", {"reason": "x"})),
    ("runs", "cancel", "r1"): ("import", ("cancel", "r1", {})),
    ("runs", "terminate", "r1"): ("import", ("terminate", "r1", {})),
    ("doctor",): ("checks", ("doctor", None)),
    ("doctor", FILE): ("checks", ("doctor", FILE)),
    ("run", FILE): ("import", ("run", FILE, None, False)),
    ("run", FILE, "--step", "ingest", "--continuous"): ("import", ("run", FILE, ["ingest"], True)),
}


@pytest.mark.parametrize("arguments", COMMANDS)
def test_json_is_one_document_on_stdout(lake, tell, arguments):
    key, call = COMMANDS[arguments]
    told = tell(*arguments, "--json")
    assert told.code == 0
    assert key in told.document
    assert call in lake.asked
    assert lake.asked[-1] == ("close",)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_text_obeys_nothing_that_comes_from_outside(lake, tell, arguments):
    told = tell(*arguments)
    assert told.code == 0
    assert told.out.strip()
    assert "\x1b" not in told.out
    assert "{'" not in told.out, "no representation of Python values"


def test_tables_are_shown_with_headers_and_figures(lake, tell):
    told = tell("ledger", "show", FILE)
    assert "object uri" in told.out
    assert "1,234" in told.out
    assert "a\\x1b[2Jb" in told.out


def test_plan_says_what_is_pending(lake, tell):
    lake.plans = [lake.plans[0].model_copy(update={"pending_batch": 4}), lake.plans[0].model_copy(update={"new": 0})]
    told = tell("plan", FILE)
    assert "batch 4 was begun; a run finishes it first" in told.out
    assert "nothing new" in told.out


def test_doctor_fails_with_a_failed_check(lake, tell):
    lake.checks = [
        *lake.checks,
        type(lake.checks[0])(name="bucket", ok=False, detail="no answer", hint="check the endpoint"),
    ]
    told = tell("doctor")
    assert told.code == 1
    assert "✗ bucket  no answer" in told.out
    assert "check the endpoint" in told.out
    assert tell("doctor", "--json").document["ok"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ("ledger", "reset", FILE),
        ("ledger", "abandon", FILE),
        ("ledger", "withdraw", FILE, "--batch", "1"),
        ("ledger", "withdraw", FILE, "--yes"),
        ("quarantine", "purge", FILE, "--yes"),
    ],
)
def test_what_cannot_be_undone_wants_to_be_said(lake, tell, arguments):
    told = tell(*arguments, "--json")
    assert told.code == 2
    assert told.document["error"]["code"] == "usage"
    assert not lake.asked


@pytest.mark.parametrize("size", ["0", "12 apples", "-1"])
def test_target_size_is_a_size(lake, tell, size):
    told = tell("tables", "optimize", FILE, "--target-size", size, "--json")
    assert told.code == 2
    assert "--target-size" in told.document["error"]["message"]
    assert not lake.asked


def test_version_names_what_it_stands_on(tell):
    assert {"lakeray", "python", "ray", "deltalake"} <= set(tell("version", "--json").document)


def test_schema_is_the_same_document_with_and_without_json(tell):
    plain = tell("schema")
    assert plain.document["$schema"].startswith("https://json-schema.org/")
    assert plain.document == tell("schema", "--json").document


VALID = """\
workflow: orders
sources: {raw: {uri: raw/, format: json}}
tables: {orders: {uri: silver}}
steps:
  ingest: {import: {from: raw, into: orders}}
"""


def test_validate_accepts_a_good_file(tell, tmp_path):
    file = tmp_path / FILE
    file.write_text(VALID)
    document = tell("validate", str(file), "--json").document
    assert (document["valid"], document["runnable"], document["steps"]) == (True, True, ["ingest"])
    assert "is valid" in tell("validate", str(file)).out


def test_validate_says_what_is_wrong_where(tell, tmp_path):
    file = tmp_path / FILE
    file.write_text(VALID.replace("into: orders", "into: odrers"))
    told = tell("validate", str(file), "--json")
    assert told.code == 2
    [problem] = told.document["error"]["problems"]
    assert (problem["line"], problem["nearest"]) == (5, "orders")
    shown = tell("validate", str(file))
    assert (shown.code, shown.out) == (2, "")
    assert f"{FILE}:5:" in shown.err.replace("\n", "")


def test_validate_warns_of_what_is_not_built(tell, tmp_path):
    file = tmp_path / FILE
    file.write_text(VALID + "  ok: {after: [ingest], validate: [{balance: {step: ingest}}]}\n")
    document = tell("validate", str(file), "--json").document
    assert document["valid"]
    assert not document["runnable"]
    assert "validate" in document["not_built"]
