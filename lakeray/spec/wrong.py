"""What is wrong with a value, as an error that says what is allowed instead."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class WrongValue(ValueError):
    """One value that cannot be used.

    ``found`` describes it (None: let the reader of the file say what stands there), ``expected`` ends the sentence,
    ``nearest`` is the right spelling that is closest to what was found, if one is close.
    """

    def __init__(self, expected: str, *, found: str | None = None, nearest: str | None = None) -> None:
        super().__init__(expected, found, nearest)
        self.expected = expected
        self.found = found
        self.nearest = nearest

    def __str__(self) -> str:
        return sentence(found=self.found, expected=self.expected, nearest=self.nearest)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.expected, self.found, self.nearest))


def _rebuild(expected: str, found: str | None, nearest: str | None) -> WrongValue:
    return WrongValue(expected, found=found, nearest=nearest)


def sentence(*, found: str | None, expected: str, nearest: str | None) -> str:
    """``found "x"; allowed: a, b. Did you mean "a"?``, leaving out what is not known."""
    text = f"found {found}; {expected}" if found else expected
    return one_line(f'{text}. Did you mean "{nearest}"?' if nearest else text)


def one_line(text: str) -> str:
    """``text`` with everything that is not printable, line ends too, written as Python would."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def quoted(value: str, *, limit: int = 60) -> str:
    """``value`` in double quotes on one line, cut to ``limit`` characters."""
    shown = value if len(value) <= limit else f"{value[: limit - 3]}..."
    return f'"{one_line(shown)}"'


_TELLING = 3
"""Letters that say which word is meant when it begins with them; in shorter words one wrong letter is half of it."""


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The member of ``allowed`` spelt most like ``word``, without regard to case, or None when none is close."""
    by_folded: dict[str, str] = {}
    for name in allowed:
        by_folded.setdefault(name.casefold(), name)
    begun = [name for folded, name in by_folded.items() if folded.startswith(word.casefold())]
    if len(word) >= _TELLING and begun:
        return begun[0]
    cutoff = 0.6 if len(word) > _TELLING else 0.5
    close = get_close_matches(word[:200].casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None


def unknown(word: str, allowed: Iterable[str], *, lead: str = "allowed") -> WrongValue:
    """The error for a ``word`` that is none of ``allowed``, whose names it lists in the order given."""
    names = list(allowed)
    listed = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")  # noqa: PLR2004
    return WrongValue(f"{lead}: {listed or 'none is declared'}", found=quoted(word), nearest=nearest(word, names))
