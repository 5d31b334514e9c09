"""`lakeray up` as a test holds it: runs are begun through the inbox and looked at in the state, as anybody may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lakeray
from lakeray.config import Settings
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.run import definition_of
from lakeray.runtime.durable.runs import send
from lakeray.spec.load import load_workflow
from lakeray.state import EventStore
from lakeray.workflow.commands import AcceptRun
from lakeray.workflow.state import RunState
from tests.polling import eventually


def begin(store: EventStore, file: Any, run_id: str, within_s: float = 60) -> None:
    """Have whoever owns the state begin a run of a workflow file, or of its text."""
    accept = AcceptRun(at=utc_now(), run_id=run_id, definition=definition_of(load_workflow(file)), seed=1)
    send(store, run_id, accept, within_s=within_s)


class Standing:
    """Over one state; not ``driven``: by somebody else. ``said`` is what it told."""

    def __init__(
        self,
        state: str,
        *,
        driven: bool = True,
        ray_address: str | None = None,
        files: Sequence[str] = (),
        **wishes: Any,
    ) -> None:
        self.said: list[dict[str, Any]] = []
        self.store: EventStore = open_state(state)
        lake = lakeray.connect(settings=Settings(cpus=2, state=state, ray_address=ray_address))
        self.up = lake.up(*files, say=self.said.append, grace_s=2, **wishes) if driven else None

    def begin(self, file: Any, run_id: str) -> None:
        if self.up is not None and self.up.done:
            self.up.result()  # raises why
        begin(self.store, file, run_id)

    def state(self, run_id: str) -> RunState:
        state = journal.load(self.store, run_id)
        assert state is not None
        return state

    def ended(self, run_id: str, within_s: float = 60) -> RunState:
        eventually(lambda: self.state(run_id).ended, within_s)
        return self.state(run_id)

    def running(self, run_id: str, step: str) -> None:
        eventually(lambda: self.state(run_id).steps[step].status == "running", 30)

    def leave(self) -> Any:
        """What it says at its end."""
        try:
            if self.up is None:
                return None
            self.up.cancel()
            return self.up.result(timeout=60)
        finally:
            self.store.close()
