"""Others hear of what becomes of runs: signed, at least once, with an id that stays, and no secret on the way.

Crash points: an address was told and the notification is in the outbox still.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lakeray.runtime.durable.triggers.ends import Ends
from lakeray.runtime.durable.triggers.schedules import Schedules
from lakeray.runtime.durable.triggers.telling import pending, undelivered
from lakeray.runtime.durable.triggers.watches import Watches
from lakeray.runtime.durable.triggers.webhooks import PrivateAddress, Webhooks, public_address, signature, wait_s
from tests.unit.runtime.triggers.store_world import STEP, AtOnce, dying_at

KEY = "topsecret-1234567890"


class Receiver:
    """An address on loopback: answers with the next of ``answers``, or 200; 0 hangs."""

    def __init__(self):
        self.answers: list[int] = []
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.let_go = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status = receiver.answers.pop(0) if receiver.answers else 200
                if not status:
                    receiver.let_go.wait(10)
                    return
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "600")
                if status == 302:
                    self.send_header("Location", "http://169.254.169.254/latest/meta-data")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?a=1"

    def close(self):
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver(monkeypatch):
    monkeypatch.setenv("HOOK_KEY", KEY)
    receiver = Receiver()
    yield receiver
    receiver.close()


def file(receiver, on, more=""):
    return f"""
workflow: w
schedule: {{cron: "*/5 * * * *", overlap: allow_all, pause_on_failure: true}}
notify:
  ops: {{url: "{receiver.url}", secret: "env:HOOK_KEY", on: [{on}], maximum_attempts: 3, timeout: 300ms}}
{STEP}
{more}
"""


def webhooks(world, hosts=("127.0.0.1",)):
    return Webhooks(world.store, world.clock, pool=AtOnce(), private_hosts=hosts)


def a_failed_run(world, receiver, on="run.failed"):
    world.add(file(receiver, on))
    world.passes(minutes=5)
    Schedules(store=world.store, clock=world.clock).tick()
    [head] = world.own()
    world.end(head.run_id, failed=True)
    return head.run_id


def test_a_failed_run_is_told_signed_and_once(world, receiver):
    run_id = a_failed_run(world, receiver)
    for _ in range(2):
        webhooks(world).tick()
        world.passes(hours=1)
    [(headers, body)] = receiver.heard
    event = json.loads(body)
    assert event["specversion"] == "1.0"
    assert (event["type"], event["source"], event["subject"]) == ("lakeray.run.failed", "/lakeray/default/w", run_id)
    assert event["data"]["failed_steps"]["a"]["message"] == "it broke"
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_is_the_standards_own():
    """The example of the reference implementations of Standard Webhooks."""
    body = b'{"test": 2432232314}'
    key = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, key)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_fails_is_tried_again_later_and_then_a_dead_letter(world, receiver):
    receiver.answers = [500, 0, 302]
    a_failed_run(world, receiver)
    hooks = webhooks(world)
    tries = []
    for _ in range(100):
        hooks.tick()
        tries.append(len(receiver.heard))
        world.passes(seconds=5)
    assert len(receiver.heard) == 3
    assert tries[0] == 1
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    [name] = undelivered(world.store).names()
    dead = undelivered(world.store).get(name)
    assert dead is not None
    assert (dead.attempts, dead.why) == (3, "HTTP 302")


def test_an_address_that_is_gone_gets_no_second_try(world, receiver):
    receiver.answers = [410]
    a_failed_run(world, receiver)
    for _ in range(3):
        webhooks(world).tick()
        world.passes(hours=1)
    assert len(receiver.heard) == 1
    assert len(undelivered(world.store).names()) == 1


def test_who_asks_for_time_gets_it(world, receiver):
    receiver.answers = [429]
    a_failed_run(world, receiver)
    hooks = webhooks(world)
    hooks.tick()
    world.passes(seconds=300)
    hooks.tick()
    assert len(receiver.heard) == 1
    world.passes(seconds=301)
    hooks.tick()
    assert len(receiver.heard) == 2


def test_dying_behind_a_delivery_tells_it_again_under_the_same_id(world, receiver, monkeypatch):
    a_failed_run(world, receiver)
    monkeypatch.setattr("lakeray.failpoints._ARMED", {"notification_sent": ("error", 1)})
    monkeypatch.setattr("lakeray.failpoints._PASSES", {})
    webhooks(world).tick()
    world.passes(hours=1)
    webhooks(world).tick()
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert len(receiver.heard) == 2


def test_nothing_shows_the_key(world, receiver, caplog):
    receiver.answers = [500]
    caplog.set_level(logging.DEBUG)
    run_id = a_failed_run(world, receiver)
    webhooks(world).tick()
    stored = [event.data for event in world.store.read(run_id)]
    late = world.now.replace(year=2030)
    stored += [each.data for shard in range(world.store.shards) for each in world.store.messages(shard, late, 10)]
    told = [repr(headers).encode() + body for headers, body in receiver.heard]
    assert not [data for data in [*stored, *told, caplog.text.encode()] if KEY.encode() in data]


def test_addresses_that_are_not_public_need_leave(world, receiver):
    a_failed_run(world, receiver)
    webhooks(world, hosts=()).tick()
    assert receiver.heard == []
    [name] = undelivered(world.store).names()
    dead = undelivered(world.store).get(name)
    assert dead is not None
    assert "127.0.0.1, which is not public" in (dead.why or "")


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "localhost", "0.0.0.0", "fd00::1"])
def test_which_addresses_are_public(host):
    with pytest.raises(PrivateAddress):
        public_address(host, 80, ())
    assert public_address(host, 80, (host,))


def test_waits_grow_and_are_the_same_on_every_machine():
    waits = [wait_s("m", attempt) for attempt in range(1, 13)]
    assert waits[:8] == sorted(waits[:8])
    assert 4 <= waits[0] <= 6
    assert sum(waits[:-1]) > 9 * 3600
    assert waits == [wait_s("m", attempt) for attempt in range(1, 13)]


def test_what_schedules_and_expectations_miss_is_told_once(world, receiver):
    world.add(
        file(
            receiver,
            "schedule.missed, expect.missed",
            "triggers: {late: {expect: {run_end: up, within: 1h}, overlap: skip}}",
        )
    )
    world.passes(hours=3)

    class Never:
        pass

    Schedules(store=world.store, clock=world.clock).tick()
    Ends(world.store, world.clock).tick()
    watch = Watches(world.store, world.clock, Never())
    with_death = pytest.MonkeyPatch()
    with dying_at("after_fire_kept", with_death):
        watch.tick()
    watch.tick()
    hooks = webhooks(world)
    hooks.tick()
    hooks.tick()
    kinds = sorted(json.loads(body)["type"] for _, body in receiver.heard)
    assert kinds == ["lakeray.expect.missed", "lakeray.schedule.missed"]
    assert pending(world.store).names() == []
