"""Columns of a Delta table are classified here, in the metadata of their own fields, where every Delta reader finds it.

The tags of a column are the field's metadata ``lakeray.tags``, divided by commas. Source:
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#struct-field
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from lakeray.delta.failures import is_foreign, translated
from lakeray.delta.table import TableHandle, require_table
from lakeray.errors import CommitConflict

TAGS = "lakeray.tags"
_TRIES = 20


def tags_of(handle: TableHandle) -> dict[str, list[str]]:
    """The tags by column, of columns that have any."""
    fields = orjson.loads(handle.delta.schema().to_json())["fields"]
    texts = {field["name"]: str((field.get("metadata") or {}).get(TAGS) or "") for field in fields}
    return {name: text.split(",") for name, text in texts.items() if text}


def set_tags(uri: str, wanted: Mapping[str, Sequence[str]]) -> list[str]:
    """See to it that columns have these tags and no others; the names that are no columns.

    Names are found in whatever case. Idempotent, also beside other writers. Raises CommitConflict when others never
    leave a gap.
    """
    error: Exception | None = None
    for _ in range(_TRIES + len(wanted)):
        handle = require_table(uri)
        spelt = {name.casefold(): name for name in handle.schema.names}
        have = tags_of(handle)
        missing = {
            spelt[name.casefold()]: list(tags)
            for name, tags in wanted.items()
            if name.casefold() in spelt and have.get(spelt[name.casefold()], []) != list(tags)
        }
        if not missing:
            return [name for name in wanted if name.casefold() not in spelt]
        column, tags = next(iter(missing.items()))
        try:
            handle.delta.alter.set_column_metadata(column, {TAGS: ",".join(tags)})
        except Exception as failure:
            if not is_foreign(failure):
                raise
            error = failure
    raise translated(error, uri, "tagging columns") if error else CommitConflict(f"{uri} never held still", uri=uri)
