"""What a source may change, and what its records must be: the parts of a source that are about its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field

from lakeray.spec.strict import Choice, Complaint, Spec
from lakeray.spec.texts import Text
from lakeray.spec.types import parse_type
from lakeray.spec.wrong import WrongValue, quoted

Evolution = Literal["add_columns", "rescue", "fail", "ignore"]
Part = Literal["evolve", "freeze", "discard_row", "discard_value"]
Names = Literal["as_is", "snake_case"]

COLUMNS: dict[str, Part] = {
    "add_columns": "evolve",
    "rescue": "discard_value",
    "fail": "freeze",
    "ignore": "discard_value",
}
"""What each evolution says of new columns."""
TYPES: dict[str, Part] = {
    "add_columns": "discard_value",
    "rescue": "discard_value",
    "fail": "freeze",
    "ignore": "discard_row",
}
"""What each evolution says of values that do not fit their column."""


_NOT_NULL = " not null"


def _declared_type(value: str) -> str:
    parse_type(value.removesuffix(_NOT_NULL))
    return value


DeclaredType = Annotated[str, AfterValidator(_declared_type), Field(json_schema_extra={"minLength": 1})]


class Contract(Spec):
    """What may change by itself, part by part. What is not said follows `evolution`."""

    tables: Part = "evolve"
    """What happens when the table is not there. `evolve` (default): it is made. Anything else: the import stops;
    of child tables that a mapping makes, `discard_row` and `discard_value` leave the rows out."""
    columns: Part | None = None
    """What happens to a column or nested field that the table lacks. `evolve`: it is added. `freeze`: the import
    stops. `discard_row`: rows that have a value in it go to quarantine. `discard_value`: its values go into
    `_rescued_data` (with `evolution: ignore` they are left out). Default: as `evolution` says."""
    types: Part | None = None
    """What happens to a value that does not fit its column. `evolve`: the column takes the next wider type where no
    file of the table holds it yet (or `widen` allows to rewrite those), otherwise the value goes into `_rescued_data`.
    `freeze`: the import stops. `discard_row`: the row goes to quarantine. `discard_value`: the value is null and goes
    into `_rescued_data` (with `evolution: ignore` it is left out and counted). Default: as `evolution` says."""
    widen: Literal["none", "rewrite"] = "none"
    """`rewrite`: files of the table are written anew, in one commit, when a column takes a wider type: int32 to int64,
    integers to float64 where all stay exact, float32 to float64, date to timestamp, decimals to more digits, a struct
    in a map to more fields, and to string where `schema_hints` says string. Needs `types: evolve`. Default: `none`;
    the cost is that of reading and writing the table once."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Widening that nothing can ask for."""
        if data.get("widen") == "rewrite" and data.get("types") != "evolve":
            yield ("widen",), WrongValue("expected `types: evolve` beside it", found=quoted("rewrite"))


class DeclaredSchema(Choice):
    """What every record of the source must look like."""

    choices: ClassVar[tuple[str, ...]] = ("json_schema", "arrow")
    noun: ClassVar[str] = "a declared schema"

    json_schema: Text | dict[str, Any] | None = None
    """A JSON Schema, or the path of the file that holds one, relative to this file. `$schema` says its draft; default:
    2020-12. A null counts as an absent value unless the property's `type` allows null. References to other documents
    are not followed."""
    arrow: dict[Text, DeclaredType] | None = None
    """Types by column, as in `schema_hints`, which they are too. `not null` behind a type: the value must be there. A
    column that is not listed is a violation."""
    on_violation: Literal["quarantine", "drop", "warn", "fail"] = "quarantine"
    """What happens to a record that is not so. `quarantine` (default): it goes to the quarantine table with the path
    that is wrong. `drop`: it is left out and counted. `warn`: it is written and counted. `fail`: the import stops."""

    @property
    def fields(self) -> list[pa.Field]:
        """The declared columns."""
        found = []
        for name, text in (self.arrow or {}).items():
            plain = text.removesuffix(_NOT_NULL)
            found.append(pa.field(name, parse_type(plain), nullable=plain == text))
        return found


def contradictions(data: Mapping[str, object]) -> Iterator[Complaint]:
    """Where a source's `contract` says another thing than its `evolution`."""
    evolution, contract = data.get("evolution"), data.get("contract")
    if not isinstance(evolution, str) or evolution not in COLUMNS or not isinstance(contract, Mapping):
        return
    columns, types = contract.get("columns"), contract.get("types")
    if columns is not None and columns != COLUMNS[evolution]:
        meant = f"`evolution: {evolution}` means columns: {COLUMNS[evolution]}; say one of them"
        yield ("contract", "columns"), WrongValue(meant, found=quoted(str(columns)))
    meant = f"`evolution: {evolution}` means types: {TYPES[evolution]}; say one of them"
    if (evolution == "fail" and types not in (None, "freeze")) or (evolution == "ignore" and types == "evolve"):
        yield ("contract", "types"), WrongValue(meant, found=quoted(str(types)))
