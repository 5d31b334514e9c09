"""Sources of a workflow file: which objects, in which format, how strictly read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field

from lakeray.spec.contract import COLUMNS, TYPES, Contract, DeclaredSchema, Evolution, Names, Part, contradictions
from lakeray.spec.strict import Complaint, Spec, repeated
from lakeray.spec.texts import SourceUri, Text, TypeText
from lakeray.spec.types import parse_type
from lakeray.spec.units import Duration, PositiveSize
from lakeray.spec.wrong import WrongValue, nearest, quoted

Format = Literal["json", "csv", "tsv", "parquet", "avro", "orc", "arrow", "text", "binary", "delta"]
Compression = Literal["auto", "none", "gzip", "zstd", "bz2", "xz"]
ChangedObjects = Literal["ignore", "append", "fail", "replace"]
DeletedObjects = Literal["keep", "delete"]


def _one_character(value: str) -> str:
    if len(value) == 1 and len(value.encode("utf-8", "replace")) == 1 and value not in "\r\n\x00":
        return value
    raise WrongValue('expected one ASCII character, as in "," or "\\t"', found=quoted(value))


def _encoding(value: str) -> str:
    import codecs

    try:
        info = codecs.lookup(value)
    except (LookupError, ValueError):
        near = nearest(value, ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252", "iso8859-15"))
        raise WrongValue(
            "expected an encoding that Python knows, such as utf-8, utf-16, latin-1 or cp1252",
            found=quoted(value),
            nearest=near,
        ) from None
    if not info._is_text_encoding:  # noqa: SLF001 - the only mark of codecs that are none of text, such as base64
        raise WrongValue("expected an encoding of text, such as utf-8 or latin-1", found=quoted(value))
    return value


Character = Annotated[str, AfterValidator(_one_character), Field(json_schema_extra={"minLength": 1, "maxLength": 1})]


class CsvOptions(Spec):
    """How the text of a csv or tsv object is cut into fields."""

    delimiter: Character | None = None
    """One character between fields. Default: a comma for csv, a tab for tsv."""
    quote: Character | None = '"'
    """One character around fields that hold delimiters or line ends. Default: the double quote; null: fields are never
    quoted."""
    escape: Character | None = None
    """One character that takes the meaning from the next one. Default: none, a quote inside a quoted field is
    doubled."""
    header: bool = True
    """Whether the first record names the columns. Default: true. Without a header, name them in `columns`."""
    null_values: list[str] = Field(default_factory=lambda: [""])
    """Unquoted texts that stand for null. Default: only the empty text."""
    columns: list[Text] | None = Field(default=None, min_length=1)
    """Names of the columns, in order. Default: taken from the header, or column_1, column_2 ... without one."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Characters with two meanings; a column named twice."""
        characters = {key: data.get(key) for key in ("delimiter", "quote", "escape")}
        for second, first in (("quote", "delimiter"), ("escape", "delimiter")):
            if isinstance(characters[second], str) and characters[second] == characters[first]:
                yield (second,), WrongValue(f"expected another character than {first}'s")
        yield from repeated(data.get("columns"), "columns")


class JsonOptions(Spec):
    """How the text of a json object is cut into records."""

    shape: Literal["auto", "lines", "array"] = "auto"
    """`lines`: one JSON object a line. `array`: one array of objects. Default `auto`: decided by each object's first
    character."""


class DeltaOptions(Spec):
    """How the versions of a Delta table are read."""

    read: Literal["changes", "snapshot"] = "changes"
    """`changes` (default): each version's new rows; from a table that keeps a change data feed, its row changes with
    the columns `_change_type` (insert, update_postimage, delete), `_commit_version` and `_commit_timestamp`, which mode
    merge takes as `operation` and `sequence`. `snapshot`: all rows of the newest version; for mode overwrite."""
    starting_version: int = Field(default=0, ge=0)
    """The first version whose changes are read. Default: 0. Later versions follow, each once."""
    change_commits: Literal["fail", "skip", "append"] = "fail"
    """What happens at a version that removes rows, when the table keeps no change data feed. `fail` (default): the
    import stops. `skip`: that version is left out. `append`: the rows of its new files are read, also those that it
    only copied."""


