"""All that is looked at while `lakeray up` stands, so that runs begin by themselves and others hear of them."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from lakeray.config import Settings
from lakeray.runtime.durable.duties import Duty
from lakeray.runtime.durable.run import definition_of
from lakeray.runtime.durable.triggers.backfills import Backfills
from lakeray.runtime.durable.triggers.ends import Ends
from lakeray.runtime.durable.triggers.looks import Beside
from lakeray.runtime.durable.triggers.queues import Queues
from lakeray.runtime.durable.triggers.registered import Files, parts_of
from lakeray.runtime.durable.triggers.schedules import Schedules
from lakeray.runtime.durable.triggers.watches import Watches
from lakeray.runtime.durable.triggers.webhooks import Webhooks
from lakeray.spec.model import Workflow
from lakeray.state import EventStore

_LOOKS_AT_ONCE = 4
_NOTIFICATIONS_AT_ONCE = 8


def duties(store: EventStore, clock: Callable[[], datetime]) -> Sequence[Duty]:
    """The duties over a store. Raises ConfigError for a wrong environment variable."""
    looks = ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="lakeray-look")
    notifications = ThreadPoolExecutor(_NOTIFICATIONS_AT_ONCE, thread_name_prefix="lakeray-notification")
    private_hosts = Settings.from_env(os.environ).private_hosts
    return [
        Schedules(store=store, clock=clock),
        Backfills(store, clock),
        Ends(store, clock),
        Queues(store, clock),
        Watches(store, clock, Beside(looks)),
        Webhooks(store, clock, pool=notifications, private_hosts=private_hosts),
    ]


def register(store: EventStore, workflow: Workflow, at: datetime) -> list[str]:
    """Have runs of a workflow begin as its file says now; what begins them, a sentence each."""
    parts = parts_of(workflow)
    if not parts:
        return []
    Files(store).add(definition_of(workflow), principal=getpass.getuser(), at=at)
    found = [f"runs begin by the trigger {name} ({trigger.kind})" for name, trigger in workflow.triggers.items()]
    if workflow.schedule is not None:
        found.insert(0, f"runs begin at {workflow.schedule.cron} in {workflow.schedule.timezone}")
    return found
