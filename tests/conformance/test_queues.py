"""Queues that keep Amazon's protocol: what they tell comes again until it is deleted."""

from __future__ import annotations

import json

import pytest

from lakeray.runtime.durable.triggers.queues import Queues, Sqs
from tests.missing import or_skip
from tests.servers import ServerMissing, start_moto
from tests.unit.runtime.triggers.store_world import STEP, World
from tests.unit.runtime.triggers.test_registered_triggers import s3_event


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """The address of an empty queue, whose messages come again at once."""
    import botocore.session

    try:
        with start_moto(tmp_path / "moto") as server:
            for name, value in server.env.items():
                monkeypatch.setenv(name, value)
            client = botocore.session.Session().create_client(
                "sqs", endpoint_url=server.endpoint, region_name="us-east-1"
            )
            url = client.create_queue(QueueName="news", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
            yield url, client
    except ServerMissing as missing:
        or_skip(missing)


def test_messages_come_again_until_they_are_deleted(queue, tmp_path, monkeypatch):
    url, client = queue
    for number in range(25):
        client.send_message(QueueUrl=url, MessageBody=s3_event("lake", f"raw/{number}.json").decode())
    reader = Sqs(url)
    first = reader.receive()
    assert 0 < len(first) <= 10
    assert json.loads(first[0][1])["Records"]
    world = World(tmp_path)
    world.add(
        f"""
workflow: w
sources: {{raw: {{uri: "s3://lake/raw/", format: json}}}}
triggers: {{came: {{arrival: {{source: raw, queue: "{url}"}}}}}}
{STEP}
"""
    )
    from lakeray.runtime.durable.triggers.news import News

    for _ in range(3):
        Queues(world.store, world.clock).tick()
    assert {notice.uri for notice in News(world.store).waiting()} == {
        f"s3://lake/raw/{number}.json" for number in range(25)
    }
    assert reader.receive() == []
    world.store.close()
