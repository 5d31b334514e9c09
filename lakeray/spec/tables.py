"""Tables of a workflow file: where a Delta table lies, how its files are laid out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from lakeray.spec.strict import Complaint, Spec, repeated
from lakeray.spec.texts import Name, TableUri, Text
from lakeray.spec.units import PositiveSize
from lakeray.spec.upkeep import Optimize
from lakeray.spec.wrong import WrongValue

_LEVELS = {"zstd": (1, 22), "gzip": (1, 9)}


class Compression(Spec):
    """How data files are compressed."""

    shorthand: ClassVar[str | None] = "codec"

    codec: Literal["zstd", "snappy", "gzip", "lz4", "none"] = "zstd"
    """`zstd` (default): small at about snappy's speed. `snappy`: what most engines write. `lz4`: the fastest to read,
    known to newer readers only. `gzip`: for old readers. `none`: large files."""
    level: int | None = Field(default=None, ge=1, le=22)
    """Effort: 1 (fast) to 22 (small) for zstd, to 9 for gzip; the other codecs have none. Default: 1 for zstd, 6 for
    gzip."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A level that the codec does not have."""
        codec, level = data.get("codec", "zstd"), data.get("level")
        if not isinstance(level, int) or codec not in ("zstd", "snappy", "gzip", "lz4", "none"):
            return
        if codec not in _LEVELS:
            yield ("level",), WrongValue("only zstd and gzip have levels", found=f"codec {codec}")
        elif codec == "gzip" and level > _LEVELS["gzip"][1]:
            yield ("level",), WrongValue("expected at most 9 for gzip", found=str(level))

    @property
    def effort(self) -> int | None:
        """The level that is meant; None where the codec has none."""
        return self.level if self.codec not in _LEVELS or self.level else {"zstd": 1, "gzip": 6}[self.codec]


class Table(Spec):
    """A Delta table that lakeray writes."""

    uri: TableUri
    """Where the table lies: s3://bucket/path, abfss://..., az://container/path or a local path. It is made when it is
    not there."""
    partition_by: list[Text] = Field(default_factory=list)
    """Columns whose values become folders. Default: none. Take columns with few values that most queries filter by,
    such as a day; never an id. Cannot be changed once the table exists."""
    target_file_size: PositiveSize = 256 * 2**20
    """Bytes that a data file is aimed at. Default: 256MiB. Smaller files suit point look-ups, larger ones scans."""
    compression: Compression = Compression()
    """How data files are compressed: `{codec: zstd, level: 1}` (default), or only the codec."""
    zstd_level: int | None = Field(default=None, ge=1, le=22)
    """Short for `compression: {codec: zstd, level: ...}`, 1 (fast) to 22 (small). Default: what `compression` says."""
    optimize: Optimize | None = None
    """Small files are put together after imports once there are many: `{when: {small_files: 50}, target: 256MiB}`.
    Default: never by itself; `lakeray tables optimize` and steps of kind `maintain` do so when asked."""
    tags: dict[Text, list[Name]] = Field(default_factory=dict)
    """Classification of columns, such as `{email: [pii, contact]}`. Default: none. It is kept in the table's own
    metadata (`lakeray.tags` of each column), and the report says which tagged columns no mask hides."""
    quarantine: TableUri | None = None
    """Where refused rows go. Default: the table's uri with `_quarantine` behind it."""
    provenance: bool = False
    """Whether each row says which object version it came from, in the columns `_lakeray_import`, `_lakeray_batch` and
    `_lakeray_object`. Default: false, unless a policy needs it (`changed_objects: replace`, `deleted_objects: delete`,
    `compensate: withdraw`). Rows can be taken out again only where it was kept when they were imported; so keep it
    where that may be wanted: it costs a few bytes a file."""
    change_data_feed: bool = False
    """Whether the table keeps a change data feed, which tells readers of each row that was inserted, updated or
    deleted. Default: false, unless the table has one. It costs a second copy of rows that are changed."""
    properties: dict[Text, str] = Field(default_factory=dict)
    """Delta table properties, set when the table is made, such as `delta.logRetentionDuration: interval 60 days`.
    Default: none."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A column to partition by twice, quarantine in the table itself, two words about compression."""
        yield from repeated(data.get("partition_by"), "partition_by")
        tags = data.get("tags")
        for column, names in tags.items() if isinstance(tags, Mapping) else ():
            yield from ((("tags", *loc), wrong) for loc, wrong in repeated(names, column))
        uri, quarantine = data.get("uri"), data.get("quarantine")
        if isinstance(uri, str) and isinstance(quarantine, str) and same_place(uri, quarantine):
            yield ("quarantine",), WrongValue("expected another place than the table's own uri")
        if data.get("zstd_level") is not None and data.get("compression") is not None:
            yield ("zstd_level",), WrongValue("only one of: compression, zstd_level", found="both")

    @property
    def codec(self) -> Compression:
        """How data files are compressed, whichever way it was said."""
        return self.compression if self.zstd_level is None else Compression(codec="zstd", level=self.zstd_level)

    @property
    def feed_properties(self) -> dict[str, str]:
        """The Delta property that `change_data_feed` asks for, if it does."""
        return {"delta.enableChangeDataFeed": "true"} if self.change_data_feed else {}

    @property
    def quarantine_uri(self) -> str:
        """Where refused rows go."""
        return self.quarantine or f"{self.uri.rstrip('/')}_quarantine"


def place(uri: str) -> str:
    """A spelling of ``uri`` in which two spellings of one place are equal, without looking at any file system."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        path = rest if separator else uri
        parts = [part for part in path.split("/") if part not in {"", "."}]
        return ("/" if path.startswith("/") else "") + "/".join(parts)
    known = {"s3a": "s3", "abfs": "abfss"}
    return f"{known.get(scheme, scheme)}://{rest.rstrip('/')}"


def same_place(one: str, other: str) -> bool:
    """Whether both uris are spellings of one place."""
    return place(one) == place(other)
