"""Values of another kind than the rest of their column, taken out so that the rest can be read fast."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec

from lakeray.importer.readers.json_table import NotATable, TableReader

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_MOST_COLUMNS = 16
_KINDS = dict.fromkeys(b"-0123456789", "number") | {0x74: "boolean", 0x66: "boolean", 0x6E: "null"}

Apart = tuple[Any, list[str], dict[int, dict[str, bytes]]]


def set_apart(tables: TableReader, records: list[bytes], finding: NotATable) -> Apart | None:
    """The table without the values of a rarer kind than others of their column, and these values' text by row.

    Also the names of columns in which integers may have lost digits. None where that does not make one table of the
    records: kinds that clash deeper inside, or records with NaN.
    """
    texts = list(records)
    taken: dict[int, dict[str, bytes]] = {}
    for _ in range(_MOST_COLUMNS):
        try:
            odd = _odd_ones(texts, finding.path)
        except msgspec.DecodeError:
            return None
        if odd is None:
            return None
        name, rows = odd
        for row in rows:
            fields = _FIELDS(texts[row])
            taken.setdefault(row, {})[name] = bytes(fields.pop(name))
            texts[row] = msgspec.json.encode(fields)
        try:
            table, large = tables.parse(b"\n".join(texts), len(texts))
        except NotATable as again:
            finding = again
        else:
            return table, large, taken
    return None


def extra_text(values: dict[str, bytes]) -> str:
    """Values as the text of a JSON object."""
    return (
        "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{text.decode()}" for name, text in values.items()) + "}"
    )


def _odd_ones(texts: list[bytes], path: str | None) -> tuple[str, list[int]] | None:
    """The column of a clash, with the rows that hold the rarer kinds of value."""
    if path is None:
        return None
    parts = path[1:].split("/")
    for length in range(1, len(parts) + 1):
        name = "/".join(parts[:length])
        kinds = [_kind(_FIELDS(text).get(name)) for text in texts]
        counts = Counter(kind for kind in kinds if kind not in (None, "null"))
        if len(counts) > 1:
            usual = counts.most_common(1)[0][0]
            return name, [row for row, kind in enumerate(kinds) if kind not in (None, "null", usual)]
    return None


def _kind(value: msgspec.Raw | None) -> str | None:
    if value is None:
        return None
    first = memoryview(value)[0]
    return _KINDS.get(first) or chr(first)
