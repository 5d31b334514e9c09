"""Keys change while every value stays readable, and a rotation that was cut off anywhere ends right.

Crash points: a data key wrapped but without its number, numbered but not yet used, opened by the new wrapping key while
others are not; files written anew but not committed, before the commit is sent, before its reply is seen, between two
commits; a data key taken away from the old wrapping key while others are not.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.delta.table import require_table
from lakeray.errors import SpecError
from lakeray.importer.protection.rotation import KeysOf
from lakeray.security.field_keys import CIPHERTEXT, KeyUnavailable
from tests import commands
from tests.sample_lake import finished
from tests.unit.importer.small_lake import SmallLake, lines

OLD, NEW = "0" * 32, "1" * 32
PEOPLE = 6


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLake:
    """Two encrypted columns in several files, in quarantine and in rescued data, under the key of env:OLD."""
    monkeypatch.setenv("OLD", OLD)
    monkeypatch.setenv("NEW", NEW)
    lake = SmallLake(tmp_path, keys={"env:OLD": OLD.encode(), "env:NEW": NEW.encode()})
    lake.source = {"schema_hints": {"id": "int64", "email": "string", "ssn": "string"}}
    under(lake, "env:OLD")
    for number in range(PEOPLE):
        person = {"id": number, "email": f"p{number}@x", "ssn": f"ssn-{number % 2}"}
        lake.put(f"{number}.json", lines(person, {**person, "id": 100}, {"id": 50 + number, "EMAIL": "rescued@x"}))
        if number % 2:
            lake.run()
    return lake


def under(lake: SmallLake, reference: str) -> None:
    lake.step = {
        "mask": {"Email": {"encrypt": reference}, "ssn": {"encrypt": {"key": reference, "deterministic": True}}},
        "expect": {"small": {"sql": "id < 100", "on_violation": "quarantine"}},
    }


def keys(lake: SmallLake, **only: Any) -> KeysOf:
    return lakeray.connect(settings=Settings(executor="inline")).keys(lake.workflow(), **only)


def everything(lake: SmallLake) -> list[str]:
    """All texts of table and quarantine."""
    cells = [cell for row in [*lake.rows(), *lake.quarantined()] for cell in row.values()]
    return [cell for cell in cells if isinstance(cell, str)]


def check(lake: SmallLake) -> None:
    """Every value is there once, and opens."""
    own = keys(lake)
    rows = [row for row in lake.rows() if row["id"] < 50]
    emails, ssns = (own.decrypt([row[name] for row in rows]) for name in ("email", "ssn"))
    found = sorted(zip([row["id"] for row in rows], emails, ssns, strict=True))
    assert found == [(n, f"p{n}@x", f"ssn-{n % 2}") for n in range(PEOPLE)]
    rescued = [json.loads(row["_rescued_data"])["EMAIL"] for row in lake.rows() if row["_rescued_data"]]
    assert own.decrypt(rescued) == ["rescued@x"] * PEOPLE
    refused = [json.loads(record)["email"] for record in lake.quarantined("record")]
    assert sorted(own.decrypt(refused)) == [f"p{n}@x" for n in range(PEOPLE)]  # type: ignore[type-var]
    assert len({row["ssn"] for row in rows}) >= 2


def key_ids(lake: SmallLake) -> set[str]:
    return {found[1] for text in everything(lake) for found in CIPHERTEXT.finditer(text)}


def test_another_key_wraps_and_no_value_changes(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(lake)
    assert keys(lake).rotate(to="env:NEW") == {"rewrapped": 2, "made": 0, "reencrypted": 0, "retired": 0}
    assert [row["wrapped_by"] for row in keys(lake).show()] == [["env:NEW", "env:OLD"]] * 2
    assert keys(lake).rotate(to="env:NEW")["rewrapped"] == 0
    under(lake, "env:NEW")
    assert keys(lake).rotate(retire=True)["retired"] == 2
    assert [row["wrapped_by"] for row in keys(lake).show()] == [["env:NEW"]] * 2
    monkeypatch.delenv("OLD")
    assert everything(lake) == before
    check(lake)
    lake.run()


def test_reencryption_leaves_no_value_under_an_old_key(lake: SmallLake) -> None:
    old = {row["key_id"] for row in keys(lake).show()}
    assert key_ids(lake) == old
    told = keys(lake).rotate(reencrypt=True)
    assert (told["made"], told["reencrypted"]) == (2, 6)
    new = {row["key_id"] for row in keys(lake).show() if row["encrypts"]}
    assert key_ids(lake) == new
    assert not new & old
    check(lake)
    assert keys(lake).reencrypt() == 0, "nothing is left"
    ssns = [row["ssn"] for row in lake.rows() if row["ssn"]]
    assert len(set(ssns)) == 2, "equal values are equal again"
    history = lakeray.connect().table(lake.table_uri).history(1)
    assert history[0]["operation"] == "UPDATE"


def test_imports_and_rotations_go_on_beside_each_other(lake: SmallLake) -> None:
    """An import uses the newest key; what one wrote under an older key is found by the next call."""
    keys(lake).rotate(to="env:NEW", reencrypt=True)
    lake.put("9.json", lines({"id": 7, "email": "late@x"}))
    lake.run()
    new = {row["key_id"] for row in keys(lake).show() if row["encrypts"]}
    assert key_ids(lake) == new
    lakeray.connect().table(lake.table_uri).restore(require_table(lake.table_uri).version - 4)
    assert key_ids(lake) - new
    assert keys(lake).reencrypt() > 0
    assert key_ids(lake) == new


def test_one_column_of_one_table_can_be_meant(lake: SmallLake) -> None:
    assert keys(lake, table="t", column="SSN").rotate(reencrypt=True)["made"] == 1
    assert [row["number"] for row in keys(lake).show()] == [1, 1, 2]
    check(lake)
    with pytest.raises(SpecError, match="no column is encrypted"):
        keys(lake, column="phone").show()


def test_a_key_that_cannot_open_a_data_key_takes_it_from_nobody(lake: SmallLake) -> None:
    under(lake, "env:NEW")
    with pytest.raises(KeyUnavailable, match="wrapped by env:OLD, not by the key that env:NEW names"):
        keys(lake).rotate(retire=True)
    under(lake, "env:OLD")
    check(lake)


def test_the_values_by_which_rows_are_found_keep_their_data_key(lake: SmallLake) -> None:
    lake.plan = {"mode": "merge", "key": ["ssn"]}
    lake.step["mask"].pop("Email")
    with pytest.raises(SpecError, match="rows of t are found by the column ssn"):
        keys(lake).rotate(reencrypt=True)


def test_without_a_key_nothing_opens_and_none_is_shown(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLD", NEW)
    with pytest.raises(KeyUnavailable) as caught:
        keys(lake).decrypt(["lrenc1:0000000000000000:AAAA"])
    assert NEW not in f"{caught.value} {caught.value.__dict__}"
    with pytest.raises(KeyUnavailable):
        keys(lake).rotate(to="env:NEW")


def command(lake: SmallLake, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    file = lake.folder / "w.json"
    workflow = lake.workflow()
    file.write_text(workflow.model_dump_json(by_alias=True, exclude_unset=True))
    started = commands.lakeray(
        *(str(file) if item == "FILE" else item for item in arguments),
        "--json",
        env={**os.environ, "LAKERAY_EXECUTOR": "inline", **environment},
        cwd=Path.cwd(),
    )
    return finished(started)


ROTATION = ("keys", "rotate", "FILE", "--to", "env:NEW", "--reencrypt")
POINTS = {
    **dict.fromkeys(("key_wrapped", "key_numbered", "key_rewrapped"), ROTATION),
    **dict.fromkeys(("key_renewed", "before_commit", "commit_reply", "key_committed"), ROTATION),
    "key_retired": ("keys", "rotate", "FILE", "--to", "env:NEW", "--retire"),
}


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("point", POINTS)
def test_a_rotation_that_was_killed_ends_right(
    lake: SmallLake, point: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if point == "key_retired":
        keys(lake).rotate(to="env:NEW")
    killed = command(lake, *POINTS[point], LAKERAY_FAILPOINTS=f"{point}=kill:{count}")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    check(lake)  # half-way, with both keys
    if point != "key_retired":
        lake.put("late.json", lines({"id": 8}))
        lake.run()  # imports go on with the key that the file names
    for arguments in (ROTATION, ("keys", "rotate", "FILE", "--to", "env:NEW", "--retire")):
        done = command(lake, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.delenv("OLD")
    under(lake, "env:NEW")
    newest = {row["key_id"] for row in keys(lake).show() if row["encrypts"]}
    assert key_ids(lake) == newest
    lake.run()
    assert {row["id"] for row in lake.rows()} >= set(range(PEOPLE))
    rows = [row for row in lake.rows() if row["id"] < PEOPLE]
    assert sorted(keys(lake).decrypt([row["email"] for row in rows])) == [f"p{n}@x" for n in range(PEOPLE)]  # type: ignore[type-var]


@pytest.mark.parametrize("point", ["key_wrapped", "key_numbered"])
def test_a_first_import_that_was_killed_while_it_made_a_key_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setenv("OLD", OLD)
    lake = SmallLake(tmp_path, step={"mask": {"email": {"encrypt": "env:OLD"}}})
    lake.put("a.json", lines({"email": "x"}))
    killed = command(lake, "run", "FILE", LAKERAY_FAILPOINTS=f"{point}=kill")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    assert command(lake, "run", "FILE").returncode == 0
    assert keys(lake).decrypt(lake.rows("email")) == ["x"]


def test_the_command_line_shows_and_uses_keys_by_reference_alone(lake: SmallLake) -> None:
    told = json.loads(command(lake, "keys", "list", "FILE").stdout)["keys"]
    assert [(row["column"], row["algorithm"], row["wrapped_by"]) for row in told] == [
        ("Email", "xaes-256-gcm", ["env:OLD"]),
        ("ssn", "aes-256-siv", ["env:OLD"]),
    ]
    sealed = next(row["email"] for row in lake.rows() if row["id"] == 3)
    done = command(lake, "keys", "decrypt", "FILE", sealed)
    assert json.loads(done.stdout)["decrypted"] == ["p3@x"]
    wrong = command(lake, "keys", "decrypt", "FILE", sealed[:-4])
    assert wrong.returncode == 1
    assert OLD not in wrong.stdout + wrong.stderr + done.stdout + done.stderr
