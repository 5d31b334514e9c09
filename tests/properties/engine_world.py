"""A world around the engine that its seed decides: clock, store, workers, people, and all that goes wrong.

The orchestrator crashes before and after each append and forgets what is under way; workers succeed, fail, die, hang,
lose replies, some twice at once; people approve, refuse, pause, cancel, terminate and try again. Nothing here sleeps.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lakeray.workflow import codec
from lakeray.workflow import commands as c
from lakeray.workflow import definition as d
from lakeray.workflow import events as e
from lakeray.workflow import todo as t
from lakeray.workflow.decide import decided
from lakeray.workflow.evolve import fold
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState

START = datetime(2024, 1, 1, tzinfo=UTC)
CALM_S = 1000.0
"""Nothing crashes any more from then on, nobody pauses."""
PATIENCE_S = 8000.0
"""Every run has to be over by then."""
OUTCOMES: dict[e.Verdict, e.Outcome] = {"true": "passed", "false": "refused", "unknown": "waiting"}
KINDS = ("python", "python", "python", "import", "gate", "wait", "map", "workflow")
FATES = ("ok", "ok", "ok", "ok", "error", "error", "fatal", "die", "hang", "lost")


def random_definition(chance: random.Random, *, depth: int = 0) -> d.Definition:
    """Up to eight steps of any kind, in any order that has no circle."""
    names = [f"s{n}" for n in range(chance.randint(1, 8 if depth == 0 else 3))]
    after = {name: tuple(b for b in names[:n] if chance.random() < 0.35) for n, name in enumerate(names)}
    steps = {}
    for name in names:
        kind = chance.choice(KINDS if depth == 0 else KINDS[:4])
        dependents = tuple(other for other in names if name in after[other])
        steps[name] = random_step(chance, name, kind, depth=depth, after=after[name], dependents=dependents)
    return d.Definition(workflow="w", tenant="t", steps=steps)


def random_step(chance: random.Random, name: str, kind: str, *, depth: int, **order: Any) -> d.StepPlan:
    works = kind not in ("gate", "wait")
    maybe = lambda share, value: value if chance.random() < share else None  # noqa: E731
    body: Any = {"function": "m:f"}
    child = None
    if kind == "wait":
        body = chance.choice([{"for": chance.uniform(1, 100)}, {"event": "go", "timeout": 200.0}, {"event": "go"}])
    elif kind == "map":
        over: Any = list(range(chance.randint(0, 9))) if chance.random() < 0.6 else "steps.x"
        body = {"over": over, "concurrency": chance.randint(1, 3), "chunk": chance.randint(1, 3), "python": "m:f"}
        if chance.random() < 0.3:
            body = {"over": over, "concurrency": 2, "workflow": {"file": "c.yaml"}}
            child = random_definition(chance, depth=depth + 1)
    elif kind == "workflow":
        body, child = {"file": "c.yaml"}, random_definition(chance, depth=depth + 1)
    return d.StepPlan(
        name=name,
        kind=kind,
        body=body,
        child=child,
        requires=maybe(0.15, {"python": "m:ok"}),
        ensures=maybe(0.15, {"python": "m:ok"}) if works else None,
        retry=d.RetryPlan(
            maximum_attempts=chance.randint(1, 4),
            initial_interval_s=chance.uniform(0, 5),
            maximum_interval_s=30.0,
            maximum_worker_deaths=chance.randint(1, 3),
            jitter=chance.choice((0.0, 0.3)),
            non_retryable_error_types=("never",) if chance.random() < 0.5 else (),
        ),
        timeouts=d.TimeoutPlan(
            schedule_to_start_s=maybe(0.1, 60.0),
            start_to_close_s=maybe(0.4, 20.0),
            schedule_to_close_s=maybe(0.2, 300.0) if works else maybe(0.5, 500.0),
            heartbeat_s=maybe(0.3, 9.0),
        ),
        on_failure=chance.choice(("fail", "skip_dependents", "continue")),
        compensate=maybe(0.5, "withdraw") if works else None,
        compensate_retry=d.RetryPlan(maximum_attempts=3, maximum_interval_s=10.0),
        **order,
    )


@dataclass
class Worker:
    """Work that goes on outside; a killed one neither does nor reports anything more."""

    work: t.Work
    alive: bool = True


@dataclass
class Sink:
    """Where effects go: one that knows keys, so that an effect whose key it has seen is not done again."""

    seen: set[str] = field(default_factory=set)
    undone: set[str] = field(default_factory=set)

    def do(self, key: str) -> None:
        self.seen.add(key)

    def undo(self, key: str) -> None:
        self.undone |= {key} | {each for each in self.seen if each.startswith(f"{key}/")}
        self.seen.add(key)

    def has(self, key: str) -> bool:
        return key in self.seen and key not in self.undone


@dataclass
class World:
    """``run`` goes on until nothing happens any more; then ``histories`` are what was stored."""

    seed: int
    crash_share: float = 0.03
    now_s: float = 0.0
    histories: dict[str, list[tuple[str, int, bytes]]] = field(default_factory=dict)
    sink: Sink = field(default_factory=Sink)
    crashes: int = 0
    stale: int = 0
    _memory: dict[str, RunState] = field(default_factory=dict)
    _busy: dict[str, Worker] = field(default_factory=dict)
    _orphans: list[Worker] = field(default_factory=list)
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _woken: dict[str, float] = field(default_factory=dict)
    _count: int = 0
    _down: bool = False

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    # Time

    def at(self, seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (self.now_s + max(delay_s, 0.0), self._count, act))

    def run(self, definition: d.Definition) -> None:
        self.accept("r", definition)
        self.people()
        while self._agenda:
            self.now_s, _, act = heapq.heappop(self._agenda)
            if self.now_s > PATIENCE_S:
                assert self._over(), f"seed {self.seed}: a run does not end"
                return
            act()

    # Store

    def accept(self, run_id: str, definition: d.Definition, parent: e.Parent | None = None) -> None:
        self.send(
            run_id,
            c.AcceptRun(at=self.at(self.now_s), run_id=run_id, definition=definition, parent=parent, seed=self.seed),
        )

    def state(self, run_id: str) -> RunState | None:
        if run_id not in self._memory and run_id in self.histories:
            folded = fold([codec.decode(*each) for each in self.histories[run_id]])
            assert folded is not None
            self._memory[run_id] = folded
        return self._memory.get(run_id)

    def send(self, run_id: str, command: c.Command) -> None:
        """Decide, append, act; the orchestrator may crash in between, and then the command was lost or not."""
        if self._down:
            self.later(2.0, lambda: self.send(run_id, command))
            return
        command = c.decode_command(c.encode_command(command))
        try:
            done = decided(self.state(run_id), command)
        except Refused:
            return
        self._is_current(run_id, command, done.events)
        crash_share = self.crash_share if self.now_s < CALM_S else 0.0
        if done.events:
            if self.chance.random() < crash_share:
                self.crash()
                self.later(2.0, lambda: self.send(run_id, command))
                return
            history = self.histories.setdefault(run_id, [])
            assert done.state.sequence == len(history) + len(done.events)
            history.extend(codec.encode(event) for event in done.events)
            self._memory[run_id] = done.state
            if self.chance.random() < crash_share:
                self.crash()
                return
        self.reconcile(run_id)

    def _is_current(self, run_id: str, command: c.Command, events: list[e.Event]) -> None:
        """A report about an attempt that is not the last one changes nothing."""
        if not isinstance(command, c.Report) or command.compensation or command.chunk is not None:
            return
        stored = [codec.decode(*each) for each in self.histories.get(run_id, ())]
        last = max((x.attempt for x in stored if isinstance(x, e.StepScheduled) and x.step == command.step), default=0)
        assert command.attempt <= last
        if command.attempt < last:
            self.stale += 1
            assert not events, f"seed {self.seed}: {command} came late and counted"

    def crash(self) -> None:
        """The orchestrator forgets everything; workers go on, their replies find nobody."""
        self.crashes += 1
        self._orphans.extend(self._busy.values())
        self._memory.clear()
        self._busy.clear()
        self._woken.clear()
        self._down = True
        self.later(1.0, self.recover)

    def recover(self) -> None:
        self._down = False
        for worker in self._orphans:
            worker.alive = worker.alive and self.chance.random() < 0.2
        self._orphans = [worker for worker in self._orphans if worker.alive]
        for run_id in list(self.histories):
            if self._down:
                return
            self.send(run_id, c.TimePassed(at=self.at(self.now_s)))

    # Reconciliation

    def reconcile(self, run_id: str) -> None:
        state = self.state(run_id)
        assert state is not None
        wanted = {work.key: work for work in t.todo(state, self.at(self.now_s))}
        for key, worker in list(self._busy.items()):
            if worker.work.run_id == run_id and key not in wanted and not isinstance(worker.work, t.StopAttempt):
                asked = f"{key}/stop"
                if asked not in wanted:
                    worker.alive = self.chance.random() < 0.3
                    del self._busy[key]
        for key, work in wanted.items():
            if key not in self._busy:
                self._busy[key] = Worker(work)
                self.later(self.chance.uniform(0, 0.2), lambda worker=self._busy[key]: self.start(worker))
        self.children(state)
        wake = t.wake_at(state)
        if wake is not None:
            due_s = (wake - START).total_seconds()
            if self._woken.get(run_id) != due_s:
                self._woken[run_id] = due_s
                self.later(
                    due_s - self.now_s, lambda: self.send(run_id, c.TimePassed(at=max(wake, self.at(self.now_s))))
                )
        if state.ended is not None and state.parent is not None and state.parent.run_id in self.histories:
            parent = state.parent.run_id
            self.later(0.1, lambda: None if self._down else self.reconcile(parent))

    def children(self, state: RunState) -> None:
        """Tell a run of children that are over: a message that may come any number of times."""
        if state.ended is not None:
            if state.ended == "terminated":
                for child in filter(self._alive, state.children):
                    self.later(0.1, lambda child=child: self.send(child, c.TerminateRun(at=self.at(self.now_s))))
            return
        for name, step in state.steps.items():
            known = [step.child, *step.strays, *(step.map.children.values() if step.map else ())]
            for child in filter(None, known):
                ended = self.state(child)
                if ended is not None and ended.ended is not None:
                    report = c.ReportChildEnded(
                        at=self.at(self.now_s), step=name, child=child, state=ended.ended, output={"ok": child}
                    )
                    self.later(0.05, lambda report=report: self.tell(state.run_id, report))

    def _alive(self, run_id: str) -> bool:
        state = self.state(run_id)
        return state is not None and state.ended is None

    def tell(self, run_id: str, command: c.Command) -> None:
        """Send a command as of now."""
        self.send(run_id, c.decode_command(c.encode_command(command)))

    # Workers

    def start(self, worker: Worker) -> None:
        if worker.alive:
            act = {
                t.RunAttempt: self._run_attempt,
                t.RunChunk: self._run_chunk,
                t.Compensate: self._compensate,
                t.StopAttempt: self._stop_attempt,
                t.StartChild: self._start_child,
                t.StopChild: self._stop_child,
                t.PlanMap: self._plan_map,
                t.JudgeCondition: self._judge_condition,
                t.JudgeGate: self._judge_gate,
            }
            act[type(worker.work)](worker, worker.work)

    def reply(self, worker: Worker, delay_s: float, command: Callable[[datetime], c.Command]) -> None:
        def say() -> None:
            if worker.alive and not self._down:
                self._busy = {key: each for key, each in self._busy.items() if each is not worker}
                self.send(worker.work.run_id, command(self.at(self.now_s)))

        self.later(delay_s, say)

    def _run_attempt(self, worker: Worker, work: t.RunAttempt) -> None:
        self._try(worker, work, {"step": work.step, "attempt": work.attempt}, work.idempotency_key)

    def _run_chunk(self, worker: Worker, work: t.RunChunk) -> None:
        about = {"step": work.step, "attempt": work.attempt, "chunk": work.chunk}
        self._try(worker, work, about, f"{work.idempotency_key}/{work.first}", output=[work.first] * work.count)

    def _compensate(self, worker: Worker, work: t.Compensate) -> None:
        about = {"step": work.step, "attempt": work.attempt, "compensation": True}
        self._try(worker, work, about, work.idempotency_key.removesuffix("/undo"), undo=True)

    def _try(
        self, worker: Worker, work: Any, about: dict[str, Any], key: str, *, output: Any = "done", undo: bool = False
    ) -> None:
        """One try at work of any kind."""
        if work.begun:
            failure = e.Failure(code="worker_died", message="nobody is at it")
            self.reply(worker, 0.5, lambda at: c.ReportFailure(at=at, error=failure, cause="worker_died", **about))
            return
        if self.chance.random() < 0.1:
            until = self.at(self.now_s + self.chance.uniform(0, 20))
            self.reply(worker, 0.1, lambda at: c.DeferAttempt(at=at, until=max(at, until), reason="open", **about))
            return
        self._at_work(worker, work, about, key, output=output, undo=undo)

    def _at_work(self, worker: Worker, work: Any, about: dict[str, Any], key: str, *, output: Any, undo: bool) -> None:
        limits = work.plan.timeouts
        timed = limits.start_to_close_s or (limits.heartbeat_s and not undo)
        fate = self.chance.choice(FATES)
        if fate == "hang" and not timed:
            fate = "die"
        if timed or self.chance.random() < 0.5:
            self.send(work.run_id, c.ReportStarted(at=self.at(self.now_s), worker="w", **about))
            if not worker.alive or self._down:
                return
        takes_s = self.chance.uniform(0, 6)
        if fate == "hang":
            takes_s += self.chance.choice((100.0, 2 * PATIENCE_S))
            fate = self.chance.choice(("ok", "error"))
        if fate in ("error", "fatal"):
            code = self.chance.choice(("flaky", "never"))
            failure = e.Failure(code=code, message="it failed", retryable=fate == "error")
            self.reply(worker, takes_s, lambda at: c.ReportFailure(at=at, error=failure, **about))
            return
        if limits.heartbeat_s and self.chance.random() < 0.5:
            beat = c.ReportHeartbeat(at=self.at(self.now_s + takes_s / 2), details={"at": takes_s}, **about)
            self.later(takes_s / 2, lambda: self.send(work.run_id, beat) if worker.alive else None)
        if fate in ("ok", "lost"):
            self.later(takes_s, lambda: self._effect(worker, key, undo=undo))
        if fate == "ok":
            self.reply(worker, takes_s, lambda at: c.ReportSuccess(at=at, output=output, **about))
        else:
            failure = e.Failure(code="worker_died", message="the worker is gone")
            self.reply(
                worker, takes_s + 1, lambda at: c.ReportFailure(at=at, error=failure, cause="worker_died", **about)
            )

    def _effect(self, worker: Worker, key: str, *, undo: bool) -> None:
        """The sink knows keys: the same effect twice is one."""
        if not worker.alive:
            return
        if undo:
            self.sink.undo(key)
        else:
            self.sink.do(key)

    def _stop_attempt(self, worker: Worker, work: t.StopAttempt) -> None:
        prefix = work.key.removesuffix("/stop")
        at_work = [key for key in self._busy if key == prefix or key.startswith(f"{prefix}/chunk-")]
        for key in at_work:
            self._busy.pop(key).alive = False
        if self.chance.random() < 0.2:
            return
        step, attempt, begun = work.step, work.attempt, bool(at_work)
        self.reply(worker, 0.5, lambda at: c.ReportStopped(at=at, step=step, attempt=attempt, begun=begun))

    def _start_child(self, worker: Worker, work: t.StartChild) -> None:
        if work.child not in self.histories:
            assert work.definition is not None
            parent = e.Parent(run_id=work.run_id, step=work.step, attempt=work.attempt, chunk=work.chunk)
            self.accept(work.child, work.definition, parent)
        if work.child in self.histories:
            self.reply(
                worker,
                0.1,
                lambda at: c.ReportChildStarted(
                    at=at, step=work.step, attempt=work.attempt, chunk=work.chunk, child=work.child
                ),
            )
        else:
            self._busy.pop(work.key, None)

    def _stop_child(self, worker: Worker, work: t.StopChild) -> None:
        child = self.state(work.child)
        if child is None or child.ended is not None:
            ended = child.ended if child is not None and child.ended is not None else "cancelled"
            self.reply(worker, 0.1, lambda at: c.ReportChildEnded(at=at, step=work.step, child=work.child, state=ended))
        else:
            self.send(work.child, c.CancelRun(at=self.at(self.now_s), principal="parent"))
            self.later(5.0, lambda: self.start(worker))

    def _plan_map(self, worker: Worker, work: t.PlanMap) -> None:
        items = list(range(self.chance.randint(0, 7)))
        if self.chance.random() < 0.2:
            failure = e.Failure(code="flaky", message="no items")
            self.reply(
                worker, 0.5, lambda at: c.ReportFailure(at=at, step=work.step, attempt=work.attempt, error=failure)
            )
        else:
            self.reply(worker, 0.5, lambda at: c.ReportItems(at=at, step=work.step, items=items))

    def _judge_condition(self, worker: Worker, work: t.JudgeCondition) -> None:
        verdict: e.Verdict = self.chance.choice(("true", "true", "true", "false", "unknown"))
        self.reply(
            worker,
            0.2,
            lambda at: c.ReportCondition(at=at, step=work.step, side=work.side, attempt=work.attempt, verdict=verdict),
        )

    def _judge_gate(self, worker: Worker, work: t.JudgeGate) -> None:
        said = [given.approve for given in work.approvals]
        expires = work.opened_at + timedelta(seconds=100)
        late = self.at(self.now_s) >= expires
        verdict: e.Verdict = "false" if False in said else "true" if True in said else "unknown"
        need = e.Need(path="approval", roles=("boss",), until=None if late else expires, escalated=late)
        waits_for = (need,) if verdict == "unknown" else ()
        outcome = OUTCOMES[verdict]
        self.reply(
            worker,
            0.2,
            lambda at: c.ReportVerdict(
                at=at, step=work.step, looks=work.looks, verdict=verdict, outcome=outcome, waits_for=waits_for
            ),
        )

    # People

    def people(self) -> None:
        """What they do at which time; in the end somebody always answers at gates, sends events and resumes."""
        act, chance = self._person, self.chance
        if chance.random() < 0.3:
            paused = chance.uniform(0, 60)
            act(paused, lambda at, _: c.PauseRun(at=at, principal="p"))
            act(paused + chance.uniform(0, 100), lambda at, _: c.ResumeRun(at=at, principal="p"))
        if chance.random() < 0.15:
            act(chance.uniform(0, 80), lambda at, _: c.CancelRun(at=at, principal="p", grace_s=chance.uniform(0, 30)))
        if chance.random() < 0.05:
            act(chance.uniform(0, 80), lambda at, _: c.TerminateRun(at=at, principal="p"))
        if chance.random() < 0.6:
            act(2000.0, lambda at, _: c.RetryRun(at=at, principal="p"))
        self.later(chance.uniform(0, 50), self.gates)
        self.later(chance.uniform(0, 300), self.events)

    def _person(self, when_s: float, wish: Callable[[datetime, RunState], c.Command]) -> None:
        def act() -> None:
            state = self.state("r")
            if state is not None:
                self.send("r", wish(self.at(self.now_s), state))

        self.later(when_s, act)

    def _over(self) -> bool:
        states = [self.state(run_id) for run_id in self.histories]
        return bool(states) and all(state is None or state.ended is not None for state in states)

    def gates(self) -> None:
        for run_id in list(self.histories):
            state = self.state(run_id)
            assert state is not None
            for name, step in state.steps.items():
                if step.status == "waiting" and step.gate is not None and state.ended is None:
                    who, approve = f"p{self._count}", self.chance.random() < 0.8
                    at = self.at(self.now_s)
                    self.send(
                        run_id,
                        c.GiveApproval(at=at, step=name, principal=who, roles=("boss",), approve=approve),
                    )
        if not self._over() or self.now_s < 2500.0:
            self.later(self.chance.uniform(20, 400), self.gates)

    def events(self) -> None:
        for run_id in list(self.histories):
            state = self.state(run_id)
            if state is not None and state.ended is None:
                self.send(run_id, c.SendEvent(at=self.at(self.now_s), name="go", data=self.now_s))
            if state is not None and state.paused_at is not None and self.now_s > CALM_S:
                self.send(run_id, c.ResumeRun(at=self.at(self.now_s)))
        if not self._over() or self.now_s < 2500.0:
            self.later(300.0, self.events)
