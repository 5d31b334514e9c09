"""The bytes that Redis keeps, and back: MessagePack (https://msgpack.org), times as microseconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lakeray.state.instants import from_us, maybe_from_us, maybe_us, to_us
from lakeray.state.port import Append, Command, Event, Message, RunHead

pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder().decode


def append_arguments(append: Append) -> list[Any]:
    """The arguments of ``append.lua`` behind the first, the highest position of the shard that was acknowledged."""
    arguments: list[Any] = [append.run_id, append.append_id, append.expected, append.epoch]
    arguments += (packed_head(append.head), len(append.events), len(append.messages), len(append.answers))
    for event in append.events:
        arguments += (event.type, event.version, to_us(event.at), event.data)
    for message in append.messages:
        said = pack((message.topic, message.data))
        arguments += (message.message_id, to_us(message.due_at), message.attempts, said)
    for answer in append.answers:
        arguments += (answer.command_id, answer.data)
    return arguments


def packed_head(head: RunHead) -> bytes:
    """A run's row, without what its key and its ``sequence`` field say."""
    row = {
        "tenant": head.tenant,
        "workflow": head.workflow,
        "state": head.state,
        "started": to_us(head.started_at),
        "ended": maybe_us(head.ended_at),
        "wake": maybe_us(head.wake_at),
        "parent": head.parent,
        "labels": dict(sorted(head.labels.items())),
    }
    return pack({name: value for name, value in row.items() if value is not None})


def head(row: Sequence[Any]) -> RunHead:
    """The inverse, from name, sequence and row."""
    known = unpack(row[2])
    return RunHead(
        run_id=row[0].decode(),
        tenant=known["tenant"],
        workflow=known["workflow"],
        state=known["state"],
        started_at=from_us(known["started"]),
        ended_at=maybe_from_us(known.get("ended")),
        wake_at=maybe_from_us(known.get("wake")),
        parent=known.get("parent"),
        labels=known["labels"],
        sequence=int(row[1]),
    )


def event(run_id: str, entry: Sequence[Any]) -> Event:
    """An entry of a run's stream, as ``append.lua`` writes it: its id, and names and values in turn."""
    stream_id, fields = entry
    known = dict(zip(fields[::2], fields[1::2], strict=True)) if isinstance(fields, list) else fields
    return Event(
        run_id=run_id,
        sequence=int(stream_id.partition(b"-")[2]),
        position=int(known[b"p"]),
        type=known[b"t"].decode(),
        version=int(known[b"v"]),
        data=known[b"d"],
        at=from_us(int(known[b"w"])),
    )


def message(row: Sequence[Any]) -> Message:
    """A row of ``messages.lua``."""
    topic, data = unpack(row[3])
    return Message(
        message_id=row[0].decode(), topic=topic, due_at=from_us(int(row[1])), data=data, attempts=int(row[2])
    )


def packed_command(command: Command) -> bytes:
    """What a command says, without its id."""
    return pack((command.run_id, command.data))


def command(row: Sequence[Any]) -> Command:
    """A row of ``received.lua``."""
    run_id, data = unpack(row[1])
    return Command(command_id=row[0].decode(), run_id=run_id, data=data)
