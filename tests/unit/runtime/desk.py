"""An orchestrator in the test's process that attends to every run of a store, and what its runs did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lakeray.errors import LeaseHeld
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.held import Held
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.state import EventStore
from lakeray.workflow.state import RunState
from tests.polling import eventually
from tests.unit.runtime import durable_world as world

WITHIN_S = 60


@dataclass
class Desk:
    """``store`` may be any that keeps the contract, or breaks it."""

    folder: Path
    store: EventStore
    orchestrator: Orchestrator

    def begin(self, run_id: str, name: str = "steady") -> None:
        self.orchestrator.tell(run_id, world.accept(self.folder, name, run_id)).result(WITHIN_S)

    def let_go(self) -> None:
        """Steps that wait for it end."""
        (self.folder / "let-go").touch()

    def held(self, run_id: str) -> Held | None:
        return self.orchestrator._runs.get(run_id)

    def at_step(self, run_id: str, step: str) -> None:
        """Wait until the step's worker is at it and the history says so."""
        eventually(lambda: asked(self.folder)[f"{run_id}~{step}"], WITHIN_S, every_s=0.005)

    def tried_again(self, run_id: str, tries: int = 3) -> None:
        """Wait until an append of the run was tried so often."""

        def look() -> bool:
            held = self.held(run_id)
            return held is not None and held.sending is not None and held.sending.tries >= tries

        eventually(look, WITHIN_S, every_s=0.005)

    def ended(self, run_id: str) -> RunState:
        """The run as the store has it once it is over."""

        def look() -> RunState | None:
            state = journal.load(self.store, run_id)
            return state if state is not None and state.ended is not None else None

        found = eventually(look, WITHIN_S, every_s=0.01)
        assert found is not None
        return found


def asked(folder: Path) -> Counter[str]:
    """How often each effect was asked for."""
    place = folder / "asked"
    return Counter(place.read_text().split() if place.exists() else [])


def stopped(pid: int) -> bool:
    """Whether the process was stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@contextmanager
def desk(
    folder: Path, uri: str, patch: pytest.MonkeyPatch, *, store: EventStore | None = None, **options: Any
) -> Iterator[Desk]:
    """Attends to the runs of the store once it is free; left as it stands at the end."""
    if not (folder / "sink").exists():
        world.prepare(folder)
    patch.setenv("SINK", str(folder / "sink"))
    patch.setenv("LAKERAY_STATE", uri)
    with ExitStack() as opened:
        used = store or opened.enter_context(open_state(uri))
        said = {"ttl_s": 60.0, "poll_s": 0.02, "adopt": world.workers_of, **options}
        orchestrator = Orchestrator(used, owner=world.someone(), clock=utc_now, **said)
        eventually(lambda: _open(orchestrator), WITHIN_S, every_s=0.02)
        opened.callback(orchestrator.close)
        yield Desk(folder=folder, store=used, orchestrator=orchestrator)


def _open(orchestrator: Orchestrator) -> bool:
    try:
        orchestrator.open()
    except LeaseHeld:
        return False
    return True


def check_steady(folder: Path, uri: str, *runs: str, once: bool = True) -> None:
    """The runs succeeded; each completion and each effect is there once, and (``once``) was asked for once."""
    found = world.histories(uri)
    assert set(found) == set(runs)
    for events in found.values():
        assert world.completions(events) == {"one": 1, "two": 1, "three": 1}
        assert events[-1].state == "succeeded"  # type: ignore[attr-defined]
    wanted = {f"{run_id}~{step}" for run_id in runs for step in ("one", "two", "three")}
    assert world.effects(folder) == wanted
    if once:
        assert asked(folder) == dict.fromkeys(wanted, 1)
