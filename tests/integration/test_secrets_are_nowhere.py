"""Planted secrets are in nothing that runs leave behind or print.

Planted are values of masked and encrypted columns in good rows, in malformed records, in rows that a type, `select`,
`where`, an expectation or a constraint refuses, in rescued data, in nested JSON, in broken CSV lines, in the error text
of a hook; and the keys. Searched are tables, quarantines, staged files of killed runs and outputs (every cell of every
file, and the bytes), ledgers, manifests, results, key files, the catalog, logs as text and JSON, reports in four
formats, the metrics file, the JSON answers of commands, and Ray's session folder: for the plain text, its base64 and
its hexadecimal form.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lakeray.importer.protection.keyring import Keyring
from lakeray.security.secrets import Secret
from lakeray.security.wrapping import WrappingKey
from tests import commands
from tests.sample_lake import finished

PLANT = "zq7plant"
NUMBERS = ("5551234987", "73218841")
MASK_KEY, MASTER_KEY, NEW_KEY = "maskkey-hunter2-hunter2", "masterkey-hunter2-hunter2", "newkey-hunter2-hunter2"

MASKS = """
      email: {hmac_sha256: "env:MASK_KEY"}
      phone: {redact: "***"}
      SSN: {encrypt: {key: "env:MASTER_KEY"}}
      code: {encrypt: {key: "env:MASTER_KEY", deterministic: true}}
      nick: {tokenize: {key: "env:MASK_KEY"}}
      card: {partial: {keep_last: 2}}
      salary: {generalize: {step: 100000}}
      address: {redact: true}
"""
RULES = """
    select: {flag: "CASE WHEN id = 3 THEN CAST(email AS INT) ELSE 0 END"}
    where: "CASE WHEN id = 4 THEN CAST(ssn AS INT) > 0 ELSE id <> 5 END"
    expect:
      sound: {sql: "CASE WHEN id = 6 THEN CAST(card AS INT) > 0 ELSE id <> 7 END", on_violation: quarantine}
