"""A warm process answers an order with its report, whatever is asked of it meanwhile; here without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakeray.config import Settings
from lakeray.runtime.actors import warm
from lakeray.runtime.actors.order import Doing, Order
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable.run import definition_of
from lakeray.spec.load import load_workflow
from lakeray.workflow import commands as c
from lakeray.workflow.decide import decided
from lakeray.workflow.state import encode_state
from lakeray.workflow.todo import todo

HERE = "tests.unit.runtime.test_step_workers"


def beats(context: Any) -> str:
    context.heartbeat("half")
    return "done"


def waits(context: Any) -> bool:
    """Whether it was asked to stop."""
    return bool(context.cancelled.wait(2.0))


@pytest.fixture
def worker() -> warm.StepWorker:
    return warm.StepWorker()


def order(folder: Path, function: str) -> Order:
    path = folder / "w.yaml"
    path.write_text(f'workflow: w\nsteps: {{s: {{python: "{HERE}:{function}"}}}}\n')
    now = utc_now()
    accept = c.AcceptRun(at=now, run_id="r", definition=definition_of(load_workflow(path)), seed=7)
    state = decided(None, accept).state
    [work] = todo(state, now)
    return Order(work=work, state=encode_state(state), settings=Settings(executor="inline"))


def reports(said: list[bytes]) -> list[c.Command]:
    return [command for data in said if not isinstance(command := c.decode_command(data), c.ReportHeartbeat)]


def test_the_report_is_in_the_answer_whoever_asks_for_signs_of_life_just_before(tmp_path, monkeypatch, worker):
    """Asked between the report and the answer, ``heartbeats`` takes what was said on the way, and no more."""
    heard: list[bytes] = []

    class Asked(Doing):
        def said(self) -> Iterator[bytes]:
            yield from super().said()
            heard.extend(worker.heartbeats())

    monkeypatch.setattr(warm, "Doing", Asked)
    answer = worker.do(order(tmp_path, "beats"))
    [report] = reports(answer)
    assert isinstance(report, c.ReportSuccess)
    assert report.output == "done"
    assert [type(c.decode_command(data)) for data in heard] == [c.ReportHeartbeat]


def test_an_order_that_is_asked_to_stop_before_it_is_begun_stops(tmp_path, worker):
    wanted = order(tmp_path, "waits")
    worker.stop(wanted.work.key)
    [report] = reports(worker.do(wanted))
    assert isinstance(report, c.ReportSuccess)
    assert report.output is True
