"""Encrypted columns through whole imports: who has the key reads them, who has not is told which one is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lakeray.importer.protection.keyring import Keyring
from lakeray.security.field_keys import KeyUnavailable, Ring
from lakeray.security.secrets import Secret
from lakeray.security.wrapping import WrappingKey
from tests.unit.importer.small_lake import NOW, SmallLake, lines

KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    lake = SmallLake(tmp_path, keys={"env:K": KEY})
    lake.step = {"mask": {"email": {"encrypt": "env:K"}}}
    return lake


def opened(lake: SmallLake, column: str = "email", key: bytes = KEY) -> Ring:
    found = Keyring(table_uri=lake.table_uri, column=column).ring([WrappingKey(Secret("env:K", key))])
    assert found is not None
    return found


def test_values_come_back_from_table_quarantine_and_rescued_data(lake: SmallLake) -> None:
    lake.source = {"schema_hints": {"id": "int64", "email": "string"}}
    lake.step["expect"] = {"small": {"sql": "id < 10", "on_violation": "quarantine"}}
    lake.put("a.json", lines({"id": 1, "email": "a@b"}, {"id": 2, "email": None}, {"id": 11, "email": "c@d"}))
    lake.run()
    ring = opened(lake)
    found = {row["id"]: row["email"] for row in lake.rows()}
    assert found[2] is None
    assert ring.decrypt(found[1]) == "a@b"
    (record,) = lake.quarantined("record")
    assert ring.decrypt(json.loads(record)["email"]) == "c@d"
    lake.put("b.json", lines({"id": 3, "Email": "e@f"}))
    lake.run()
    rescued = next(row["_rescued_data"] for row in lake.rows() if row["id"] == 3)
    assert ring.decrypt(json.loads(rescued)["Email"]) == "e@f"


def test_the_batches_of_a_column_share_a_key_and_every_column_has_its_own(lake: SmallLake) -> None:
    lake.step["mask"]["phone"] = {"encrypt": {"key": "env:K", "deterministic": True}}
    for name in ("a", "b"):
        lake.put(f"{name}.json", lines({"email": "x", "phone": 1}))
        lake.run()
    emails, phones = (lake.rows(name) for name in ("email", "phone"))
    assert len({text.split(":")[1] for text in emails}) == 1
    assert len(set(emails)) == 2, "nobody sees that the values are equal"
    assert len(set(phones)) == 1
    assert emails[0].split(":")[1] != phones[0].split(":")[1]
    with pytest.raises(KeyUnavailable, match="copied from another column"):
        opened(lake).decrypt(phones[0])


def test_two_tables_are_joined_by_a_column_that_shares_its_keys(tmp_path: Path) -> None:
    one, two = (SmallLake(tmp_path / name, keys={"env:K": KEY}) for name in ("one", "two"))
    one.step = {"mask": {"email": {"encrypt": {"key": "env:K", "deterministic": True}}}}
    shared = {"key": "env:K", "deterministic": True, "keys_of": "customers.email"}
    two.step = {"mask": {"buyer": {"encrypt": shared}, "other": {"encrypt": {**shared, "keys_of": "t.other"}}}}
    two.more_tables = {"customers": {"uri": one.table_uri}}
    one.put("a.json", lines({"email": "x"}))
    two.put("a.json", lines({"buyer": "x", "other": "x"}))
    two.run()
    one.run()
    assert two.rows("buyer") == one.rows("email") != two.rows("other")
    assert opened(one).decrypt(two.rows("buyer")[0]) == "x"


def test_another_key_under_the_same_reference_stops_the_import(lake: SmallLake) -> None:
    """Before anything is written: no value may come under a key that nobody has."""
    lake.put("a.json", lines({"email": "x"}))
    lake.run()
    lake.keys = {"env:K": OTHER}
    lake.put("b.json", lines({"email": "y"}))
    with pytest.raises(KeyUnavailable, match="is wrapped by env:K, not by the key that env:K names now") as caught:
        lake.run()
    assert OTHER.decode() not in str(caught.value)
    assert lake.count() == 1
    lake.keys = {"env:K": KEY}
    lake.run()
    assert sorted(opened(lake).decrypt(text) for text in lake.rows("email")) == ["x", "y"]


def test_a_column_keeps_its_way_of_encryption(lake: SmallLake) -> None:
    lake.put("a.json", lines({"email": "x"}))
    lake.run()
    lake.step = {"mask": {"email": {"encrypt": {"key": "env:K", "deterministic": True}}}}
    lake.put("b.json", lines({"email": "y"}))
    with pytest.raises(KeyUnavailable, match="leave `deterministic` as it was"):
        lake.run()


def test_racing_makers_of_a_first_key_end_with_one(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = Keyring(table_uri=lake.table_uri, column="email")
    wrapping = WrappingKey(Secret("env:K", KEY))
    rivals: list[Ring] = []

    def rival(name: str) -> None:
        if name == "key_wrapped" and not rivals:
            rivals.append(None)  # type: ignore[arg-type]
            rivals[0] = keyring.newest(wrapping, "xaes-256-gcm", now=NOW)

    monkeypatch.setattr("lakeray.importer.protection.keyring.failpoint", rival)
    mine = keyring.newest(wrapping, "xaes-256-gcm", now=NOW)
    assert mine.active == rivals[0].active
    assert len(list(Path(keyring.folder, "wraps").iterdir())) == 1, "the loser's key is gone"


@pytest.mark.parametrize("column", ["e mail", "a/b", "..", "Ä", "x" * 60])
def test_a_column_of_any_name_has_a_folder_of_its_own(lake: SmallLake, column: str) -> None:
    lake.step = {"mask": {column: {"encrypt": "env:K"}}}
    lake.put("a.json", lines({column: "x", "id": 1}))
    lake.run()
    assert opened(lake, column).decrypt(lake.rows(column)[0]) == "x"
    assert len(list(Path(lake.table_uri, "_lakeray", "keys").iterdir())) == 1


def test_a_damaged_key_file_is_said(lake: SmallLake) -> None:
    lake.put("a.json", lines({"email": "x"}))
    lake.run()
    (file,) = Path(lake.table_uri, "_lakeray", "keys", "email").glob("*.json")
    for content, told in (("{", "cannot be read"), ('{"format": 2}', "newer version")):
        file.write_text(content)
        with pytest.raises(KeyUnavailable, match=told):
            opened(lake)
