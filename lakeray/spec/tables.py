"""Tables of a workflow file: where a Delta table lies, how its files are laid out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from lakeray.spec.strict import Complaint, Spec, repeated
from lakeray.spec.texts import TableUri, Text
from lakeray.spec.units import PositiveSize
from lakeray.spec.wrong import WrongValue


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
    zstd_level: int = Field(default=1, ge=1, le=22)
    """Effort of compression, 1 (fast) to 22 (small). Default: 1, which is smaller than snappy at about its speed."""
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
        """A column to partition by twice, quarantine in the table itself."""
        yield from repeated(data.get("partition_by"), "partition_by")
        uri, quarantine = data.get("uri"), data.get("quarantine")
        if isinstance(uri, str) and isinstance(quarantine, str) and same_place(uri, quarantine):
            yield ("quarantine",), WrongValue("expected another place than the table's own uri")

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
