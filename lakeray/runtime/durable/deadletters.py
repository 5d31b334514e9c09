"""Dead letters as people see them: listed, looked at, done again, given up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, TypeVar

from lakeray.importer.recording.summary import Summary
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.embedded import read_state
from lakeray.runtime.durable.letters import Letter, kept, stands
from lakeray.runtime.durable.runs import RunsOf
from lakeray.runtime.durable.standing import error_of
from lakeray.runtime.durable.triggers.telling import KeptNotification, tell_again, undelivered
from lakeray.runtime.summary import ErrorSummary, RunSummary
from lakeray.state import EventStore, shard_of
from lakeray.workflow.refusal import Refused

Started = TypeVar("Started")
_WEBHOOK = "webhook/"


class DeadLetter(Summary):
    """One piece of work that was given up: a step, a chunk of its map, what should have undone it, or a webhook.

    Of a webhook ``step`` is its name in the file, ``run_id`` the run, or other thing, that it tells of. ``deaths`` are
    the workers that it took with it; ``archived``: its run has left the state.
    """

    letter: str
    run_id: str
    tenant: str
    workflow: str
    step: str
    kind: Literal["step", "chunk", "compensation", "webhook"]
    chunk: int | None = None
    at: datetime
    deaths: int = 0
    archived: bool = False
    error: ErrorSummary


@dataclass(frozen=True, kw_only=True)
class DeadLettersOf(Generic[Started]):
    """The dead letters of a state; ``runs`` does their work again."""

    state: str
    runs: RunsOf[Started]

    def list(self, *, workflow: str | None = None, tenant: str | None = None) -> list[DeadLetter]:
        """All whose work is still undone, the newest first."""
        with read_state(self.state) as store:
            found = [
                letter
                for letter in _letters(store)
                if workflow in (None, letter.workflow) and tenant in (None, letter.tenant)
            ]
        return sorted(found, key=lambda letter: letter.at, reverse=True)

    def show(self, letter: str) -> DeadLetter:
        """One letter, by its id or by that of its run when this has one alone. Raises Refused."""
        with self._one(letter) as (_, found):
            return found

    def redrive(self, letter: str) -> Started | RunSummary:
        """Go on with the run from what was given up, and all that did not succeed beside it. Raises Refused."""
        with self._one(letter) as (_, found):
            if found.kind == "webhook":
                raise Refused(f"{found.letter} is no work of a run", hint="`lake.deadletters.retell` has it told again")
            if found.archived:
                raise Refused(
                    f"run {found.run_id} of the letter was archived",
                    hint="begin a new run, then `lakeray deadletters discard` the letter",
                )
        return self.runs.retry(found.run_id)

    def retell(self, letter: str) -> DeadLetter:
        """Have `lakeray up` tell a webhook's address again. Raises Refused for any other letter."""
        with self._one(letter) as (store, found):
            if found.kind != "webhook":
                raise Refused(f"{found.letter} is no webhook", hint="`lakeray deadletters redrive` does its work again")
            tell_again(store, found.letter.removeprefix(_WEBHOOK), self.runs.now())
        return found

    def discard(self, letter: str) -> DeadLetter:
        """Give the work up for good: the letter is gone, the run stays as it is."""
        with self._one(letter) as (store, found):
            if found.kind == "webhook":
                undelivered(store).change(found.letter.removeprefix(_WEBHOOK), lambda _: None)
            else:
                store.settle(shard_of(found.run_id, store.shards), [found.letter])
        return found

    @contextmanager
    def _one(self, wanted: str) -> Iterator[tuple[EventStore, DeadLetter]]:
        with read_state(self.state) as store:
            found = [each for each in _letters(store) if wanted in (each.letter, each.run_id)]
            if len(found) != 1:
                listed = ", ".join(each.letter for each in found)
                hint = f"name one of: {listed}" if found else "`lakeray deadletters list` shows those there are"
                raise Refused(f"there are {len(found)} dead letters {wanted}", hint=hint)
            yield store, found[0]


def _letters(store: EventStore) -> Iterator[DeadLetter]:
    for letter_id, letter in kept(store):
        state = journal.load(store, letter.run_id)
        if stands(letter, state):
            yield _shown(letter_id, letter, archived=state is None)
    for name in undelivered(store).names():
        dead = undelivered(store).get(name)
        if dead is not None:
            yield _webhook(name, dead)


def _webhook(name: str, dead: KeptNotification) -> DeadLetter:
    event = dead.said.event
    error = ErrorSummary(
        code="not_handed_over",
        message=f"{dead.said.url} was told of {event['type']} in vain {dead.attempts} times: {dead.why}",
        hint="see to the address; `lakeray deadletters redrive` has it told again",
        uri=dead.said.url,
    )
    return DeadLetter(
        letter=f"{_WEBHOOK}{name}",
        run_id=event["subject"],
        tenant=event["data"]["tenant"],
        workflow=event["data"]["workflow"],
        step=dead.said.subscriber,
        kind="webhook",
        at=datetime.fromisoformat(event["time"]),
        error=error,
    )


def _shown(letter_id: str, letter: Letter, *, archived: bool) -> DeadLetter:
    kind: Literal["step", "chunk", "compensation"] = "step" if letter.chunk is None else "chunk"
    return DeadLetter(
        letter=letter_id,
        run_id=letter.run_id,
        tenant=letter.tenant,
        workflow=letter.workflow,
        step=letter.step,
        kind="compensation" if letter.compensation else kind,
        chunk=letter.chunk,
        at=letter.at,
        deaths=letter.deaths,
        archived=archived,
        error=error_of(letter.error, step=letter.step),
    )
