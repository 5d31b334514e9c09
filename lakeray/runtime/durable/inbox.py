"""Commands that other processes send through the store, and what they are answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from lakeray.errors import LakerayError, StateUnavailable
from lakeray.runtime.durable.decision import Asked
from lakeray.state import Answer, EventStore
from lakeray.state import Command as Sent
from lakeray.workflow.commands import decode_command
from lakeray.workflow.refusal import Refused

_AT_ONCE = 100


class Inbox:
    """What arrives for the shards of an owner, each command once."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._under_way: set[str] = set()

    def received(self, shards: Iterable[int]) -> Iterator[tuple[str, Asked]]:
        """New commands with the runs that they are for; what is none is answered at once."""
        waiting: set[str] = set()
        for shard in shards:
            for sent in self._store.received(shard, _AT_ONCE):
                waiting.add(sent.command_id)
                if sent.command_id in self._under_way:
                    continue
                self._under_way.add(sent.command_id)
                try:
                    command = decode_command(sent.data)
                except ValueError as error:
                    self.answer(sent, Refused(str(error), hint="use the same version of lakeray on both sides"))
                    continue
                yield sent.run_id, Asked(command, sent=sent)
        self._under_way &= waiting

    def answer(self, sent: Sent, refused: LakerayError | None) -> None:
        """Answer a command that led to no event; the sender asks again where the store cannot be reached."""
        try:
            self._store.answer(sent, encode_answer(refused))
        except StateUnavailable:
            self.again(sent)

    def again(self, sent: Sent) -> None:
        """Receive a command anew: nothing became of it here."""
        self._under_way.discard(sent.command_id)


def answers_to(told: Sequence[tuple[Asked, LakerayError | None]]) -> list[Answer]:
    """The answers that go with an append."""
    return [
        Answer(command_id=asked.sent.command_id, data=encode_answer(refused))
        for asked, refused in told
        if asked.sent is not None
    ]


def encode_answer(refused: LakerayError | None) -> bytes:
    """What a sender is told."""
    if refused is None:
        return b"{}"
    said = {"code": refused.code, "message": refused.message, "hint": refused.hint}
    return msgspec.json.encode({"refused": said})


def check_answer(data: bytes) -> None:
    """Raises Refused when the answer says so."""
    said: dict[str, Any] | None = msgspec.json.decode(data).get("refused")
    if said is not None:
        raise Refused(said["message"], hint=said["hint"])