"""
HINTS = "{id: int64, email: string, phone: int64, ssn: string, code: string, nick: string, card: string, salary: int64}"


def person(number: object, **changes: object) -> dict[str, object]:
    """A row in which everything but the id is secret."""
    row: dict[str, object] = {"id": number, "phone": int(NUMBERS[0]), "salary": int(NUMBERS[1])}
    row |= {name: f"{PLANT}-{name}-{number}" for name in ("email", "ssn", "code", "nick", "card")}
    return row | {"address": {"street": f"{PLANT}-street", "doors": [{"key": f"{PLANT}-door"}]}} | changes


@dataclass
class Planted:
    """A lake full of secrets; ``said`` collects what every command printed."""

    folder: Path
    executor: str
    ray: Path
    said: list[str] = field(default_factory=list)

    def write(self) -> None:
        rows = [person(n) for n in range(1, 8)]
        rows += [person("not a number"), person(8, email={"nested": PLANT}), person(9, phone=f"{PLANT}-phone")]
        rows += [person(10, salary=f"{PLANT}-salary", SSN=f"{PLANT}-twice", EMAIL=f"{PLANT}-case")]
        lines = [json.dumps(row) for row in rows]
        lines += [lines[0][:-9], f'{{"id": 11, "email": "{PLANT}', f'[1, "{PLANT}"]', f'"{PLANT}"', lines[0] + lines[1]]
        (self.raw("json") / "a.json").write_text("\n".join(lines) + "\n")
        (self.raw("json") / "broken.json.gz").write_bytes(gzip.compress(lines[0].encode() * 100)[:-20])
        names = [name for name in person(1) if name != "address"]
        csv = [",".join(names)]
        csv += [",".join(str(person(n)[name]) for name in names) for n in (*range(1, 8), "not a number")]
        csv += [f"{csv[1]},{PLANT}", f"{PLANT},{PLANT}", f'12,"{PLANT}', f'13,"{PLANT}"x,{PLANT}']
        (self.raw("csv") / "a.csv").write_text("\n".join(csv) + "\n")

    def raw(self, kind: str) -> Path:
        path = self.folder / "raw" / kind
        path.mkdir(parents=True, exist_ok=True)
        return path

    def file(self, *, evolution: str = "add_columns", extra: str = "", key: str = "MASTER_KEY") -> str:
        def step(kind: str) -> str:
            outputs = f"    outputs: {{copy: {{format: json, uri: '{self.folder}/lake/copy_{kind}'}}}}"
            plan = f"{{from: {kind}, into: people_{kind}, batch: {{max_objects: 1}}}}"
            masks = MASKS.replace("MASTER_KEY", key)
            return f"  {kind}:\n    import: {plan}\n{RULES}{outputs}\n    mask:{masks}{extra}"

        sources = "".join(
            f"  {kind}: {{uri: '{self.raw(kind)}/', format: {kind}, evolution: {evolution}, schema_hints: {HINTS}}}\n"
            for kind in ("json", "csv")
        )
        tables = "".join(
            f"  people_{kind}: {{uri: '{self.table(kind)}', tags: {{email: [pii]}}}}\n" for kind in ("json", "csv")
        )
        text = f"workflow: people\nsources:\n{sources}tables:\n{tables}steps:\n{step('json')}{step('csv')}"
        path = self.folder / "people.yaml"
        path.write_text(text)
        return str(path)

    def table(self, kind: str) -> str:
        return f"{self.folder}/lake/people_{kind}"

    def command(self, *arguments: str, code: int | None = 0, **environment: str) -> None:
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LAKERAY_")},
            "MASK_KEY": MASK_KEY,
            "MASTER_KEY": MASTER_KEY,
            "NEW_KEY": NEW_KEY,
            "LAKERAY_EXECUTOR": self.executor,
            "LAKERAY_CPUS": "2",
            "RAY_TMPDIR": str(self.ray),
            "LAKERAY_CATALOG": f"{self.folder}/lake/catalog",
            "LAKERAY_METRICS_FILE": f"{self.folder}/lake/m.prom",
            **environment,
        }
        if env["LAKERAY_EXECUTOR"] == "inline":
            done = finished(commands.lakeray(*arguments, env=env, cwd=self.folder))
        else:
            command = [sys.executable, "-m", "lakeray", *arguments]
            done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, check=False)
        self.said.append(done.stdout + done.stderr)
        assert code is None or done.returncode == code, self.said[-1]

    def left(self) -> Iterator[tuple[str, bytes]]:
        """Everything that was left or said, by where it is."""
        for text in self.said:
            yield "what commands printed", text.encode()
        files = [*(self.folder / "lake").rglob("*"), *self.ray.rglob("*")]
        assert len(files) > 50
        for path in files:
            if not path.is_file() or path.is_socket():
                continue
            yield str(path), path.read_bytes()
            if path.name.endswith(".parquet"):
                yield f"cells of {path}", repr(pq.ParquetFile(path).read().to_pylist()).encode()

    def data_keys(self) -> Iterator[bytes]:
        for kind in ("json", "csv"):
            for column in ("ssn", "code"):
                for entry in Keyring(table_uri=self.table(kind), column=column).entries():
                    keys = [WrappingKey(Secret("env:X", value.encode())) for value in (MASTER_KEY, NEW_KEY)]
                    yield entry.opened(keys).secret


def forms(secret: bytes) -> set[bytes]:
    """The secret as it is, in hexadecimal, and in base64 wherever it may begin."""
    found = {secret, secret.hex().encode()}
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + secret)
        whole = text[(0, 2, 3)[shift] : -4]
        found |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_")}
    return {form for form in found if len(form) >= 8}


@pytest.fixture
def planted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Planted]:
    ray = Path(tempfile.mkdtemp(prefix="lr"))  # sockets have short names
    planted = Planted(folder=tmp_path, executor=request.param, ray=ray)
    planted.write()
    yield planted
    shutil.rmtree(ray, ignore_errors=True)


@pytest.mark.parametrize("planted", ["inline", pytest.param("tasks", marks=pytest.mark.ray)], indirect=True)
def test_planted_secrets_are_nowhere(planted: Planted) -> None:
    report = str(planted.folder / "lake" / "report")
    planted.command("run", planted.file(), "--json", code=None, LAKERAY_FAILPOINTS="before_commit=kill")
    dataset = {} if planted.executor == "inline" else {"LAKERAY_EXECUTOR": "dataset"}
    html = ("--report", "html", "--output", f"{report}.html")
    planted.command("run", planted.file(), *html, "--log-format", "json", **dataset)
    for kind in ("json", "csv"):
        DeltaTable(planted.table(kind)).alter.add_constraint({"low": "id < 900", "named": "email <> 'x'"})
    rows = [person(20), person(950), person("not a number"), person(23, phone=PLANT)]
    (planted.raw("json") / "b.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    planted.command("run", planted.file(evolution="ignore"), "--json")
    (planted.raw("json") / "c.json").write_text(json.dumps(person(21, **{f"new{n}": PLANT[:1] for n in (1, 2)})) + "\n")
    planted.command("run", planted.file(), "--report", "markdown", "--output", f"{report}.md")
    (planted.raw("json") / "d.json").write_text(json.dumps(person(22)) + "\n")
    hooked = planted.file(extra="    apply: tests.hooks:quote_values\n")
    planted.command("run", hooked, "--step", "json", "--report", "json", "--output", f"{report}.json", code=1)
    planted.command("run", hooked, "--step", "json", code=1, LAKERAY_DEBUG="1", LAKERAY_LOG_FORMAT="json")
    planted.command("run", planted.file(), "--report", "text")
    look_at_everything(planted)
    planted.command("keys", "rotate", planted.file(), "--to", "env:NEW_KEY", "--reencrypt", "--json")
    planted.command("keys", "rotate", planted.file(key="NEW_KEY"), "--retire")
    planted.command("run", planted.file(key="NEW_KEY"), code=0)
    assert quarantined(planted) >= {"malformed", "select:flag", "where", "expect:sound", "constraint:low"}
    assert quarantined(planted) >= {"type:id", "type:phone"}
    check(planted)


def look_at_everything(planted: Planted) -> None:
    file = planted.file()
    for arguments in (
        ("validate", file), ("plan", file), ("discover", file, "--register"), ("doctor", file),
        ("ledger", "show", file, "--step", "json"), ("ledger", "show", file, "--step", "csv"),
        ("quarantine", "list", file), ("keys", "list", file),
        ("tables", "history", file, "people_json"), ("tables", "tags", file, "people_csv"),
        ("outputs", "list", file, "--step", "csv"), ("outputs", "clean", file, "--step", "json"),
    ):  # fmt: skip
        planted.command(*arguments, "--json", LAKERAY_EXECUTOR="inline")
    planted.command("quarantine", "list", file, LAKERAY_EXECUTOR="inline")
    planted.command("ledger", "show", file, "--step", "json", LAKERAY_EXECUTOR="inline")


def quarantined(planted: Planted) -> set[str]:
    """The rules under which rows were refused."""
    found = set()
    for kind in ("json", "csv"):
        table = DeltaTable(f"{planted.table(kind)}_quarantine").to_pyarrow_table(columns=["rule"])
        found |= set(table["rule"].to_pylist())
    return found


def check(planted: Planted) -> None:
    secrets = [PLANT.encode(), *(number.encode() for number in NUMBERS)]
    keys = [value.encode() for value in (MASK_KEY, MASTER_KEY, NEW_KEY)]
    keys += planted.data_keys()
    assert len(keys) == 3 + 8
    wanted = {form: secret for secret in (*secrets, *keys) for form in forms(secret)}
    logs = {path.name for path in planted.ray.rglob("session_*/logs/*")}
    assert bool(logs) == (planted.executor != "inline"), "Ray's own folder was searched"
    source = (planted.raw("json") / "a.json").read_bytes()
    assert all(secret in source for secret in secrets), "what is searched for was there to be found"
    seen = 0
    for where, data in planted.left():
        for form, secret in wanted.items():
            assert form not in data, f"{secret!r} as {form!r} in {where}: {context(data, form)}"
        seen += 1
    assert seen > 100
    table = DeltaTable(planted.table("json")).to_pyarrow_table()
    assert table.num_rows >= 8
    assert {"***"} == {text for text in table["phone"].to_pylist() if text}
    assert pa.types.is_int64(table.schema.field("salary").type)


def context(data: bytes, form: bytes) -> str:
    place = data.index(form)
    return repr(data[max(0, place - 200) : place + 100])
