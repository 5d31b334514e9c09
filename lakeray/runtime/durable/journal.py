"""A run between the engine's values and the store's bytes: read whole, appended decision by decision."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime

from lakeray.errors import StateFormat
from lakeray.runtime.durable.letters import letters
from lakeray.runtime.durable.notices import messages_of
from lakeray.state import Answer, Append, EventStore, NewEvent, RunHead, Snapshot
from lakeray.state import Event as Stored
from lakeray.workflow import codec
from lakeray.workflow.events import Event
from lakeray.workflow.evolve import fold
from lakeray.workflow.state import SNAPSHOT_FORMAT, RunState, decode_state, encode_state
from lakeray.workflow.timeouts import dues

SNAPSHOT_EVERY = 200
"""Events after which a run's state is kept beside them, so that a long history is not read from its beginning."""
_APPENDS = itertools.count()


def load(store: EventStore, run_id: str) -> RunState | None:
    """The run as the store has it; None when it has no such run. Raises StateFormat for one from a later release."""
    snapshot = store.load_snapshot(run_id)
    state = decode_state(snapshot.data) if snapshot is not None and snapshot.version == SNAPSHOT_FORMAT else None
    if state is not None and snapshot is not None and state.sequence != snapshot.sequence:
        state = None
    return fold(decoded(run_id, store.read(run_id, state.sequence if state else 0)), state)


def history(store: EventStore, run_id: str) -> list[Event]:
    """All events of the run. Raises StateFormat likewise."""
    return list(decoded(run_id, store.read(run_id)))


def decoded(run_id: str, stored: Iterable[Stored]) -> Iterable[Event]:
    """Events as the engine knows them. Raises StateFormat likewise."""
    for event in stored:
        try:
            yield codec.decode(event.type, event.version, event.data)
        except ValueError as error:
            raise StateFormat(
                f"event {event.sequence} of run {run_id} cannot be read: {error}",
                hint="use the version of lakeray that wrote it, or a newer one",
            ) from error


def append_of(
    state: RunState, events: Sequence[Event], *, expected: int, epoch: int, answers: Sequence[Answer] = ()
) -> Append:
    """The append of ``events`` behind the ``expected``-th that lead to ``state``."""
    return Append(
        append_id=f"{epoch}-{next(_APPENDS)}",  # nobody else ever has this epoch of the run's shard
        expected=expected,
        epoch=epoch,
        events=tuple(_stored(event) for event in events),
        head=head_of(state),
        answers=tuple(answers),
        messages=(*messages_of(state, events, expected), *letters(state, events, expected=expected)),
    )


def _stored(event: Event) -> NewEvent:
    name, version, data = codec.encode(event)
    return NewEvent(type=name, version=version, data=data, at=event.at)


def head_of(state: RunState) -> RunHead:
    """The run's row in the store's index."""
    return RunHead(
        run_id=state.run_id,
        tenant=state.definition.tenant,
        workflow=state.definition.workflow,
        state=state.phase,
        started_at=state.accepted_at,
        ended_at=state.ended_at,
        wake_at=next_due(state, state.at),
        parent=state.parent.run_id if state.parent else None,
        labels=state.labels,
    )


def next_due(state: RunState, seen: datetime) -> datetime | None:
    """The first instant at which time does something to the run; attempts that were due when it was ``seen`` last are
    named by ``todo`` already.
    """
    return min((due.at for due in dues(state) if due.what != "due" or due.at > seen), default=None)


def keep_snapshot(store: EventStore, state: RunState) -> None:
    """Keep the state beside its events."""
    data = encode_state(state)
    store.save_snapshot(Snapshot(run_id=state.run_id, sequence=state.sequence, version=SNAPSHOT_FORMAT, data=data))
