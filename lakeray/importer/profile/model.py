"""A table's profile as values that texts, JSON and pictures share."""

from __future__ import annotations

from pydantic import Field

from lakeray.importer.recording.summary import Summary

Value = int | float | str | bool | None


class Bin(Summary):
    """One bar of a histogram: about ``share`` of the values lie in ``[low, high)``, the last one's end included."""

    low: Value
    high: Value
    share: float


class Frequent(Summary):
    """A value with about how many rows have it."""

    value: str
    rows: int


class Lengths(Summary):
    """How long texts (characters), binaries (bytes) and lists (elements) are."""

    low: int
    mean: float
    high: int


class ColumnProfile(Summary):
    """One column of the table.

    Exact: ``rows``, ``nulls``, ``nans``, ``low``, ``high``, ``mean``, ``stddev`` (of the population), ``lengths``.
    Estimated: ``distinct`` (within ``distinct_low`` and ``distinct_high`` with 95 % confidence; of values that are not
    null), ``quantiles`` and ``histogram`` (rank error about 1.3 %), ``top``. ``hidden`` says why no value of the column
    is shown. Dates and times are in ISO 8601.
    """

    name: str
    type: str
    rows: int
    nulls: int
    nans: int = 0
    distinct: int | None = None
    distinct_low: int | None = None
    distinct_high: int | None = None
    low: Value = None
    high: Value = None
    mean: float | None = None
    stddev: float | None = None
    quantiles: dict[str, Value] = Field(default_factory=dict)
    histogram: list[Bin] = Field(default_factory=list)
    top: list[Frequent] = Field(default_factory=list)
    lengths: Lengths | None = None
    samples: list[str] = Field(default_factory=list)
    hidden: str | None = None

    @property
    def null_rate(self) -> float:
        """Nulls over rows; 0.0 when there are none."""
        return self.nulls / self.rows if self.rows else 0.0


class LayoutProfile(Summary):
    """The data files. ``small_files`` are below half of ``target_bytes``; ``largest_partition`` is that one's share of
    all bytes, beside what an even spread would be.
    """

    files: int
    size_bytes: int
    smallest_bytes: int
    median_bytes: int
    largest_bytes: int
    small_files: int
    target_bytes: int
    row_groups: int | None = None
    rows_a_group: int | None = None
    partitions: int = 1
    largest_partition: str | None = None
    largest_share: float | None = None
    notes: list[str] = Field(default_factory=list)


class TableProfile(Summary):
    """One version of a table."""

    uri: str
    version: int
    rows: int
    columns: list[ColumnProfile]
    layout: LayoutProfile
    duration_s: float = 0.0
