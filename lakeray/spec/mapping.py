"""How columns of a source become columns of a table: paths, casts, constants, nested values taken apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic.json_schema import JsonSchemaValue

from lakeray.spec.formats import DatePattern, NumberFormat
from lakeray.spec.paths import parse_path
from lakeray.spec.strict import Complaint, Spec
from lakeray.spec.texts import Text, TypeText, Zone
from lakeray.spec.types import parse_type
from lakeray.spec.wrong import WrongValue, quoted

Value = str | int | float | bool


def _path(value: str) -> str:
    parse_path(value)
    return value


Path = Annotated[str, AfterValidator(_path), Field(json_schema_extra={"minLength": 1})]


class MappedColumn(Spec):
    """One column of the table: where its value comes from, what becomes of it."""

    shorthand: ClassVar[str | None] = "from"

    from_: Path | None = Field(default=None, alias="from")
    """A column of the source, or a path into its nested data: `customer.address.city`, `items[0].sku`. A name with a
    dot stands between backticks. What is not there is null."""
    constant: Value | None = None
    """The same value in every row, in place of `from`."""
    cast: TypeText | None = None
    """The type that the value is turned into, such as `date` or `decimal(18, 2)`. Default: the type it has. A row whose
    value does not fit goes into quarantine."""
    format: DatePattern | NumberFormat | None = None
    """How the text is written that `cast` reads: for dates and timestamps a pattern such as `%d.%m.%Y %H:%M`, for
    numbers `{decimal: ",", thousands: "."}`. Default: ISO 8601, and numbers with a point."""
    timezone: Zone = "UTC"
    """The zone of times that name none. Default: UTC. A time that the zone's clock change skips or shows twice is
    refused."""
    default: Value | None = None
    """What stands for null. Default: null stays null."""
    keep_json: bool = False
    """Whether a nested value is kept as JSON text. Default: false."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """No origin or two; options that need another."""
        if (data.get("from") is None) == (data.get("constant") is None):
            found = "neither" if data.get("from") is None else "both"
            yield (), WrongValue("a mapped column has exactly one of: from, constant", found=found)
        kind = _kind(data.get("cast"))
        said = data.get("format")
        if said is not None and kind is None:
            yield ("format",), WrongValue("only a cast needs a format", found="no cast")
        if isinstance(said, str) and kind in ("number", "other"):
            yield ("format",), WrongValue("only dates and timestamps are written by a pattern", found=quoted(said))
        if isinstance(said, Mapping | NumberFormat) and kind in ("time", "other"):
            yield ("format",), WrongValue("only numbers have separators; expected a pattern such as %d.%m.%Y")
        if data.get("keep_json") is True and data.get("cast") is not None:
            yield ("keep_json",), WrongValue("JSON text has no other type: take out cast or keep_json")

    @classmethod
    def narrow(cls, schema: JsonSchemaValue) -> None:
        """Exactly one origin."""
        schema["oneOf"] = [{"required": ["from"]}, {"required": ["constant"]}]


def _kind(cast: object) -> str | None:
    """What sort of text a cast reads; None without a cast."""
    import pyarrow.types as pt

    if not isinstance(cast, str):
        return None
    try:
        kind = parse_type(cast)
    except ValueError:
        return "unknown"
    if pt.is_date(kind) or pt.is_timestamp(kind):
        return "time"
    return "number" if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind) else "other"


class Flatten(Spec):
    """The fields of a struct become columns."""

    shorthand: ClassVar[str | None] = "prefix"

    prefix: str = ""
    """Text in front of each field's name. Default: none."""
    depth: int = Field(default=1, ge=1, le=32)
    """How many levels of structs are taken apart; what is nested deeper stays a struct. Default: 1. Names of levels are
    joined by `_`."""


class Mapped(Spec):
    """What the columns of a table are made of."""

    columns: dict[Text, MappedColumn] = Field(default_factory=dict)
    """Columns of the table by name. Default: none."""
    flatten: dict[Text, Flatten] = Field(default_factory=dict)
    """Columns that hold structs and become columns of their own, by name. Default: none."""
    rest: Literal["keep", "drop"] = "keep"
    """What happens to the source's columns that nothing here mentions. `keep` (default): they stay as they are. `drop`:
    they are left out."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A mapping that maps nothing."""
        if not data.get("columns") and not data.get("flatten"):
            yield (), WrongValue("a mapping has at least one of: columns, flatten", found="none of them")
