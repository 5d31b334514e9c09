"""The scripts that Redis runs, one step of the protocol each, by their names.

Every key that a script touches begins with the prefix in its ``KEYS[1]``, whose braces put all keys of a shard into
one hash slot (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError, ResponseError


@dataclass(frozen=True, slots=True)
class Script:
    """``sha`` is how the server knows ``text`` once it has seen it."""

    text: bytes
    sha: str


@cache
def script(name: str) -> Script:
    """The script of that name."""
    text = files(__name__).joinpath(f"{name}.lua").read_bytes()
    return Script(text=text, sha=hashlib.sha1(text, usedforsecurity=False).hexdigest())


def unknown(error: object) -> bool:
    """Whether the server does not know a script, so that nothing was done: it was restarted."""
    return isinstance(error, NoScriptError) or (isinstance(error, ResponseError) and "NOSCRIPT" in str(error))


def call(client: Any, name: str, key: str, *arguments: Any) -> Any:
    """What the script returns. Raises redis.exceptions.RedisError."""
    wanted = script(name)
    try:
        return client.evalsha(wanted.sha, 1, key, *arguments)
    except ResponseError as error:
        if not unknown(error):
            raise
    return client.eval(wanted.text, 1, key, *arguments)


def call_many(client: Any, name: str, asked: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
    """What the script returns, or the error that it ends with, for each key with its arguments, in one round trip.

    A server that was restarted has to be shown the script again. Raises redis.exceptions.RedisError.
    """
    wanted = script(name)
    replies = _pipelined(client, wanted.sha, asked)
    strange = [item for item, reply in zip(asked, replies, strict=True) if unknown(reply)]
    if not strange:
        return replies
    client.script_load(wanted.text)
    again = iter(_pipelined(client, wanted.sha, strange))
    return [next(again) if unknown(reply) else reply for reply in replies]


def _pipelined(client: Any, sha: str, asked: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
    with client.pipeline(transaction=False) as pipeline:
        for key, arguments in asked:
            pipeline.evalsha(sha, 1, key, *arguments)
        found: list[Any] = pipeline.execute(raise_on_error=False)
        return found
