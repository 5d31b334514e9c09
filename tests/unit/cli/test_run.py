"""`lakeray run`: report, exit code, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from lakeray.cli import interrupts
from lakeray.errors import Cancelled
from lakeray.observability.logs import LogObserver
from lakeray.observability.plain import PlainObserver
from lakeray.reports import SECTIONS
from lakeray.runtime.summary import ErrorSummary

FILE = "orders.yaml"


def summary(lake, state, **changes):
    return lake.summary.model_copy(update={"state": state, **changes})


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1), ("waiting", 3)])
def test_exit_code_tells_the_state(lake, tell, state, code):
    lake.summary = summary(lake, state)
    assert tell("run", FILE).code == code


def test_a_continuous_run_ends_well_by_being_stopped(lake, tell):
    lake.summary = summary(lake, "cancelled")
    assert tell("run", FILE, "--continuous").code == 0
    lake.summary = summary(lake, "cancelled", errors=[ErrorSummary(code="read", message="no")])
    assert tell("run", FILE, "--continuous").code == 1


def test_json_is_the_report_with_its_seven_sections(lake, tell):
    document = tell("run", FILE, "--json").document
    assert list(document) == ["run", *SECTIONS]
    assert document["import"]["rows"]["written"] == 90


@pytest.mark.parametrize(
    ("format_", "first"), [("text", "✓ orders"), ("json", "{"), ("markdown", "# orders"), ("html", "<!doctype html>")]
)
def test_report_in_every_format(lake, tell, tmp_path, format_, first):
    assert tell("run", FILE, "--report", format_).out.startswith(first)
    target = tmp_path / "report"
    told = tell("run", FILE, "--report", format_, "-o", str(target))
    assert target.read_text(encoding="utf-8").startswith(first)
    assert told.out == "Done in 700 ms: 90 rows written to 1 table.\n"
    assert str(target) in told.err.replace("\n", "")


def test_json_and_a_report_need_two_places(lake, tell, tmp_path):
    told = tell("run", FILE, "--json", "--report", "html")
    assert (told.code, told.document["error"]["code"]) == (2, "usage")
    told = tell("run", FILE, "--json", "--report", "html", "--output", str(tmp_path / "r.html"))
    assert told.document["run"]["state"] == "succeeded"


def test_an_output_that_cannot_be_written_is_refused_before_anything_starts(lake, tell, tmp_path):
    for output in (tmp_path, tmp_path / "absent" / "report.html"):
        told = tell("run", FILE, "--output", str(output), "--json")
        assert (told.code, told.document["error"]["code"]) == (2, "config")
    assert not lake.asked


def test_a_schedule_is_ignored_aloud(lake, tell):
    lake.schedule = object()
    [note] = tell("run", FILE, "--json").document["workflow"]["notes"]
    assert "schedule" in note


def test_observers_follow_the_log_format(lake, tell):
    tell("run", FILE)
    assert isinstance(lake.observer, PlainObserver)
    tell("run", FILE, "--log-format", "json")
    assert isinstance(lake.observer, LogObserver)
    assert lake.observer.workflow == "orders"


def test_what_others_print_stays_out_of_the_json(lake, tell):
    def chatter() -> None:
        print("a hook prints")  # noqa: T201 - that is the point
        os.write(1, b"a library writes\n")
        os.system("echo a child process writes")

    lake.on_run = chatter
    told = tell("run", FILE, "--json")
    assert told.document["run"]["state"] == "succeeded"
    for said in ("a hook prints", "a library writes", "a child process writes"):
        assert said in told.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_cancels_and_says_how_to_go_on(lake, tell, number):
    lake.endless = True
    before = signal.getsignal(number)

    def interrupt() -> None:
        assert lake.waiting.wait(10)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    told = tell("run", FILE)
    thread.join()
    assert told.code == 1
    assert ("cancel",) in lake.asked
    again = "Press Ctrl-C again" if number == signal.SIGINT else "Send SIGTERM again"
    assert f"{again} to leave at once" in told.err
    assert "Run the same command again: nothing is lost, 1 batch is committed." in told.err
    assert signal.getsignal(number) is before


def test_a_run_that_ends_just_as_the_wait_for_it_does_has_ended_well():
    class Late:
        done = False

        def result(self, timeout):
            if not self.done:
                self.done = True
                raise TimeoutError
            return "summary"

    assert interrupts.result_of(Late) == "summary"  # type: ignore[arg-type, comparison-overlap]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_leaves_at_once(capfd, number, code):
    left: list[int] = []

    class Stubborn:
        over = threading.Event()
        done = False

        def result(self, timeout):
            os.kill(os.getpid(), number)
            if not self.over.is_set():
                raise TimeoutError
            return "summary"

        def cancel(self):
            pass

    def leave(code: int) -> None:
        left.append(code)
        Stubborn.over.set()

    assert interrupts.result_of(Stubborn, leave=leave) == "summary"  # type: ignore[arg-type, comparison-overlap]
    assert left[0] == code
    assert "nothing is lost" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "code", "error"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_before_the_run_interrupts(lake, tell, number, code, error):
    lake.on_run = lambda: os.kill(os.getpid(), number)
    told = tell("run", FILE, "--json")
    assert (told.code, told.document["error"]["code"]) == (code, error)


def test_sigterm_ends_any_command_with_a_word(tmp_path):
    """Also with --json there is one document, and what is asked is how to go on."""
    (tmp_path / "code.py").write_text(
        "import os, signal, sys\n"
        "from lakeray.cli import entry, lakes\n"
        "lakes.opened = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        "entry.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "code.py", "plan", "w.yaml", "--json"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 143
    assert json.loads(done.stdout)["error"]["hint"] == "run the same command again: nothing is lost"


def test_a_run_that_ends_by_raising_cancelled_still_reports(lake, tell):
    lake.run_error = Cancelled("stopped")
    lake.summary = summary(lake, "cancelled")
    assert tell("run", FILE, "--json").document["run"]["state"] == "cancelled"


def test_a_timeout_of_the_run_itself_is_its_error(lake, tell):
    lake.run_error = TimeoutError("the store did not answer")
    assert "the store did not answer" in tell("run", FILE, "--json").document["error"]["message"]
