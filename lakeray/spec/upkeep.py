"""When and how imports keep their tables in shape."""

from __future__ import annotations

from pydantic import Field

from lakeray.spec.strict import Spec
from lakeray.spec.texts import Text
from lakeray.spec.units import PositiveSize


class OptimizeWhen(Spec):
    """The rule that starts an optimize after an import."""

    small_files: int = Field(default=50, ge=2, le=1_000_000)
    """So many files of less than half the target, in one partition. Default: 50. Fewer keeps reads fast, more writes
    rows again less often."""


class Optimize(Spec):
    """Small files are put together after imports, by rule; an import never fails because of it."""

    when: OptimizeWhen = OptimizeWhen()
    """The rule. Default: 50 small files in a partition."""
    target: PositiveSize | None = None
    """Bytes that a data file is aimed at. Default: the table's `target_file_size`."""
    z_order: list[Text] = Field(default_factory=list)
    """Columns by which the rows of such a partition are put in order while at it; all its rows are written again.
    Default: none: small files are put together as they are."""
