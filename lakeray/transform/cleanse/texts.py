"""Rules that make a text of a text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.spec.cleansing import CleanseRule, Replace
from lakeray.transform.cleanse.port import Cleaned
from lakeray.transform.delta_types import is_text

_INNER = r"[\s\pZ]{2}|[\t\n\v\f\r\x{85}]|[\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
_BLANKS = r"[\s\pZ\x{85}\v]+"
_INVISIBLE = r"[\x00-\x08\x0e-\x1f\x7f-\x{84}\x{86}-\x{9f}\x{200b}-\x{200d}\x{2060}\x{feff}]+"
_NULL = pa.scalar(None, pa.string())
_MOST_ROUNDS = 8


class TextRule:
    """A rule over texts."""

    reason = "the rules for the text do not come to rest"
    alone = True

    def __init__(self, label: str) -> None:
        self.label = label

    def takes(self, kind: pa.DataType) -> bool:
        """Texts alone."""
        return is_text(kind)

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values`` changed."""
        raise NotImplementedError


class Function(TextRule):
    """A rule that is one function of the text."""

    def __init__(self, label: str, function: Callable[[pa.Array], pa.Array]) -> None:
        super().__init__(label)
        self._function = function

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values`` through the function."""
        return Cleaned(values=self._function(values))


def trim_ends(values: pa.Array) -> pa.Array:
    """Without blanks at both ends."""
    return pc.utf8_trim_whitespace(values)


def trim_all(values: pa.Array) -> pa.Array:
    """Without blanks at both ends, a single one between words."""
    bare = pc.utf8_trim_whitespace(values)
    more = pc.match_substring_regex(bare, _INNER)
    return _where(bare, more, lambda some: pc.replace_substring_regex(some, _BLANKS, " "))


def unicode_form(form: str) -> Callable[[pa.Array], pa.Array]:
    """In one Unicode form, without characters that nobody sees."""

    def function(values: pa.Array) -> pa.Array:
        strange = pc.invert(pc.string_is_ascii(values))
        values = _where(values, strange, lambda some: pc.utf8_normalize(some, form))
        unseen = pc.match_substring_regex(values, _INVISIBLE)
        return _where(values, unseen, lambda some: pc.replace_substring_regex(some, _INVISIBLE, ""))

    return function


_CASES: dict[str, Callable[[pa.Array], pa.Array]] = {
    "upper": pc.utf8_upper,
    "lower": pc.utf8_lower,
    "title": pc.utf8_title,
}


def _where(values: pa.Array, which: pa.BooleanArray, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """``values`` with ``function`` over the few of ``which``."""
    which = pc.fill_null(which, fill_value=False)
    if not pc.any(which).as_py():
        return values
    return pc.replace_with_mask(values, which, function(values.filter(which)))


class Nulls(TextRule):
    """Texts that stand for null."""

    def __init__(self, label: str, tokens: list[str]) -> None:
        super().__init__(label)
        self._tokens = pa.array(tokens, pa.string())

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values``, null where a token stands."""
        found = pc.is_in(values, self._tokens)
        if not pc.any(found).as_py():
            return Cleaned(values=values)
        return Cleaned(values=pc.if_else(found, _NULL, values), changed=found)


class Enum(TextRule):
    """Values by their synonyms."""

    def __init__(self, label: str, values: dict[str, list[str]], unknown: str) -> None:
        super().__init__(label)
        self._unknown = unknown
        meaning: dict[str, str] = {}
        for value, synonyms in values.items():
            for text in (value, *synonyms):
                meaning.setdefault(_folded(text), value)
        self._texts = pa.array(list(meaning), pa.string())
        self._values = pa.array(list(meaning.values()), pa.string())
        self.reason = "the text is none of the enumeration's values"

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values`` in the enumeration's spelling."""
        places = pc.index_in(pc.utf8_lower(values), self._texts)
        known = self._values.take(places)
        if self._unknown == "keep":
            return Cleaned(values=pc.coalesce(known, values))
        strange = pc.and_(values.is_valid(), places.is_null())
        refused = strange if self._unknown == "quarantine" and pc.any(strange).as_py() else None
        return Cleaned(values=known, refused=refused)


def _folded(text: str) -> str:
    folded: str = pc.utf8_lower(pa.scalar(text)).as_py()
    return folded


class Replaced(TextRule):
    """What a regular expression finds, replaced until it finds nothing more to change."""

    def __init__(self, label: str, spec: Replace) -> None:
        super().__init__(label)
        self._spec = spec
        self.reason = "the replacement does not come to rest"

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values`` with the text in place of what is found."""
        found = pc.fill_null(pc.match_substring_regex(values, self._spec.pattern), fill_value=False)
        if not pc.any(found).as_py():
            return Cleaned(values=values)
        places = pc.indices_nonzero(found)
        some = values.take(places)
        for _ in range(_MOST_ROUNDS):
            new = pc.replace_substring_regex(some, self._spec.pattern, self._spec.with_)
            restless = pc.not_equal(new, some)
            some = new
            if not pc.any(restless).as_py():
                break
        else:
            refused = _scattered(restless, places, len(values))
            some = pc.if_else(restless, _NULL, some)
            return Cleaned(values=pc.replace_with_mask(values, found, some), refused=refused)
        return Cleaned(values=pc.replace_with_mask(values, found, some))


def _scattered(flags: pa.BooleanArray, places: pa.Array, length: int) -> pa.BooleanArray:
    made = np.zeros(length, dtype=bool)
    made[np.asarray(places)] = np.asarray(flags)
    return pa.array(made)


def text_rule(label: str, rule: CleanseRule) -> TextRule | None:
    """The rule that ``rule`` declares; None when it makes no text."""
    if rule.trim is not None:
        return Function(label, trim_ends if rule.trim == "ends" else trim_all)
    if rule.case is not None:
        return Function(label, _CASES[rule.case])
    if rule.unicode is not None:
        return Function(label, unicode_form(rule.unicode))
    if rule.nulls is not None:
        return Nulls(label, rule.nulls)
    if rule.replace is not None:
        return Replaced(label, rule.replace)
    return None if rule.enum is None else Enum(label, rule.enum, rule.unknown)
