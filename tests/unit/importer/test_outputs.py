"""Whoever follows the markers of an output sees every row of the table once, whatever died on the way.

Crash points: every failpoint between the first staged file and the ledger, on the first and on the second pass.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from lakeray.importer.outputs.batch import OutputsOf
from tests.sample_lake import SampleLake
from tests.unit.importer.small_lake import SmallLake, lines

ROWS = [
    {"id": 1, "name": "a,\nb", "tags": ["x"], "day": "2024-05-01"},
    {"id": 2, "name": None, "tags": None, "day": ""},
]


def lake_with(tmp_path: Path, **output: Any) -> SmallLake:
    lake = SmallLake(tmp_path)
    lake.step = {"outputs": {"copy": {"uri": str(tmp_path / "copy"), **output}}}
    return lake


def files(lake: SmallLake) -> list[dict[str, Any]]:
    return OutputsOf(lake.context()).show()


def read(path: str) -> list[dict[str, Any]]:
    if path.endswith(".parquet"):
        return pq.read_table(path).to_pylist()
    if path.endswith(".arrow"):
        return pa.ipc.open_file(path).read_all().to_pylist()
    with pa.input_stream(path, compression="detect") as stream:
        if ".jsonl" in path:
            return [json.loads(line) for line in stream.read().splitlines()]
        options = pyarrow.csv.ParseOptions(newlines_in_values=True)
        strings = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
        return pyarrow.csv.read_csv(stream, parse_options=options, convert_options=strings).to_pylist()


@pytest.mark.parametrize(
    ("kind", "codecs"),
    [
        ("parquet", ("zstd", "snappy", "gzip", "lz4", "none")),
        ("csv", ("none", "gzip", "zstd")),
        ("json", ("none", "gzip", "zstd")),
        ("arrow", ("none", "zstd", "lz4")),
    ],
)
def test_every_format_holds_the_rows_of_the_table(tmp_path: Path, kind: str, codecs: tuple[str, ...]) -> None:
    for codec in codecs:
        lake = lake_with(tmp_path / codec, format=kind, compression=codec)
        lake.source = {"schema_hints": {"day": "date"}}
        lake.table = {"partition_by": ["day"]}
        lake.put("a.json", lines(*ROWS))
        lake.run()
        told = files(lake)
        assert sum(file["rows"] for file in told) == 2
        assert all(Path(file["uri"]).stat().st_size == file["size_bytes"] for file in told)
        found = {row["id"]: row for file in told for row in read(file["uri"])}
        table = {row["id"]: row for row in lake.rows()}
        if kind in ("parquet", "arrow"):
            assert found == table
        else:
            assert {id_: row["name"] for id_, row in found.items()} == {1: "a,\nb", 2: None}
            assert str(found[1]["day"]) == "2024-05-01"
            assert found[1]["tags"] == (["x"] if kind == "json" else '["x"]')


def test_outputs_are_masked_like_the_table(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, format="csv", compression="gzip")
    lake.step["mask"] = {"email": {"redact": "***"}}
    lake.put("a.json", lines({"id": 1, "email": "a@b"}))
    lake.run()
    text = gzip.decompress(Path(files(lake)[0]["uri"]).read_bytes()).decode()
    assert text.splitlines()[1].startswith('1,"***"')


def test_an_overwrite_without_rows_is_told_too(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, format="json")
    lake.plan = {"mode": "overwrite"}
    lake.step["where"] = "id > 0"
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.put("a.json", lines({"id": 0}))
    lake.run()
    told = [json.loads(marker.read_text()) for marker in sorted((tmp_path / "copy").rglob("_lakeray/**/*.json"))]
    assert [(marker["batch"], marker["mode"], marker["rows"]) for marker in told] == [
        (1, "overwrite", 1),
        (2, "overwrite", 0),
    ]


def test_a_table_that_was_made_anew_has_markers_of_its_own(tmp_path: Path) -> None:
    import shutil

    lake = lake_with(tmp_path, format="json")
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    shutil.rmtree(lake.table_uri)
    lake.put("a.json", lines({"id": 2}))
    lake.run()
    assert [row["id"] for file in files(lake) for row in read(file["uri"])] == [2]
    assert OutputsOf(lake.context()).clean() == [], "what earlier markers name stays"


CRASHES = [
    *("task_staged", "outputs_written", "before_result", "after_result", "before_commit", "commit_reply"),
    *("after_commit", "before_output_markers", "after_output_markers", "after_ledger_commit"),
]


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("name", CRASHES)
def test_killed_anywhere_the_output_equals_the_table(tmp_path: Path, name: str, count: int) -> None:
    import lakeray

    extra = f"    outputs: {{copy: {{format: json, uri: '{tmp_path}/copy'}}}}"
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, extra=extra)
    for number in range(7):
        lake.add(f"2024/{number:02d}.json")
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill:{count}")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.run_to_the_end()
    lake.check()
    outputs = lakeray.connect().outputs(lake.workflow)
    found: Counter[int] = Counter(row["id"] for file in outputs.show() for row in read(file["uri"]))
    assert found == Counter(lake.read(lake.table_uri)["id"].to_pylist())
    outputs.clean(dry_run=False)
    left = {str(path) for path in (tmp_path / "copy").glob("*.jsonl")}
    assert left == {file["uri"] for file in outputs.show()}
