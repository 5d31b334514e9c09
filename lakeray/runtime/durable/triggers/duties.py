"""All that is looked at while `lakeray up` stands, so that runs begin by themselves and others hear of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from lakeray.config import Settings
from lakeray.runtime.durable.duties import DutiesOf, Duty
from lakeray.runtime.durable.triggers.backfills import Backfills
from lakeray.runtime.durable.triggers.ends import Ends
from lakeray.runtime.durable.triggers.looks import Beside
from lakeray.runtime.durable.triggers.queues import Queues
from lakeray.runtime.durable.triggers.schedules import Schedules
from lakeray.runtime.durable.triggers.watches import Watches
from lakeray.runtime.durable.triggers.webhooks import Webhooks
from lakeray.state import EventStore

_LOOKS_AT_ONCE = 4
_LETTERS_AT_ONCE = 8


def duties_of(settings: Settings) -> DutiesOf:
    """Makes the duties over a store."""

    def made(store: EventStore, clock: Callable[[], datetime]) -> Sequence[Duty]:
        looks = ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="lakeray-look")
        letters = ThreadPoolExecutor(_LETTERS_AT_ONCE, thread_name_prefix="lakeray-letter")
        return [
            Schedules(store=store, clock=clock),
            Backfills(store, clock),
            Ends(store, clock),
            Queues(store, clock),
            Watches(store, clock, Beside(looks)),
            Webhooks(store, clock, pool=letters, private_hosts=settings.private_hosts),
        ]

    return made
