"""A run that is left, or parked, is done with soon, whatever the store does; who asked something of it is told so."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from lakeray.errors import LakerayError, SequenceConflict, StateFormat, StateUnavailable
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable.runs import send
from lakeray.state import Appended, Command
from lakeray.workflow import commands as c
from lakeray.workflow.refusal import Refused
from tests.polling import eventually
from tests.unit.runtime.desk import Desk, desk
from tests.unit.runtime.durable_world import HERE, QUICK

WITHIN_S = 10
PAIR = f"""
workflow: pair
steps:
  one: {{python: "{HERE}:until_let_go", {QUICK}}}
  two: {{python: "{HERE}:until_let_go", {QUICK}}}
"""
PAUSE = c.PauseRun(at=utc_now(), reason="a look")


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A run ``r`` with two steps at work."""
    with desk(tmp_path / "runs", f"sqlite:///{tmp_path}/state.db", monkeypatch) as opened:
        (opened.folder / "pair.yaml").write_text(PAIR)
        opened.begin("r", "pair")
        for step in ("one", "two"):
            opened.at_step("r", step)
        yield opened


def fails_with(error: LakerayError, patch: pytest.MonkeyPatch, at: Desk) -> None:
    """Every append from now on."""

    def submit(_: object) -> Future[Appended]:
        failed: Future[Appended] = Future()
        failed.set_exception(error)
        return failed

    patch.setattr(at.store, "submit", submit)


def test_what_is_reported_while_an_append_waits_for_the_store_does_not_keep_a_run_that_is_left(at, monkeypatch):
    fails_with(StateUnavailable("away"), monkeypatch, at)
    at.let_go()
    at.tried_again("r")
    held = at.held("r")
    assert held is not None
    eventually(lambda: held.asked and not held.at_work, WITHIN_S)
    at.orchestrator.leave("r").result(WITHIN_S)
    assert at.held("r") is None


@pytest.mark.parametrize("error", [SequenceConflict("somebody wrote"), StateFormat("not to be read")])
def test_a_run_whose_append_is_refused_while_it_is_left_is_let_go_of(at, monkeypatch, error):
    """It is read again from a store that is away, or is parked."""

    def away(*_: object) -> None:
        raise StateUnavailable("away")

    under_way: Future[Appended] = Future()
    monkeypatch.setattr(at.store, "submit", lambda _: under_way)
    monkeypatch.setattr(at.store, "load_snapshot", away)
    held = at.held("r")
    assert held is not None
    at.let_go()
    eventually(lambda: held.sending and held.asked and not held.at_work, WITHIN_S)
    left = at.orchestrator.leave("r")
    under_way.set_exception(error)
    left.result(WITHIN_S)
    assert at.orchestrator.parked("r") == ("not to be read" if isinstance(error, StateFormat) else None)


def test_what_was_sent_to_a_run_that_was_left_is_heard_once_the_store_is_there(at, monkeypatch):
    with monkeypatch.context() as patch:
        fails_with(StateUnavailable("away"), patch, at)
        sent = Command(command_id="pause", run_id="r", data=c.encode_command(PAUSE))
        at.store.send(sent)
        at.tried_again("r")
        at.orchestrator.leave("r").result(WITHIN_S)
    assert eventually(lambda: at.store.answered(sent), WITHIN_S) == b"{}"


def test_who_sent_a_command_is_told_when_the_run_is_parked(at, monkeypatch):
    fails_with(StateFormat("not to be read"), monkeypatch, at)
    with pytest.raises(Refused, match="run r is parked: not to be read"):
        send(at.store, "r", PAUSE, within_s=WITHIN_S)
