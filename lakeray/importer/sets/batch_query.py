"""What the user's own query or function says about a staged batch, in a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from lakeray.errors import TransformError
from lakeray.importer.sets.staged_rows import StagedRows
from lakeray.objects.arrow import readable
from lakeray.transform.batch_sql import verdict
from lakeray.transform.hook import load_function


def dataset(staged: StagedRows) -> ds.Dataset:
    """The staged rows in the table's columns; reading it streams a row group at a time."""
    system, form = readable(staged.root), ds.ParquetFileFormat()
    fragments = []
    for file in staged.files:
        known = ds.scalar(True)
        for name, value in file.partition_values.items():
            typed = pa.scalar(value, pa.string()).cast(staged.schema.field(name).type)
            known = known & (ds.field(name).is_null() if value is None else ds.field(name) == typed)
        fragments.append(form.make_fragment(file.path, system, partition_expression=known))
    return ds.FileSystemDataset(fragments, staged.schema, form, filesystem=system)


@dataclass(frozen=True, kw_only=True, slots=True)
class SqlTask:
    """Asks one query; the message is its answer."""

    staged: StagedRows
    rule: str
    sql: str
    now: datetime
    memory_bytes: int

    def run(self) -> Iterator[bool | None]:
        """One message."""
        yield verdict(self.rule, self.sql, batch=dataset(self.staged), now=self.now, memory_bytes=self.memory_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonTask:
    """Asks a function of the user; the message is its answer."""

    staged: StagedRows
    rule: str
    hook: str

    def run(self) -> Iterator[bool | str]:
        """One message. Raises TransformError when the function does, or answers anything but a bool or a text."""
        function = load_function(self.hook)
        try:
            answer: Any = function(dataset(self.staged))
        except Exception as error:
            raise TransformError(
                f"{self.rule}: the hook {self.hook} raised {type(error).__name__}",
                hint="the error is the hook's own; its message is left out because it may quote values",
            ) from error
        if not isinstance(answer, bool | str):
            raise TransformError(
                f"{self.rule}: the hook {self.hook} returned {type(answer).__name__}",
                hint="it must return true, false, or a text that says what is wrong",
            )
        yield answer
