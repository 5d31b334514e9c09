"""A world for every test here, on both stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.runtime.triggers.store_world import World


@pytest.fixture(params=["sqlite", "redis"])
def world(request, tmp_path) -> Iterator[World]:
    uri = None
    if request.param == "redis":
        import redis

        uri = request.getfixturevalue("redis_server").url
        with redis.Redis.from_url(uri) as client:
            client.flushall()
    world = World(tmp_path, uri)
    yield world
    world.store.close()
