"""What a lake shows of the state of its runs, beside the runs themselves."""

from __future__ import annotations

from lakeray.config import Settings
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable.queues import BreakersOf, PoolsOf


class OfState:
    """Looks at the state that the settings name (`LAKERAY_STATE`)."""

    _settings: Settings

    @property
    def pools(self) -> PoolsOf:
        """Pools and concurrency keys: who holds them, who waits."""
        return PoolsOf(state=self._settings.state)

    @property
    def breakers(self) -> BreakersOf:
        """Circuit breakers that have seen failures."""
        return BreakersOf(state=self._settings.state, now=utc_now)
