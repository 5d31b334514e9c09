"""What the first version kept of schedules, triggers, backfills, claims and notifications still loads."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from lakeray.importer.claims.claim import Claim
from lakeray.importer.claims.ranges import Range
from lakeray.runtime.durable.notices import Notification
from lakeray.runtime.durable.triggers.backfills import KeptBackfill
from lakeray.runtime.durable.triggers.ends import Followed
from lakeray.runtime.durable.triggers.kept import KeptSchedule, KeptTrigger
from lakeray.runtime.durable.triggers.news import Notices
from lakeray.runtime.durable.triggers.registered import Registered
from lakeray.runtime.durable.triggers.telling import KeptNotification

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
SCHEDULE = b"""{"state":{"cursor":"2024-05-01T12:00:00Z","lane":{"running":[{"key":"schedule/2024-05-01T12:00:00+00:00",
"name":"schedule","at":"2024-05-01T12:00:00Z"}]},"paused":"by hand"},"said":[{
"at":"2024-05-01T12:00:00Z","text":"x"}]}"""
TRIGGER = b"""{"state":{"sensor":{"type":"expect","armed_at":"2024-05-01T12:00:00Z","since":"2024-05-01T12:00:00Z",
"inner":{"type":"arrival","armed_at":"2024-05-01T12:00:00Z"}}}}"""
BACKFILL = b"""{"backfill":{"plan":{"backfill_id":"backfill-1","workflow":"w","step":"ingest","values":["eu","us"],
"by":["region"]},"codes":"sr","started_at":"2024-05-01T12:00:00Z","since":{"1":"2024-05-01T12:00:00Z"}},
"tenant":"default","principal":"ann"}"""
REGISTERED = b"""{"definition":{"workflow":"w","tenant":"default","steps":{}},"principal":"ann",
"added_at":"2024-05-01T12:00:00Z","since":{"schedule":"2024-05-01T12:00:00Z"}}"""
NOTIFICATION = b"""{"message_id":"r/5/ops","said":{"subscriber":"ops","url":"https://ops.example/","secret":"env:K",
"event":{"id":"r/5"}},"due_at":"2024-05-01T12:00:00Z","attempts":3,"why":"HTTP 500"}"""
NOTICES = (
    b"""{"notices":[{"uri":"s3://b/k","notice_id":"n","origin":"posted"}],"at":"2024-05-01T12:00:00Z","format":1}"""
)
CLAIM = b"""{"format":1,"number":17,"owner":"backfill b 2024-05-01T00:00:00Z","range":{"by":["day"],"timezone":"UTC",
"start":"2024-05-01T00:00:00+00:00","end":"2024-05-01T12:00:00+00:00"}}"""


def test_registers():
    schedule = msgspec.json.decode(SCHEDULE, type=KeptSchedule)
    assert (schedule.state.cursor, schedule.state.paused, schedule.said[0].text) == (AT, "by hand", "x")
    assert msgspec.json.decode(TRIGGER, type=KeptTrigger).state.sensor.inner.armed_at == AT
    backfill = msgspec.json.decode(BACKFILL, type=KeptBackfill).backfill
    assert (backfill.codes, backfill.since, backfill.plan.by) == ("sr", {1: AT}, ("region",))
    assert msgspec.json.decode(REGISTERED, type=Registered).since == {"schedule": AT}
    notification = msgspec.json.decode(NOTIFICATION, type=KeptNotification)
    assert notification.said == Notification(
        subscriber="ops", url="https://ops.example/", secret="env:K", event={"id": "r/5"}
    )
    assert msgspec.json.decode(NOTICES, type=Notices).notices[0].uri == "s3://b/k"
    assert msgspec.json.decode(b'{"positions":{"3":7},"format":1}', type=Followed).positions == {3: 7}


def test_claims():
    claim = Claim.from_bytes(CLAIM, uri="x")
    start = datetime(2024, 5, 1, tzinfo=UTC)
    owner = "backfill b 2024-05-01T00:00:00Z"
    assert claim == Claim(number=17, owner=owner, range=Range(start=start, end=AT, by=("day",)))
    assert Claim.from_bytes(claim.to_bytes(), uri="x") == claim
