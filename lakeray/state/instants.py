"""Points in time as whole microseconds since 1970, the form in which they are stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(at: datetime) -> int:
    """Raises TypeError for a time without a zone."""
    return (at - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The inverse of ``to_us``, in UTC."""
    return _EPOCH + us * _MICROSECOND


def maybe_us(at: datetime | None) -> int | None:
    """Likewise for a time that may be missing."""
    return None if at is None else to_us(at)


def maybe_from_us(us: int | None) -> datetime | None:
    """The inverse of ``maybe_us``."""
    return None if us is None else from_us(us)


def now() -> datetime:
    """This machine's clock, in UTC."""
    return datetime.now(UTC)
