"""How changes of rows are told: which rows are the same, which change is later, what deletes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from lakeray.spec.strict import Complaint, Spec, repeated
from lakeray.spec.texts import Text
from lakeray.spec.wrong import WrongValue, quoted

KEYLESS = ("append", "overwrite")
"""Modes that only add rows, or replace all of them."""
_ONLY_WITH_KEY = ("key", "sequence", "delete_when", "operation", "partial", "leave_out", "history")


class Operation(Spec):
    """A change feed's column that says what each change is."""

    column: Text
    """The column. It does not become a column of the table."""
    insert: list[Text] = Field(default_factory=list)
    """Its values, as text, for a new row. Default: none."""
    update: list[Text] = Field(default_factory=list)
    """Its values for a changed row. Default: none. Rows with any other value are quarantined."""
    delete: list[Text] = Field(default_factory=list)
    """Its values for a deleted row, which needs no more than key and sequence. Default: none."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """No value at all; a value with two meanings."""
        lists = {name: data.get(name) for name in ("insert", "update", "delete")}
        if not any(lists.values()):
            yield (), WrongValue("expected values for at least one of: insert, update, delete")
        taken: dict[str, str] = {}
        for name, values in lists.items():
            yield from repeated(values, name)
            for place, value in enumerate(values if isinstance(values, list) else []):
                if isinstance(value, str) and taken.setdefault(value, name) != name:
                    yield (name, place), WrongValue(f"it means {taken[value]} already", found=quoted(value))


class History(Spec):
    """The columns in which `scd2` keeps for each row since when, and until when, it held."""

    valid_from: Text = "valid_from"
    """Column with the sequence of the change that made the row. Default: valid_from."""
    valid_to: Text = "valid_to"
    """Column with the sequence of the change that ended it, null while it holds. Default: valid_to."""
    is_current: Text = "is_current"
    """Column that is true while the row holds. Default: is_current."""
    skip_unchanged: bool = False
    """Whether a change that repeats what it finds makes no row of its own. Default: false. Such a change is forgotten:
    one that arrives later with an earlier sequence then holds until the next change that is kept."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """One name for two columns."""
        taken: dict[str, str] = {}
        for key in ("valid_from", "valid_to", "is_current"):
            name = data.get(key, key)
            if isinstance(name, str) and taken.setdefault(name.casefold(), key) != key:
                yield (key,), WrongValue(f"expected another name than that of {taken[name.casefold()]}")


def merge_complaints(data: Mapping[str, Any]) -> Iterator[Complaint]:
    """What is wrong with an import's options for changes, taken together with its mode."""
    yield from repeated(data.get("key"), "key")
    yield from repeated(data.get("leave_out"), "leave_out")
    mode = data.get("mode", "append")
    if mode in KEYLESS:
        for option in _ONLY_WITH_KEY:
            if data.get(option):
                what = "a key" if option == "key" else f"`{option}`"
                yield (option,), WrongValue(f"only the modes merge and scd2 use {what}", found=f"mode {mode}")
        return
    if mode not in ("merge", "scd2"):
        return
    if not data.get("key"):
        yield (), WrongValue(f"mode {mode} needs a `key`: the columns that identify a row")
    if data.get("delete_when") and data.get("operation"):
        yield ("delete_when",), WrongValue("expected one of: delete_when, operation", found="both")
    sequence, left_out, key = data.get("sequence"), data.get("leave_out"), data.get("key")
    for place, name in enumerate(left_out if isinstance(left_out, list) else []):
        if name == sequence or (isinstance(key, list) and name in key):
            yield ("leave_out", place), WrongValue("the table needs its key and its sequence", found=quoted(name))
    yield from _history_complaints(mode, data)


def _history_complaints(mode: str, data: Mapping[str, Any]) -> Iterator[Complaint]:
    if mode == "merge" and data.get("history"):
        yield ("history",), WrongValue("only the mode scd2 keeps a history", found="mode merge")
    if mode == "scd2" and not data.get("sequence"):
        yield (), WrongValue("mode scd2 needs a `sequence`: the column that says which change is later")
    if mode == "scd2" and data.get("partial"):
        yield ("partial",), WrongValue("only the mode merge has partial updates", found="mode scd2")
