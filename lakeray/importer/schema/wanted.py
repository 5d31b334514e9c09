"""A column that a step's SQL reads is looked for beyond the first sample before it is called missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from lakeray.errors import TransformError
from lakeray.importer.context import ImportContext
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.pipeline import program_of
from lakeray.importer.preparation import Preparation, source_columns
from lakeray.importer.protection.masks import task_keys
from lakeray.importer.schema.source import Sampled, first_schema

LOOKED_AT = 256
"""Objects that are read for a column, the newest first: a column that is new stands in the newest."""
_AT_ONCE = 16

Sampler = Callable[[Sequence[PlannedObject], frozenset[str]], list[Sampled]]
"""Samples objects; with names, of the rows that have a value in one of these columns."""


def with_wanted(
    schema: pa.Schema, objects: Sequence[PlannedObject], sample: Sampler, context: ImportContext
) -> pa.Schema:
    """``schema`` with the columns that the step's expressions read, where one of ``objects`` shows them.

    Raises TransformError, which names the hint to write, for one that nowhere shows. A step with a hook is left to
    the hook, which may make any column.
    """
    step = context.step
    hooked = step.apply is not None
    if (hooked or not (step.select or step.where or step.expect)) and not (step.mapping or step.cleanse):
        return schema
    program = program_of(context.step, now=context.now(), keys=task_keys(context))
    missing = source_columns(step, set() if hooked else program.columns_read) - set(schema.names)
    if not missing:
        return schema
    newest = sorted((item for item in objects if item.skip is None), key=lambda item: item.info.modified_at)
    newest = newest[::-1][:LOOKED_AT]
    for start in range(0, len(newest), _AT_ONCE):
        samples = sample(newest[start : start + _AT_ONCE], frozenset(missing))
        shown = first_schema(context.source, samples)
        schema = pa.schema([*schema, *(item for item in shown if item.name in missing)])
        missing -= set(schema.names)
        if not missing:
            return schema
    try:
        prepared = Preparation(step, context.source).output_schema(schema)
        if not hooked:
            program.check_columns(prepared)
    except TransformError as error:
        raise _missing(error, sorted(missing), context) from None
    return schema


def _missing(error: TransformError, names: list[str], context: ImportContext) -> TransformError:
    """``error`` about the first column that is missing, with the hint to write for all."""
    types = ", ".join(f"{name}: string" for name in names)
    where = f"`schema_hints: {{{types}}}` under sources.{context.plan.from_}"
    hint = f"{error.hint}; if later objects have it, say of which type it is, as in {where}"
    return TransformError(f"{error.message} in any object that was looked at", hint=hint, uri=context.source.uri)
