"""Html and SVG that cannot be broken out of: whatever is not an element is escaped."""

from __future__ import annotations

import html

from lakeray.observability.visible import visible

_VOID = frozenset({"meta", "br", "hr"})


class Markup(str):
    """Text that is html already; only this module makes it."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """An element; children that are not ``Markup`` are text, ``class_`` is ``class``, None leaves an attribute out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(visible(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{joined(*children)}</{tag}>")


def joined(*children: str) -> Markup:
    """Children one after the other, escaped where they are text."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(visible(child)) for child in children))


def trusted(text: str) -> Markup:
    """Text that lakeray itself ships, such as its style sheet."""
    return Markup(text)
