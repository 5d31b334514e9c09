"""Dirty rows with known truth: what a careful person would make of each value, by the rules that are given."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

SYNONYMS = {
    "new": ["neu", "nouveau", "nuevo"],
    "paid": ["bezahlt", "payé"],
    "returned": ["zurück", "retourné", "rückläufer"],
}
FACTORS = {"g": 0.001, "lb": 0.45359237, "t": 1000}
TOKENS = ["", "N/A", "-", "null", "k. A."]
TEXT = [{"unicode": "NFKC"}, {"trim": "all"}, {"nulls": TOKENS}]
RULES: dict[str, list[dict[str, Any]]] = {
    "name": [*TEXT, {"case": "title"}],
    "email": [*TEXT, {"case": "lower"}, {"replace": {"pattern": "^mailto:", "with": ""}}],
    "status": [*TEXT, {"enum": SYNONYMS}],
    "amount": [
        *TEXT,
        {"number": {"decimal": ",", "thousands": ".", "currency": ["€", "EUR"], "type": "decimal(12, 2)"}},
    ],
    "rate": [*TEXT, {"number": {"decimal": ",", "percent": True}}],
    "weight": [*TEXT, {"unit": {"to": "kg", "from": FACTORS, "decimal": ","}}],
    "day": [*TEXT, {"date": {"formats": ["%d.%m.%Y", "%Y-%m-%d", "%d %b %Y"]}}],
    "at": [
        *TEXT,
        {
            "date": {
                "formats": ["%d.%m.%Y %H:%M", "%Y-%m-%dT%H:%M:%S%z"],
                "type": "timestamp",
                "timezone": "Europe/Berlin",
            }
        },
    ],
    "ok": [*TEXT, {"boolean": {"yes": ["ja", "oui", "x"], "no": ["nein", "non"]}}],
    "code": [*TEXT, {"case": "upper"}],
    "level": [*TEXT, {"enum": {"low": ["tief", "bas"], "high": ["hoch", "haut"]}, "unknown": "null"}],
    "age": [*TEXT, {"number": {"type": "int32"}}, {"outlier": {"between": [0, 120], "action": "clip"}}],
    "size": [*TEXT, {"number": {"decimal": ","}}, {"outlier": {"mad": 8, "action": "null"}}],
    "note": TEXT[:2],
}
_BLANKS = [" ", "  ", "\u00a0", "\t", "\u2003"]
_UNSEEN = ["\u200b", "\ufeff", "\x07", "\u2060"]
_WIDE = {ord(c): ord(c) + 0xFEE0 for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"}


@dataclass(frozen=True, kw_only=True)
class Value:
    """``dirty`` is what stands in the source, ``true`` what it means, ``dirt`` the kinds of rules that it takes to get
    from one to the other; none where they differ in type alone.
    """

    dirty: str | None
    true: Any
    dirt: frozenset[str] = frozenset()


class Dirt:
    """One seeded stream of dirty values, a function a column."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.columns: dict[str, Callable[[], Value]] = {name: getattr(self, f"_{name}") for name in RULES}

    def rows(self, count: int) -> list[dict[str, Value]]:
        """That many rows."""
        return [{name: make() for name, make in self.columns.items()} for _ in range(count)]

    def _soil(self, text: str, true: Any, *dirt: str) -> Value:
        """Sometimes a null token, blanks around, characters that nobody sees, look-alikes in full width."""
        chance = self.random.random()
        if chance < 0.05:
            return Value(dirty=self._blanks(self.random.choice(TOKENS)), true=None, dirt=frozenset({"nulls", "trim"}))
        if chance < 0.07:
            return Value(dirty=None, true=None)
        dirty, kinds = text, set(dirt)
        if self.random.random() < 0.3:
            dirty = self._blanks(dirty)
            kinds.add("trim")
        if self.random.random() < 0.1:
            place = self.random.randrange(len(dirty) + 1)
            dirty = dirty[:place] + self.random.choice(_UNSEEN) + dirty[place:]
            kinds.add("unicode")
        if self.random.random() < 0.1 and (wide := dirty.translate(_WIDE)) != dirty:
            dirty = wide
            kinds.add("unicode")
        return Value(dirty=dirty, true=true, dirt=frozenset(kinds))

    def _blanks(self, text: str) -> str:
        return self.random.choice(_BLANKS) * self.random.randrange(3) + text + self.random.choice(_BLANKS)

    def _name(self) -> Value:
        true = " ".join(self.random.choice(["Ada", "Émile", "Łukasz", "Zoë", "Müller"]) for _ in range(2))
        text = self.random.choice([true, true.lower(), true.upper()])
        kinds = ["case"] if text != true else []
        if wider := self.random.choice(["", "", " ", "\t"]):
            text = text.replace(" ", f"{wider} ")
            kinds.append("trim")
        return self._soil(text, true, *kinds)

    def _email(self) -> Value:
        true = f"user{self.random.randrange(10_000)}@example.com"
        before, text = self.random.choice(["", "", "mailto:"]), self.random.choice([true, true.upper()])
        kinds = [*(["replace"] if before else []), *(["case"] if text != true else [])]
        return self._soil(before + text, true, *kinds)

    def _status(self) -> Value:
        true = self.random.choice(list(SYNONYMS))
        chance = self.random.random()
        if chance < 0.1:  # a typo that no rule covers stays as it is
            typo = true[:-1] + "q"
            return self._soil(typo, typo)
        text = self.random.choice([true, *SYNONYMS[true]])
        text = self.random.choice([text, text.upper(), text.capitalize()])
        return self._soil(text, true, *(["enum"] if text != true else []))

    def _amount(self) -> Value:
        true = Decimal(self.random.randrange(-10_000_000, 100_000_000)) / 100
        plain = f"{abs(true):.2f}".replace(".", ",")
        whole, _, rest = f"{abs(true):,.2f}".partition(".")
        grouped = f"{whole.replace(',', '.')},{rest}"
        sign = self.random.choice(["-", "\u2212"]) if true < 0 else ""
        text = sign + self.random.choice([plain, grouped])
        text = self.random.choice([text, f"{text} €", f"{text} EUR", f"€ {text}"])
        return self._soil(text, true, "number")

    def _rate(self) -> Value:
        tenths = self.random.randrange(0, 1000)
        text = f"{tenths // 10},{tenths % 10}"
        return self.random.choice(
            [self._soil(f"{text} %", (tenths / 10) / 100, "number"), self._soil(text, tenths / 10, "number")]
        )

    def _weight(self) -> Value:
        number = self.random.randrange(1, 100_000) / 10
        unit = self.random.choice(["kg", *FACTORS])
        text = f"{number}".replace(".", ",") + self.random.choice(["", " "]) + unit
        return self._soil(text, number * FACTORS.get(unit, 1.0), "unit")

    def _day(self) -> Value:
        true = date(1960, 1, 1) + timedelta(days=self.random.randrange(30_000))
        months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        text = self.random.choice(
            [
                true.isoformat(),
                f"{true.day}.{true.month}.{true.year}",
                f"{true:%d.%m.%Y}",
                f"{true.day:02d} {months[true.month - 1]} {true.year}",
            ]
        )
        return self._soil(text, true, *(["date"] if text != true.isoformat() else []))

    def _at(self) -> Value:
        true = datetime(2024, 1, 1, 12, tzinfo=UTC) + timedelta(days=self.random.randrange(365), minutes=17)
        local = true.astimezone(ZoneInfo("Europe/Berlin"))
        text = self.random.choice([f"{local:%d.%m.%Y %H:%M}", f"{true:%Y-%m-%dT%H:%M:%S}Z", local.isoformat()])
        return self._soil(text, true, *(["date"] if text[4] != "-" else []))

    def _ok(self) -> Value:
        true = self.random.random() < 0.5
        words = ["true", "1", "ja", "JA", "oui", "x"] if true else ["false", "0", "nein", "Nein", "non"]
        text = self.random.choice(words)
        return self._soil(text, true, *(["boolean"] if text not in {"true", "false"} else []))

    def _code(self) -> Value:
        true = f"{self.random.choice(['AB', 'ÉX', 'ZZ'])}-{self.random.randrange(1000)}"
        text = self.random.choice([true, true.lower()])
        return self._soil(text, true, *(["case"] if text != true else []))

    def _level(self) -> Value:
        word, true = self.random.choice(
            [("low", "low"), ("Tief", "low"), ("BAS", "low"), ("haut", "high"), ("middling", None), ("lowq", None)]
        )
        return self._soil(word, true, *(["enum"] if word != true else []))

    def _age(self) -> Value:
        """Some ages are none that a person has; they become the nearest that is one."""
        if self.random.random() < 0.05:
            low = self.random.random() < 0.5
            number = self.random.randrange(-500, 0) if low else self.random.randrange(121, 2000)
            return self._soil(str(number), 0 if low else 120, "outlier")
        number = self.random.randrange(121)
        return self._soil(str(number), number)

    def _size(self) -> Value:
        """Sizes lie about 100; a few were written in another unit."""
        number = self.random.randrange(800, 1201) / 10
        if self.random.random() < 0.05:
            return self._soil(f"{number * self.random.choice([0.01, 10, 1000]):.3f}".replace(".", ","), None, "outlier")
        return self._soil(f"{number}".replace(".", ","), number, "number")

    def _note(self) -> Value:
        """Free text with typos, foreign scripts, tokens in the middle: nothing but blanks is anybody's business."""
        words = ["teh", "N/A-ish", "Привет", "1.234,5", "12 kg", "naïve", "a-b", "O'Neil", "50 %", "日本", "-", "null"]
        true = " ".join(self.random.choice(words) for _ in range(self.random.randrange(1, 5)))
        made = self._soil(true, true)
        if made.dirty is not None and made.true is None:  # no rule of this column takes a token for null
            return Value(dirty=made.dirty, true=made.dirty.strip(), dirt=frozenset({"trim"}))
        return made
