"""A world for every test here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.runtime.triggers.store_world import World


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()