class Source(Spec):
    """A declared dataset of objects."""

    uri: SourceUri
    """Where the objects are: s3://bucket/path/, abfss://container@account.dfs.core.windows.net/path/,
    az://container/path/ or a local path. `*`, `?`, `[a-z]` and `**` match names; `{name}` makes a column of one part of
    the path. The text in front of the first of them is the prefix that is listed, so keep it long."""
    format: Format
    """What the objects hold. `delta`: the uri is a Delta table, whose versions are the objects. Compression is no
    format: it is seen by the name (.gz, .zst, .bz2, .xz) or set in `compression`."""
    schema_hints: dict[Text, TypeText] = Field(default_factory=dict)
    """Types of columns by name, such as `{order_id: int64, price: "decimal(18, 2)"}`. Default: none, types are inferred
    from a sample. Hint what must not depend on a sample: keys, money, timestamps."""
    evolution: Evolution = "add_columns"
    """What happens to columns that the table does not have. `add_columns` (default): they are added. `rescue`: their
    values go into `_rescued_data`. `fail`: the import stops. `ignore`: they are left out. `contract` says it part by
    part."""
    contract: Contract = Contract()
    """What may change by itself, part by part. Default: as `evolution` says."""
    names: Names = "as_is"
    """What columns and nested fields are called. `as_is` (default): as the source spells them. `snake_case`: in lower
    case letters, digits and _, so that `Order ID`, `orderId` and `order-id` are all `order_id`. Where a record has two
    that become one, the first in the order of their spelling counts and the others go into `_rescued_data`."""
    declared_schema: DeclaredSchema | None = None
    """What every record must look like, as a JSON Schema or as Arrow types. Default: nothing is declared."""
    changed_objects: ChangedObjects = "ignore"
    """What happens when an imported object was overwritten. `ignore` (default): nothing, and the report says so.
    `append`: the new version is imported as well. `fail`: the import stops. `replace`: the old version's rows are
    replaced by the new one's."""
    deleted_objects: DeletedObjects = "keep"
    """What happens when an imported object is not listed any more. `keep` (default): its rows stay. `delete`: its rows
    are taken out, once the source was listed to its end."""
    deletion_guard: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the imported objects, 0 to 1, above which `deleted_objects: delete` takes it for a mistake that they are
    gone, and stops the import. Default: 0.5. Set 1 for the one run in which so many really go."""
    min_age: Duration = 0.0
    """Seconds since its last change that an object must have rested to be imported. Default: 0. Set it where writers
    are not atomic, as on a local or network file system."""
    max_tries: int = Field(default=3, ge=1, le=1000)
    """How often an object that cannot be read is tried, over runs, until it counts as poison. Default: 3."""
    max_record_bytes: PositiveSize = 16 * 2**20
    """A record above this many bytes is refused like a malformed one. Default: 16MiB. It bounds the memory that one
    record can take."""
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None
    """Encoding of csv, tsv, json and text objects. Default: utf-8, or what a byte order mark says."""
    compression: Compression = "auto"
    """How objects are compressed. Default `auto`: seen by the name and the first bytes."""
    partitions: Literal["hive", "none"] = "hive"
    """`hive` (default): `name=value` folders in the path become columns. `none`: they do not."""
    csv: CsvOptions = CsvOptions()
    """Options of the formats csv and tsv."""
    json_: JsonOptions = Field(default=JsonOptions(), alias="json")
    """Options of the format json."""
    delta: DeltaOptions = DeltaOptions()
    """Options of the format delta."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Options of another format; a contract against the evolution."""
        yield from contradictions(data)
        given = data.get("format")
        for key, formats in (
            ("csv", ("csv", "tsv")),
            ("json", ("json",)),
            ("delta", ("delta",)),
            ("encoding", _TEXTUAL),
        ):
            default = cls.model_fields[cls.attributes()[key]].default
            unsaid: tuple[object, ...] = (
                None,
                {},
                default,
                default.model_dump() if isinstance(default, Spec) else None,
            )
            if data.get(key) not in unsaid and given in _FORMATS and given not in formats:
                listed = " or ".join(formats)
                yield (key,), WrongValue(f"this belongs to format {listed}", found=f"{quoted(key)} at format {given}")
        if given == "delta" and data.get("deleted_objects", "keep") != "keep":
            yield (
                ("deleted_objects",),
                WrongValue("the versions of a Delta table take no rows back by being cleaned up"),
            )

    @property
    def hints(self) -> dict[str, pa.DataType]:
        """The Arrow type by column that `schema_hints` asks for."""
        declared = self.declared_schema.fields if self.declared_schema else []
        hints = {item.name: item.type for item in declared}
        return hints | {column: parse_type(text) for column, text in self.schema_hints.items()}

    @property
    def columns_rule(self) -> Part:
        """What happens to a column that the table lacks."""
        return self.contract.columns or COLUMNS[self.evolution]

    @property
    def types_rule(self) -> Part:
        """What happens to a value that does not fit its column."""
        return self.contract.types or TYPES[self.evolution]

    @property
    def delimiter(self) -> str:
        """The character between fields of a csv or tsv object."""
        return self.csv.delimiter or ("\t" if self.format == "tsv" else ",")


_FORMATS = ("json", "csv", "tsv", "parquet", "avro", "orc", "arrow", "text", "binary", "delta")
_TEXTUAL = ("json", "csv", "tsv", "text")
