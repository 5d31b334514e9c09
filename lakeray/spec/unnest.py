"""Lists in the rows of a source that become rows of other tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from lakeray.spec.strict import Complaint, Spec, repeated
from lakeray.spec.texts import Text
from lakeray.spec.wrong import WrongValue, quoted

_KEEPS_KEYS = ("hmac_sha256", "tokenize")


class Unnest(Spec):
    """Each element of a list becomes a row of a child table, in the commit order of exactly-once: the children of a
    batch are visible before its own rows.

    A struct's fields become columns; one that is called like a key column or the position gets the list's name and `_`
    in front, and so does one that looks as if it had: beside the key `id`, `id` and `items_id` of `items` become
    `items_id` and `items_items_id`. A null element is a row without values. Null and empty lists have no rows, nor
    have lists with a value that does not fit: they are null in the step's table, and whole in its `_rescued_data`.
    """

    from_: Text = Field(alias="from")
    """The column with the lists, as `mapping`, `cleanse` and `select` leave it; `mapping` digs it out where it lies
    deeper."""
    key: list[Text] = Field(min_length=1)
    """Columns of the step's table that identify a row there; each row of the child table carries them, masked where
    the table's are. A row with elements and a null among them goes to quarantine."""
    position: Text = "position"
    """The child's column that says where in its list the element stood, counted from 0. Default: position."""
    value: Text = "value"
    """The child's column of elements that are no structs. Default: value."""
    keep: bool = False
    """Whether the lists stay in the step's table as well. Default: false."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A key column twice, or one that is the list itself; two columns of one name."""
        yield from repeated(data.get("key"), "key")
        key = data.get("key")
        names = [name.casefold() for name in key if isinstance(name, str)] if isinstance(key, list) else []
        origin = data.get("from")
        if isinstance(origin, str) and origin.casefold() in names:
            yield ("key",), WrongValue("expected columns beside the list itself", found=quoted(origin))
        position, value = data.get("position", "position"), data.get("value", "value")
        for option, name, taken in (
            ("position", position, names),
            ("value", value, [*names, position.casefold()] if isinstance(position, str) else names),
        ):
            if isinstance(name, str) and name.casefold() in taken:
                wrong = WrongValue("expected a name that no other column of the child has", found=quoted(name))
                yield (option,), wrong


def unnest_complaints(step: Mapping[str, object]) -> Iterator[Complaint]:
    """A child table that is the step's own; a list behind a mask, which does not reach into other tables; a key behind
    one that makes keys alike, or that is written anew in the step's table alone when its key changes.
    """
    unnest, plan = step.get("unnest"), step.get("import")
    into = plan.get("into") if isinstance(plan, Mapping) else None
    masks = _kinds(step.get("mask"))
    for name, said in unnest.items() if isinstance(unnest, Mapping) else ():
        if name == into:
            yield ("unnest", name), WrongValue("expected another table than the step's own", found=quoted(name))
        if not isinstance(said, Mapping):
            continue
        origin, keys = said.get("from"), said.get("key")
        if isinstance(origin, str) and origin.casefold() in masks:
            hint = "expected a list that no mask hides: a mask does not reach into child tables"
            yield ("unnest", name, "from"), WrongValue(hint, found=quoted(origin))
        for place, key in enumerate(keys if isinstance(keys, list) else ()):
            kind = masks.get(str(key).casefold())
            if kind is not None and kind not in _KEEPS_KEYS:
                wrong = WrongValue(f"allowed for a key: {', '.join(_KEEPS_KEYS)}", found=f"a key column behind {kind}")
                yield ("unnest", name, "key", place), wrong


def _kinds(masks: object) -> dict[str, str]:
    """The kind of each mask by its column, in one case."""
    found = masks.items() if isinstance(masks, Mapping) else ()
    return {
        column.casefold(): str(next(iter(mask), ""))
        for column, mask in found
        if isinstance(column, str) and isinstance(mask, Mapping)
    }
