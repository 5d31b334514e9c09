"""What the scripts' replies mean."""

from __future__ import annotations

from typing import Any

from lakeray.errors import LakerayError, StateError
from lakeray.state import refusals
from lakeray.state.port import Append, Appended
from lakeray.state.redis.failures import translated


def appended(append: Append, shard: int, floor: int, reply: Any, address: str) -> Appended:
    """The reply of ``append.lua``. Raises what it refuses with."""
    if isinstance(reply, Exception):
        raise translated(address, reply) from reply
    word, number = reply[0].decode(), reply[1]
    if word == "stored":
        return Appended(run_id=append.run_id, sequence=number, position=reply[2])
    raise _refusal(append, shard, floor, word, number)


def _refusal(append: Append, shard: int, floor: int, word: str, found: int) -> LakerayError:
    match word:
        case "conflict":
            return refusals.sequence_conflict(append, found)
        case "run_went_back":
            return refusals.run_went_back(append, found)
        case "feed_went_back":
            return refusals.feed_went_back(shard, floor, found)
        case "lease_went_back":
            return refusals.lease_went_back(shard, append.epoch, found)
        case "fenced":
            return refusals.fenced(shard, append.epoch, found)
    return StateError(f"an append was answered with {word!r}", hint="this is a defect, please report it")
