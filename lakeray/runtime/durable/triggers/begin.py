"""Begins and ends the runs of fires: a run's id comes from its fire's key, so that beginning it twice is once.

Everything goes through the store's inbox, whoever owns the runs; a command's id says what it is for, so that it arrives
once however often it is sent.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lakeray.failpoints import failpoint
from lakeray.runtime.durable.triggers.registered import Registered
from lakeray.state import Command, EventStore
from lakeray.workflow import commands as c
from lakeray.workflow.definition import Definition
from lakeray.workflow.overlap import Action, Cancel, Fire, Lane, Start, Terminate, unfinished


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The run of a fire is over."""

    key: str
    run_id: str
    state: str


def run_of(file: Registered, key: str) -> str:
    """The run of a fire of the file: the same on every machine."""
    return f"run-{hashlib.sha256(f'{file.name}/{key}'.encode()).hexdigest()[:16]}"


def ended_runs(store: EventStore, file: Registered, lane: Lane) -> list[Ended]:
    """Those of the lane's runs that are over."""
    found = []
    for fire in lane.running:
        head = store.head(run_of(file, fire.key))
        if head is not None and head.ended_at is not None:
            found.append(Ended(key=fire.key, run_id=head.run_id, state=head.state))
    return found


def carry_out(store: EventStore, file: Registered, lane: Lane, *, trigger: str, now: datetime) -> None:
    """Begin and end what the lane, as it is kept, says; what is begun or ended already is left alone."""
    for action in unfinished(lane):
        _do(store, file, action, trigger=trigger, now=now)


def _do(store: EventStore, file: Registered, action: Action, *, trigger: str, now: datetime) -> None:
    key = action.fire.key if isinstance(action, Start) else getattr(action, "key", "")
    run_id = run_of(file, key)
    head = store.head(run_id)
    if isinstance(action, Start):
        if head is None:
            failpoint("before_fire_sent")
            begin(
                store,
                run_id,
                file.definition,
                principal=file.principal,
                trigger=trigger,
                labels=labels_of(action.fire),
                arguments={"fire": told_of(action.fire)},
                now=now,
            )
            failpoint("after_fire_sent")
    elif head is not None and head.ended_at is None:
        reason = "another run of the same schedule or trigger is due"
        if isinstance(action, Cancel):
            tell(store, run_id, c.CancelRun(at=now, principal=file.principal, reason=reason), why="overlap")
        elif isinstance(action, Terminate):
            tell(store, run_id, c.TerminateRun(at=now, principal=file.principal, reason=reason), why="overlap")


def labels_of(fire: Fire) -> dict[str, str]:
    """What a run's row in the index says about why it began."""
    chain = {"chain": fire.detail["chain"]} if "chain" in fire.detail else {}
    return {"fire": fire.key, **chain}


def told_of(fire: Fire) -> dict[str, Any]:
    """What a run is told about why it began, as ``arguments["fire"]``."""
    return {"name": fire.name, "at": fire.at.isoformat(), **fire.detail}


def begin(
    store: EventStore,
    run_id: str,
    definition: Definition,
    *,
    principal: str,
    trigger: str,
    labels: Mapping[str, str],
    arguments: Mapping[str, Any],
    now: datetime,
) -> None:
    """Have the run accepted by whoever owns its shard; asked again, it has been."""
    accept = c.AcceptRun(
        at=now,
        run_id=run_id,
        definition=definition,
        principal=principal,
        trigger=trigger,
        labels=dict(labels),
        arguments=dict(arguments),
        seed=zlib.crc32(run_id.encode()),
    )
    tell(store, run_id, accept, why="begin")


def tell(store: EventStore, run_id: str, command: c.Command, *, why: str) -> None:
    """Leave a command for the run's owner, once for each ``why``."""
    store.send(Command(command_id=f"{run_id}/{why}", run_id=run_id, data=c.encode_command(command)))
