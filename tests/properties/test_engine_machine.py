"""Whatever is asked of a run and reported to it, in any order, any number of times, its history and state stay right.

The model is a list of stored bytes and the checks of ``engine_checks``, which know nothing of the engine's state. At
the end of each example everything that is left to do is done: every run that was accepted can end.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lakeray.workflow import codec
from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow import todo as t
from lakeray.workflow.decide import decided
from lakeray.workflow.evolve import fold
from lakeray.workflow.refusal import Refused
from lakeray.workflow.replay import replay_check
from lakeray.workflow.state import RunState, decode_state, encode_state
from tests.properties.engine_checks import check_history
from tests.properties.engine_world import OUTCOMES, random_definition

EXAMPLES = int(os.environ.get("LAKERAY_PROPERTY_EXAMPLES", "60"))
START = datetime(2024, 1, 1, tzinfo=UTC)
STEPS = st.sampled_from([f"s{n}" for n in range(8)])
ATTEMPTS = st.integers(0, 4)
CHUNKS = st.none() | st.integers(0, 4)
ERRORS = st.builds(
    e.Failure, code=st.sampled_from(["flaky", "never"]), message=st.just("it failed"), retryable=st.booleans()
)
CAUSES = st.sampled_from(["error", "timeout", "worker_died"])
VERDICTS = st.sampled_from(["true", "false", "unknown"])
WISHES = (c.GiveApproval, c.SendEvent, c.PauseRun, c.ResumeRun, c.CancelRun, c.TerminateRun, c.RetryRun)
ABOUT = st.fixed_dictionaries({"step": STEPS, "attempt": ATTEMPTS, "chunk": CHUNKS, "compensation": st.booleans()})


class EngineMachine(RuleBasedStateMachine):
    """One run."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.store: list[tuple[str, int, bytes]] = []
        self.state: RunState | None = None
        self.asked = 0

    def send(self, command: c.Command) -> list[e.Event]:
        try:
            done = decided(self.state, command)
        except Refused as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert isinstance(command, WISHES), f"{command} is no person's: {refused}"
            assert refused.hint
            return []
        assert done.events == decided(self.state, command).events, "the same question, another answer"
        self.store.extend(codec.encode(event) for event in done.events)
        self.state = done.state
        return done.events

    @initialize(seed=st.integers(0, 10**6))
    def accepted(self, seed: int) -> None:
        definition = random_definition(random.Random(seed))
        accept = c.AcceptRun(at=self.now, run_id="r", definition=definition, seed=seed, principal="me")
        assert self.send(accept)
        assert self.send(accept) == []

    # What fits: answers to the work that is to be done

    def work(self) -> list[t.Work]:
        assert self.state is not None
        return t.todo(self.state, self.now)

    @precondition(lambda self: self.work())
    @rule(which=st.integers(0, 20), well=st.integers(0, 9), error=ERRORS, cause=CAUSES, repeat=st.booleans())
    def answered(self, which: int, well: int, error: e.Failure, cause: e.Cause, repeat: bool) -> None:
        work = self.work()
        command = answer(work[which % len(work)], self.now, ok=well > 2, error=error, cause=cause)
        self.send(command)
        if repeat:
            assert self.send(command) == [], f"{command} counted twice"

    @precondition(lambda self: self.work())
    @rule(which=st.integers(0, 20))
    def begun(self, which: int) -> None:
        work = self.work()
        about = reported(work[which % len(work)])
        if about is not None:
            self.send(c.ReportStarted(at=self.now, **about))
            assert self.send(c.ReportStarted(at=self.now, **about)) == [], "begun twice"

    @rule()
    def woken(self) -> None:
        assert self.state is not None
        wake = t.wake_at(self.state)
        if wake is not None:
            self.now = max(self.now, wake)
        self.send(c.TimePassed(at=self.now))

    @rule(seconds=st.floats(0, 100))
    def time_passed(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.send(c.TimePassed(at=self.now))
        assert self.send(c.TimePassed(at=self.now)) == [], "time passed twice"

    # What may not fit: anything from anybody

    @rule(about=ABOUT, error=ERRORS, cause=CAUSES, kind=st.integers(0, 5))
    def any_report(self, about: dict[str, Any], error: e.Failure, cause: e.Cause, kind: int) -> None:
        later = self.now + timedelta(seconds=7)
        report = [
            lambda: c.ReportStarted(at=self.now, **about),
            lambda: c.ReportHeartbeat(at=self.now, details=kind, **about),
            lambda: c.ReportSuccess(at=self.now, output=[], **about),
            lambda: c.ReportFailure(at=self.now, error=error, cause=cause, **about),
            lambda: c.ReportStopped(at=self.now, **about),
            lambda: c.DeferAttempt(at=self.now, until=later, **about),
        ][kind]()
        before = self.state
        if self.send(report) == []:
            assert self.state == before

    @rule(
        step=STEPS,
        looks=st.integers(0, 3),
        verdict=VERDICTS,
        attempt=ATTEMPTS,
        side=st.sampled_from(["requires", "ensures"]),
    )
    def any_verdict(self, step: str, looks: int, verdict: e.Verdict, attempt: int, side: e.Side) -> None:
        self.send(c.ReportVerdict(at=self.now, step=step, looks=looks, verdict=verdict, outcome=OUTCOMES[verdict]))
        self.send(c.ReportCondition(at=self.now, step=step, side=side, attempt=attempt, verdict=verdict))

    @rule(step=STEPS, child=st.sampled_from(["x", "r.s0.1", "r.s1.1", "r.s1.1.0"]))
    def any_child(self, step: str, child: str) -> None:
        self.send(c.ReportChildEnded(at=self.now, step=step, child=child, state="failed"))

    @rule(step=STEPS, who=st.integers(0, 3), approve=st.booleans())
    def approved(self, step: str, who: int, approve: bool) -> None:
        command = c.GiveApproval(at=self.now, step=step, principal=f"p{who}", roles=("boss",), approve=approve)
        if self.send(command):
            assert self.send(command) == [], "one person, two answers"

    @rule()
    def event_sent(self) -> None:
        self.send(c.SendEvent(at=self.now, name="go"))

    @rule(
        what=st.sampled_from(["pause", "resume", "resume", "cancel", "terminate", "retry", "retry"]),
        rare=st.integers(0, 3),
    )
    def person(self, what: str, rare: int) -> None:
        if what in ("cancel", "terminate") and rare:
            return
        wish = {
            "pause": c.PauseRun(at=self.now),
            "resume": c.ResumeRun(at=self.now),
            "cancel": c.CancelRun(at=self.now, principal="me", grace_s=10.0 * rare),
            "terminate": c.TerminateRun(at=self.now),
            "retry": c.RetryRun(at=self.now, from_step="s0" if rare == 0 else None),
        }[what]
        self.send(wish)

    @rule()
    def snapshot(self) -> None:
        """A process that dies and comes back has the same state, from a snapshot or from the history."""
        assert self.state is not None
        self.state = decode_state(encode_state(self.state))

    # What stays true

    @invariant()
    def history_is_right(self) -> None:
        history = [codec.decode(*each) for each in self.store]
        if not history:
            return
        assert self.state is not None
        assert self.state.sequence == len(history), "not dense"
        assert fold(history) == self.state, "the state is not what the history says"
        check_history(history)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """No work: the run is over, paused, or waits for time, a child, a person or an event."""
        state = self.state
        if state is None:
            return
        work = self.work()
        keys = [each.key for each in work]
        assert len(set(keys)) == len(keys)
        if state.ended is not None:
            assert work == []
            assert t.wake_at(state) is None
        elif not work:
            steps = state.steps.values()
            waits = any(step.status == "waiting" or step.child or (step.map and step.map.children) for step in steps)
            assert waits or state.paused_at is not None or t.wake_at(state) is not None, "stuck"
        if state.paused_at is not None:
            assert all(getattr(each, "begun", True) for each in work), "begun in a pause"

    def teardown(self) -> None:
        if self.state is None:
            return
        self.finish()
        history = [codec.decode(*each) for each in self.store]
        check_history(history)
        assert replay_check(history) == []

    def finish(self) -> None:
        """Every accepted run can end."""
        for _ in range(3000):
            state = self.state
            assert state is not None
            if state.ended is not None:
                return
            if state.paused_at is not None:
                self.send(c.ResumeRun(at=self.now))
            work = self.work()
            if work:
                self.send(answer(work[0], self.now, ok=True, error=e.Failure(code="x", message="x"), cause="error"))
                continue
            self.finish_waits(state)
        raise AssertionError("the run does not end")

    def finish_waits(self, state: RunState) -> None:
        for name, step in state.steps.items():
            children = [step.child, *step.strays, *(step.map.children.values() if step.map else ())]
            for child in filter(None, children):
                self.send(c.ReportChildEnded(at=self.now, step=name, child=child, state="succeeded"))
            if step.status == "waiting" and step.gate is not None:
                self.asked += 1
                who = f"last{self.asked}"
                self.send(c.GiveApproval(at=self.now, step=name, principal=who, roles=("boss",)))
            if step.status == "waiting" and step.wait is not None and step.wait.event:
                self.send(c.SendEvent(at=self.now, name=step.wait.event))
        wake = t.wake_at(self.state) if self.state is not None else None
        if wake is not None:
            self.now = max(self.now, wake)
            self.send(c.TimePassed(at=self.now))


def reported(work: t.Work) -> dict[str, Any] | None:
    """How reports name the work, if a worker does it."""
    if isinstance(work, t.RunAttempt):
        return {"step": work.step, "attempt": work.attempt}
    if isinstance(work, t.RunChunk):
        return {"step": work.step, "attempt": work.attempt, "chunk": work.chunk}
    if isinstance(work, t.Compensate):
        return {"step": work.step, "attempt": work.attempt, "compensation": True}
    return None


def answer(work: t.Work, at: datetime, *, ok: bool, error: e.Failure, cause: e.Cause) -> c.Command:
    """What whoever does the work says in the end."""
    about = reported(work)
    if about is not None:
        return (
            c.ReportSuccess(at=at, output=[1], **about)
            if ok
            else c.ReportFailure(at=at, error=error, cause=cause, **about)
        )
    return judgement(work, at, ok=ok) or answer_of_machine(work, at, ok=ok)


def answer_of_machine(work: t.Work, at: datetime, *, ok: bool) -> c.Command:
    if isinstance(work, t.StopAttempt):
        return c.ReportStopped(at=at, step=work.step, attempt=work.attempt, begun=ok)
    if isinstance(work, t.StopChild):
        return c.ReportChildEnded(at=at, step=work.step, child=work.child, state="cancelled")
    if isinstance(work, t.StartChild):
        return c.ReportChildStarted(at=at, step=work.step, attempt=work.attempt, chunk=work.chunk, child=work.child)
    assert isinstance(work, t.PlanMap)
    return c.ReportItems(at=at, step=work.step, items=[1, 2, 3] if ok else [])


def judgement(work: t.Work, at: datetime, *, ok: bool) -> c.Command | None:
    if isinstance(work, t.JudgeCondition):
        verdict: e.Verdict = "true" if ok else "false"
        return c.ReportCondition(at=at, step=work.step, side=work.side, attempt=work.attempt, verdict=verdict)
    if not isinstance(work, t.JudgeGate):
        return None
    said = [given.approve for given in work.approvals]
    judged: e.Verdict = "false" if False in said or not ok else "true" if said else "unknown"
    return c.ReportVerdict(
        at=at,
        step=work.step,
        looks=work.looks,
        verdict=judged,
        outcome=OUTCOMES[judged],
        waits_for=(e.Need(path="approval", roles=("boss",)),),
    )


EngineMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestEngineMachine = EngineMachine.TestCase
