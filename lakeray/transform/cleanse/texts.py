"""Rules that make a text of a text."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.spec.cleansing import CleanseRule, Replace
from lakeray.transform.cleanse.port import Cleaned, different, scattered
from lakeray.transform.delta_types import is_text
from lakeray.transform.text_bytes import BEYOND_ASCII, LOWER, ODD, UPPER, odd_at_ends, with_any

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
    """A rule that is one function of the text; ``maybe`` finds in one quick look all texts that it may change."""

    def __init__(
        self,
        label: str,
        function: Callable[[pa.Array], pa.Array],
        maybe: Callable[[pa.Array], pa.BooleanArray] | None = None,
    ) -> None:
        super().__init__(label)
        self._function = function
        self._maybe = maybe

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values`` through the function."""
        if self._maybe is None:
            return Cleaned(values=self._function(values))
        which = self._maybe(values)
        some = values.filter(which)
        made = self._function(some) if len(some) else some
        moved = different(some, made)
        if moved is None:
            return Cleaned(values=values)
        changed = pc.replace_with_mask(which, which, moved)
        return Cleaned(values=pc.replace_with_mask(values, changed, made.filter(moved)), changed=changed)


def trim_ends(values: pa.Array) -> pa.Array:
    """Without blanks at both ends."""
    return pc.utf8_trim_whitespace(values)


def trim_all(values: pa.Array) -> pa.Array:
    """Without blanks at both ends, a single one between words."""
    return _where(trim_ends(values), _INNER, lambda some: pc.replace_substring_regex(some, _BLANKS, " "))


def unicode_form(form: str) -> Callable[[pa.Array], pa.Array]:
    """In one Unicode form, without characters that nobody sees."""

    def function(values: pa.Array) -> pa.Array:
        values = pc.utf8_normalize(values, form)
        return _where(values, _INVISIBLE, lambda some: pc.replace_substring_regex(some, _INVISIBLE, ""))

    return function


_CASES: dict[str, tuple[Callable[[pa.Array], pa.Array], Callable[[pa.Array], pa.BooleanArray] | None]] = {
    "upper": (pc.utf8_upper, with_any(LOWER | BEYOND_ASCII)),
    "lower": (pc.utf8_lower, with_any(UPPER | BEYOND_ASCII)),
    "title": (pc.utf8_title, None),
}


def _where(values: pa.Array, pattern: str, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """``values`` with ``function`` over those in which ``pattern`` finds something."""
    which = pc.fill_null(pc.match_substring_regex(values, pattern), fill_value=False)
    if not pc.any(which).as_py():
        return values
    return pc.replace_with_mask(values, which, function(values.filter(which)))


class Nulls(TextRule):
    """Texts that stand for null."""

    def __init__(self, label: str, tokens: list[str]) -> None:
        super().__init__(label)
        self._tokens = pa.array(tokens, pa.string())
        self._lengths = pc.unique(pc.binary_length(self._tokens))

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values``, null where a token stands."""
        found = pc.is_in(pc.binary_length(values), self._lengths)
        found = pc.replace_with_mask(found, found, pc.is_in(values.filter(found), self._tokens))
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
            refused = scattered(restless, places, len(values))
            some = pc.if_else(restless, _NULL, some)
            return Cleaned(values=pc.replace_with_mask(values, found, some), refused=refused)
        return Cleaned(values=pc.replace_with_mask(values, found, some))


def text_rule(label: str, rule: CleanseRule) -> TextRule | None:
    """The rule that ``rule`` declares; None when it makes no text."""
    if rule.trim is not None:
        return Function(label, *((trim_ends, odd_at_ends) if rule.trim == "ends" else (trim_all, with_any(ODD))))
    if rule.case is not None:
        return Function(label, *_CASES[rule.case])
    if rule.unicode is not None:
        return Function(label, unicode_form(rule.unicode), with_any(ODD))
    if rule.nulls is not None:
        return Nulls(label, rule.nulls)
    if rule.replace is not None:
        return Replaced(label, rule.replace)
    return None if rule.enum is None else Enum(label, rule.enum, rule.unknown)
