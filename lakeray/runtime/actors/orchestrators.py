"""Orchestrators as named actors of Ray: each a cache over the store, restarted as often as it dies.

- With an embedded state there is one, on the node of whoever starts it: the file is there. With Redis there may be any
  number, spread over the nodes.
- One that was fenced drops everything and exits, so that nothing of what it believed is left; the actor's next life
  begins under a new name with what the store says.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lakeray.config import Settings
from lakeray.errors import LakerayError
from lakeray.runtime.actors.streams import Streams
from lakeray.runtime.actors.warm import Warm
from lakeray.runtime.actors.workers import Crew, RayWorkers
from lakeray.runtime.bench import utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable.embedded import absolute, is_file, open_state, owner_name
from lakeray.runtime.durable.shared import News, SharedOrchestrator
from lakeray.workflow.state import RunState

_log = logging.getLogger(__name__)
_LEAST_WARM = 2
_OPEN_AGAIN_S = 0.5
AFTER_GRACE_S = 5.0
"""Seconds beyond the grace of work after which an orchestrator lets go of runs whose work has not ended."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of how many orchestrators one is, the name of the actor that it asks for verdicts, how long its work has to
    end.

    A name, as Ray holds arguments with handles in its object store, which a restart of the actor cannot rely on
    (https://github.com/ray-project/ray/issues/53727).
    """

    number: int
    of: int
    gates: str
    grace_s: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How an orchestrator stands: under which name it owns which shards; ``why`` where it owns none."""

    owner: str
    shards: list[int]
    why: str | None = None


class OrchestratorActor:
    """The actor."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._place = place
        self._owner = f"orchestrator-{place.number}-{owner_name()}"
        self._orchestrator: SharedOrchestrator | None = None
        self._why: str | None = None
        self._left = threading.Event()
        self._opener = threading.Thread(target=self._open, name="lakeray-open", daemon=True)
        self._opener.start()

    def standing(self) -> Standing:
        """See ``Standing``."""
        if self._orchestrator is None:
            return Standing(owner=self._owner, shards=[], why=self._why)
        return Standing(owner=self._owner, shards=self._orchestrator.shards, why=self._orchestrator.why)

    def news(self) -> list[News]:
        """What has happened to its runs since it was asked last, the oldest first; of very much the newest alone."""
        return self._orchestrator.news() if self._orchestrator is not None else []

    def leave(self) -> None:
        """Stop what is at work, leave all runs as they are, let the next owner in."""
        self._left.set()
        self._opener.join()
        if self._orchestrator is not None:
            self._orchestrator.leave_all(self._place.grace_s + AFTER_GRACE_S)
            self._orchestrator.close()
            self._orchestrator.store.close()

    def _open(self) -> None:
        """Go on trying: what is away for a moment, the store or the gates' actor, may not end the actor for good."""
        while not self._left.is_set():
            try:
                gates, store = _actor(self._place.gates), open_state(self._settings.state)
            except (LakerayError, ValueError) as error:
                self._why = str(error)
                _log.warning("it cannot begin yet: %s", error)
                self._left.wait(_OPEN_AGAIN_S)
                continue
            crew = self._crew(gates)
            self._orchestrator = SharedOrchestrator(
                store,
                owner=self._owner,
                clock=utc_now,
                adopt=partial(_workers, crew),
                number=self._place.number,
                of=self._place.of,
                fenced=self._exit,
            )
            self._orchestrator.open()
            return

    def _crew(self, gates: Any) -> Crew:
        slots, streams = Cluster(self._settings).slots, Streams()
        return Crew(
            settings=self._settings,
            streams=streams,
            warm=Warm(streams, max(_LEAST_WARM, math.ceil(slots / self._place.of))),
            gates=gates,
            grace_s=self._place.grace_s,
        )

    def _exit(self) -> None:
        """Ray starts the actor again."""
        _log.warning("%s was fenced: it drops everything and begins anew", self._owner)
        os._exit(1)


def _actor(name: str) -> Any:
    """Raises ValueError while there is none of this name."""
    import ray

    return ray.get_actor(name)


def _workers(crew: Crew, _: RunState) -> RayWorkers:
    return RayWorkers(crew)


def start_orchestrators(settings: Settings, count: int, gates: str, *, grace_s: float, name: str) -> list[Any]:
    """Handles of ``count`` orchestrators, which Ray knows as ``name``-orchestrator-0 and so on."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    settings = replace(settings, state=absolute(settings.state))
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(OrchestratorActor)
    return [
        actor.options(
            name=f"{name}-orchestrator-{number}",
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=4,
            scheduling_strategy=here if is_file(settings.state) else "SPREAD",
        ).remote(settings, Place(number=number, of=count, gates=gates, grace_s=grace_s))
        for number in range(count)
    ]
