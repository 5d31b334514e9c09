"""`lakeray up`: drives all runs of a state until it is stopped, and begins those that schedules and triggers name.

The state is all that it knows: what earlier processes left is carried on, and what it leaves the next one carries on.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lakeray.config import Settings
from lakeray.errors import ConfigError, LakerayError
from lakeray.importer.recording.summary import Summary
from lakeray.observability.figures import counted
from lakeray.runtime.actors.gates import start_gate_controller
from lakeray.runtime.actors.orchestrators import AFTER_GRACE_S, start_orchestrators
from lakeray.runtime.actors.workers import GRACE_S
from lakeray.runtime.bench import utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable.duties import Duties, DutiesOf
from lakeray.runtime.durable.embedded import is_file, open_state
from lakeray.runtime.durable.retention import keeping
from lakeray.runtime.durable.triggers.duties import duties, register
from lakeray.spec.model import Workflow
from lakeray.state import EventStore

Register = Callable[[EventStore, Workflow, datetime], list[str]]
"""Makes known what begins runs of a workflow, as the file says it now; sentences about that."""
REGISTERS: tuple[Register, ...] = (register,)
DUTIES: tuple[DutiesOf, ...] = (duties, keeping)
_LOOK_S = 0.5
_ORCHESTRATORS_OF_A_CLUSTER = 2
_LAST_ANSWER_S = 5.0

Say = Callable[[dict[str, Any]], None]


class UpSummary(Summary):
    """What was driven: how the orchestrators stood at the end, runs that were not over then, by id."""

    state: str
    orchestrators: int
    duties: list[str]
    left: list[str]


@dataclass(eq=False)
class Up:
    """``execute`` returns once it was asked to stop by ``cancel``. ``say`` is told what goes on, a record at a time:
    ``event`` is a sentence, with ``run``, ``workflow`` and ``step`` where it is about one.
    """

    settings: Settings
    cluster: Cluster
    say: Say
    workflows: Sequence[Workflow] = ()
    orchestrators: int | None = None
    grace_s: float = GRACE_S
    now: Callable[[], datetime] = utc_now
    run_id: str = field(default_factory=lambda: f"lakeray-{uuid.uuid4().hex[:6]}")
    _stop: threading.Event = field(default_factory=threading.Event)
    _actors: list[Any] = field(default_factory=list)
    _gates: Any = None
    _standing: dict[int, str] = field(default_factory=dict)
    _duties: list[str] = field(default_factory=list)
    _left: list[str] = field(default_factory=list)

    def cancel(self) -> None:
        """Stop what is at work, leave the runs to the next process."""
        self._stop.set()

    def summary(self) -> UpSummary:
        """How it stands."""
        kind = self.settings.state.partition(":")[0]
        return UpSummary(state=kind, orchestrators=len(self._actors), duties=self._duties, left=self._left)

    def execute(self) -> UpSummary:
        """Drive runs. Raises ConfigError, StateUnavailable, where that cannot begin."""
        count = self._count()
        with open_state(self.settings.state) as store:
            duties = [duty for make in DUTIES for duty in make(store, self.now)]
            self._duties = [duty.name for duty in duties]
            self.cluster.connect()
            gates = f"{self.run_id}-gates"
            self._gates = start_gate_controller(gates)
            self._actors = start_orchestrators(self.settings, count, gates, grace_s=self.grace_s, name=self.run_id)
            for workflow in self.workflows:
                self._register(store, workflow)
            ticking = Duties(duties)
            ticking.open()
            try:
                while not self._stop.is_set():
                    self._look()
                    self._stop.wait(_LOOK_S)
            finally:
                ticking.close()
                self._leave()
                self._left = _active(store)
        return self.summary()

    def _count(self) -> int:
        embedded = is_file(self.settings.state)
        wanted = self.orchestrators or (1 if embedded else _ORCHESTRATORS_OF_A_CLUSTER)
        if embedded and wanted > 1:
            raise ConfigError(
                f"{wanted} orchestrators cannot share an embedded state: one process owns its file",
                hint="set LAKERAY_STATE to redis://host:port/db, or start one orchestrator",
            )
        return wanted

    def _register(self, store: EventStore, workflow: Workflow) -> None:
        said = [sentence for register in REGISTERS for sentence in register(store, workflow, self.now())]
        if not said:
            said = ["nothing in the file begins its runs: `lakeray run` does"]
        for sentence in said:
            self.say({"event": sentence, "workflow": workflow.workflow})

    def _look(self) -> None:
        """Tell what the orchestrators have to say."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        for number, actor in enumerate(self._actors):
            try:
                standing = ray.get(actor.standing.remote(), timeout=_LAST_ANSWER_S)
                news = ray.get(actor.news.remote(), timeout=_LAST_ANSWER_S)
            except GetTimeoutError:
                answered = self._standing.get(number, _starts(number)) != _starts(number)
                self._stands(number, f"orchestrator {number} does not answer" if answered else _starts(number))
                continue
            except RayError:
                self._stands(number, f"orchestrator {number} died: Ray starts it again")
                continue
            if standing.shards:
                self._stands(number, f"{standing.owner} drives {counted(len(standing.shards), 'shard')}")
            elif standing.why is not None:
                self._stands(number, f"orchestrator {number} waits: {standing.why}")
            for each in news:
                where = {"step": each.step} if each.step is not None else {}
                self.say({"event": each.said, "workflow": each.workflow, "run": each.run_id, **where})

    def _stands(self, number: int, said: str) -> None:
        if self._standing.get(number) != said:
            self._standing[number] = said
            self.say({"event": said})

    def _leave(self) -> None:
        """Have the orchestrators let go of their runs; one that does not answer is ended, its lease ends by itself."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        leaving = [actor.leave.remote() for actor in self._actors]
        for left in leaving:
            with suppress(GetTimeoutError, RayError):
                ray.get(left, timeout=self.grace_s + AFTER_GRACE_S + _LAST_ANSWER_S)
        with suppress(RayError, LakerayError):
            self._look()
        for actor in (*self._actors, self._gates):
            ray.kill(actor)


def _starts(number: int) -> str:
    return f"orchestrator {number} starts"


def _active(store: EventStore) -> list[str]:
    return [head.run_id for shard in range(store.shards) for head in store.active(shard)]
