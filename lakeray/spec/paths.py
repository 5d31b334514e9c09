"""A path into nested data, as people write it: ``customer.address.city``, ``items[0].sku``."""

from __future__ import annotations

import re

from lakeray.spec.wrong import WrongValue, quoted

Step = str | int
"""The name of a field or a map's key, or the place of a list's element, counted from 0."""

_PART = re.compile(r"(?P<dot>\.)?(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<name>[^.\[\]`]+))|\[(?P<index>[0-9]{1,9})\]")


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a path, the column first.

    A name with a dot or a bracket stands between backticks, where two of them mean one. Raises WrongValue.
    """
    found: list[Step] = []
    place = 0
    while place < len(text):
        part = _PART.match(text, place)
        if part is None or (part["index"] is None and bool(part["dot"]) != bool(found)):
            break
        if part["index"] is not None and not found:
            break
        found.append(int(part["index"]) if part["index"] is not None else _name(part))
        place = part.end()
    if place < len(text) or not found:
        raise WrongValue("expected a path such as customer.address.city or items[0].sku", found=quoted(text))
    return tuple(found)


def _name(part: re.Match[str]) -> str:
    return part["name"] if part["quoted"] is None else part["quoted"].replace("``", "`")


def path_text(steps: tuple[Step, ...]) -> str:
    """A path as it is written; the inverse of ``parse_path``."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        name = f"`{step.replace('`', '``')}`" if re.search(r"[.\[\]`]", step) else step
        text += f".{name}" if text else name
    return text
