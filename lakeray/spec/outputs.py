"""Outputs of a workflow file: a batch's rows once more, in another format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from lakeray.spec.strict import Complaint, Spec
from lakeray.spec.texts import TableUri
from lakeray.spec.wrong import WrongValue

OutputFormat = Literal["parquet", "csv", "json", "arrow"]
Codec = Literal["none", "gzip", "zstd", "lz4", "snappy"]
_CODECS: dict[str, tuple[Codec, ...]] = {
    "parquet": ("zstd", "snappy", "gzip", "lz4", "none"),
    "csv": ("none", "gzip", "zstd"),
    "json": ("none", "gzip", "zstd"),
    "arrow": ("none", "zstd", "lz4"),
}
"""The codecs of each format, its default first."""


class Output(Spec):
    """The rows that each batch adds to the table, once more as files of another format; masked like the table.

    Files are named by batch and attempt. In the folder, `_lakeray/<table id>/<pipeline>/<step>/<output>/<batch>.json`
    names those that count: whoever follows these markers sees every row once.
    """

    format: OutputFormat
    """`parquet`, `csv` (with a header; nested values as JSON texts), `json` (an object a line), `arrow` (IPC files)."""
    uri: TableUri
    """The folder: s3://bucket/path, abfss://..., az://container/path or a local path."""
    compression: Codec | None = Field(default=None)
    """How files are compressed. Parquet: zstd (default), snappy, gzip, lz4, none. csv and json: none (default), gzip,
    zstd. arrow: none (default), zstd, lz4."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A codec that the format does not have."""
        kind, codec = data.get("format"), data.get("compression")
        allowed = _CODECS.get(kind) if isinstance(kind, str) else None
        if allowed is not None and isinstance(codec, str) and codec in _ALL and codec not in allowed:
            yield (
                ("compression",),
                WrongValue(f"allowed for {kind}: {', '.join(allowed)}", found=f"{codec}"),
            )

    @property
    def codec(self) -> Codec:
        """How files are compressed."""
        return self.compression or _CODECS[self.format][0]


_ALL = {codec for codecs in _CODECS.values() for codec in codecs}


def without_outputs(step: Mapping[str, object]) -> Iterator[Complaint]:
    """Outputs of an import whose batches are more than new rows."""
    plan = step.get("import")
    mode = plan.get("mode") if isinstance(plan, Mapping) else None
    if step.get("outputs") and mode in ("merge", "scd2"):
        yield ("outputs",), WrongValue("only the modes append and overwrite have outputs", found=f"mode {mode}")
