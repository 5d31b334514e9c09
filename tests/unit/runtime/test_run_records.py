"""Whatever a run does is a log record that says which workflow, run, step and attempt it is about."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest
import structlog

import lakeray
from lakeray.config import Settings
from lakeray.observability import logs, runs
from lakeray.observability.logs import LogObserver

HERE = "tests.unit.runtime.test_run_records"
WITHIN_S = 60
FAILS: list[str] = []
FILE = """
workflow: orders
tenant: acme
sources: {{raw: {{uri: {folder}/raw/, format: json}}}}
tables: {{orders: {{uri: {folder}/orders}}}}
steps:
  ingest: {{import: {{from: raw, into: orders}}}}
  call: {{after: [ingest], python: "{here}:flaky", retry: {{initial_interval: 0s}}}}
  open: {{after: [call], gate: {{python: "{here}:yes"}}}}
"""


def flaky():
    logging.getLogger("somebody").warning("within")
    if FAILS:
        raise OSError(FAILS.pop())


def yes() -> bool:
    return True


@pytest.fixture
def stream():
    """Records as JSON lines; logging is as it was afterwards."""
    root, told = logging.getLogger(), io.StringIO()
    before = root.handlers, root.level
    logs.configure(format="json", stream=told)
    yield told
    root.handlers, root.level = before
    structlog.reset_defaults()


def _run(folder):
    (folder / "raw").mkdir()
    (folder / "raw" / "a.json").write_text('{"id": 1}\n')
    (folder / "w.yaml").write_text(FILE.format(folder=folder, here=HERE))
    settings = Settings(executor="inline", catalog=str(folder / "catalog"), state=f"sqlite:///{folder}/state.db")
    FAILS[:] = ["down"]
    return lakeray.connect(settings=settings, observer=LogObserver()).run(folder / "w.yaml").result(WITHIN_S)


def test_every_record_of_a_run_says_which_run_step_and_attempt_it_is_about(tmp_path, stream):
    done = _run(tmp_path)
    assert done.state == "succeeded"
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["run"] for line in lines} == {done.run_id}
    assert {line["workflow"] for line in lines} == {"orders"}
    assert {line["trace_id"] for line in lines} == {runs.trace_id(done.run_id)}
    said = [(line["event"], line.get("step"), line.get("attempt")) for line in lines]
    assert said[0] == ("run accepted", None, None)
    assert said[-1] == ("run ended", None, None)
    for expected in (
        ("step started", "ingest", 1),
        ("step succeeded", "ingest", 1),
        ("attempt failed", "call", 1),
        ("step succeeded", "call", 2),
        ("gate judged", "open", None),
        ("within", "call", 2),
    ):
        assert expected in said
    of_import = [line for line in lines if line["event"].startswith(("import", "batch"))]
    assert {line["event"] for line in of_import} == {
        "import started",
        "batch started",
        "batch completed",
        "import completed",
    }
    assert {line["step"] for line in of_import} == {"ingest"}
    progress = [line["progress"] for line in lines if "progress" in line]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    [failed] = [line for line in lines if line["event"] == "attempt failed"]
    assert (failed["level"], failed["code"], failed["error"]) == ("warning", "OSError", "OSError: down")


def test_people_who_look_at_a_display_are_not_told_twice(tmp_path, stream):
    logs.configure(format="text", level="warning", stream=stream)
    _run(tmp_path)
    assert stream.getvalue().count("within") == 2, "the user's own warnings"
    assert "attempt failed" not in stream.getvalue()


def test_a_child_shares_the_trace_of_its_parent():
    assert runs.trace_id("run-1.sub.1") == runs.trace_id("run-1")
    assert runs.trace_id("run-1") != runs.trace_id("run-2")
    assert len(runs.trace_id("run-1")) == 32


def test_what_a_thread_logs_is_about_its_own_run(stream):
    def other() -> None:
        logging.getLogger("x").warning("outside")

    with runs.about_run("run-1", step="s"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        logging.getLogger("x").warning("inside")
    logging.getLogger("x").warning("after")
    said = {line["event"]: line.get("run") for line in map(json.loads, stream.getvalue().splitlines())}
    assert said == {"outside": None, "inside": "run-1", "after": None}
