"""Dead letters as a run leaves them: work that could not be done, kept until a person has it done again.

A letter is a message in the outbox of the run's shard, written by the very append that says StepDeadLettered, so that
there is one exactly when the history says so. It is due in a far year: whoever hands messages over never sees it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from lakeray.errors import StateError
from lakeray.state import EventStore, Message, shard_of
from lakeray.workflow import events as e
from lakeray.workflow.state import RunState

_log = logging.getLogger(__name__)
TOPIC = "deadletter"
NEVER = datetime(2200, 1, 1, tzinfo=UTC)
"""When letters are due. Later years would lose microseconds in a Redis score."""
_AT_ONCE = 100_000
FORMAT = 1


class Letter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of work that was given up: a step, a ``chunk`` of its map, or its ``compensation``.

    ``deaths`` are the workers that it took with it.
    """

    run_id: str
    tenant: str
    workflow: str
    step: str
    at: datetime
    error: e.Failure
    deaths: int = 0
    chunk: int | None = None
    compensation: bool = False
    format: int = FORMAT


def letters(state: RunState, events: Sequence[e.Event], *, expected: int) -> Iterator[Message]:
    """The letters that events behind the ``expected``-th bring; the same ones whenever they are sent again."""
    for sequence, event in enumerate(events, expected + 1):
        if isinstance(event, e.StepDeadLettered):
            letter = Letter(
                run_id=state.run_id,
                tenant=state.definition.tenant,
                workflow=state.definition.workflow,
                step=event.step,
                at=event.at,
                error=event.error,
                deaths=event.deaths,
                chunk=event.chunk,
                compensation=event.compensation,
            )
            letter_id = f"{TOPIC}/{state.run_id}/{sequence}"
            yield Message(message_id=letter_id, topic=TOPIC, due_at=NEVER, data=msgspec.json.encode(letter))


def kept(store: EventStore, shards: Sequence[int] | None = None) -> Iterator[tuple[str, Letter]]:
    """The letters in the store, by their ids; of these shards, or of all."""
    for shard in range(store.shards) if shards is None else shards:
        for message in store.messages(shard, NEVER, _AT_ONCE):
            if message.topic == TOPIC:
                yield message.message_id, msgspec.json.decode(message.data, type=Letter)


def stands(letter: Letter, state: RunState | None) -> bool:
    """Whether the work is still undone; of a run that was archived, yes."""
    if state is None:
        return True
    step = state.steps.get(letter.step)
    if step is None:
        return False
    if letter.compensation:
        return step.undo_error is not None
    return letter.chunk in step.map.failed if letter.chunk is not None and step.map else step.status == "dead_lettered"


class Letters:
    """Takes the letters of a run out of the store once the run does their work again."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def heard(self, state: RunState, events: Sequence[e.Event]) -> None:
        """What happened to a run; letters that cannot be taken out now are none all the same, see ``stands``."""
        if not any(isinstance(event, e.RetryRequested) for event in events):
            return
        shard = shard_of(state.run_id, self._store.shards)
        try:
            mine = [name for name, letter in kept(self._store, [shard]) if letter.run_id == state.run_id]
            self._store.settle(shard, mine)
        except StateError as error:
            _log.warning("dead letters of run %s stay in the state: %s", state.run_id, error.message)
