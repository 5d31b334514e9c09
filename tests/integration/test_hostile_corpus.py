"""Every object of the hostile corpus gives rows, or a ledger outcome with a reason, through whole imports.

The process lives, rows balance. All objects of one format (and the same options) are one source, so that each of them
also meets the columns of all others.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.importer.recording.summary import ImportSummary
from tests.corpus import Case, build
from tests.unit.importer.small_lake import SmallLake

GOOD = {
    "rows": ("loaded",),
    "refused": ("partly_loaded",),
    "error": ("failed",),
    "any": ("loaded", "partly_loaded", "failed"),
}
KEPT = ("compression", "encoding", "max_record_bytes")
NOT_SAID_IN_A_WORKFLOW = {"skip_lines"}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return build(tmp_path_factory.mktemp("corpus"))


def declared(case: Case) -> dict[str, Any] | None:
    """The case's options as a source of a workflow file says them; None where it cannot."""
    source: dict[str, Any] = {"format": case.format, "partitions": "none"}
    source |= {name: case.options[name] for name in KEPT if name in case.options}
    more = dict(case.options.get("options", {}))  # type: ignore[call-overload]
    if NOT_SAID_IN_A_WORKFLOW & more.keys() or ("columns" in more):
        return None
    if more.get("delimiter") == "tab":
        more["delimiter"] = "\t"
    if "names" in more:
        more["columns"] = more.pop("names")
    if more:
        source["csv"] = more
    return source


@dataclass
class Group:
    """Cases of one source with the lake that holds them; names keep their ends, which say how objects are packed."""

    lake: SmallLake
    cases: dict[str, Case]

    def check(self, summary: ImportSummary) -> list[str]:
        """What is wrong with the outcome."""
        wrong = [
            complaint
            for row in self.lake.ledger_rows().to_pylist()
            for complaint in self.complaints(self.cases[row["uri"].removeprefix(f"{self.lake.raw}/")], row)
        ]
        if not summary.rows.balanced:
            wrong.append(f"the batch does not balance: {summary.rows!r}")
        if len(self.lake.outcomes()) != len(self.cases):
            wrong.append(f"{len(self.cases)} objects, {len(self.lake.outcomes())} outcomes")
        written = self.lake.count()
        refused = Counter(self.lake.quarantined("object_uri"))
        if (written, refused.total()) != (summary.rows.written, summary.rows.quarantined):
            wrong.append(
                f"{written} rows and {refused.total()} refused ones are there, the summary says {summary.rows!r}"
            )
        if not all(self.lake.quarantined("reason")):
            wrong.append("a refused row has no reason")
        return wrong

    @staticmethod
    def complaints(case: Case, row: dict[str, Any]) -> list[str]:
        counts = {name: row[f"rows_{name}"] for name in ("read", "written", "quarantined")}
        said = f"{case.name}: {row['outcome']} {counts} {row['error']}"
        wrong = []
        if row["outcome"] not in GOOD[case.expect]:
            wrong.append(f"expected {case.expect}: {said}")
        if counts["read"] != counts["written"] + counts["quarantined"]:
            wrong.append(f"does not balance: {said}")
        if row["outcome"] == "failed":
            wrong += (
                []
                if row["error"] and row["error_code"] == "read" and not counts["read"]
                else [f"no reason, or rows: {said}"]
            )
        elif (case.rows, case.refused) != (None, None):
            expected = (case.rows, case.refused)
            found = (counts["written"], counts["quarantined"])
            wrong += [
                f"expected {expected}: {said}"
                for want, got in zip(expected, found, strict=True)
                if want is not None and want != got
            ][:1]
        return wrong


def groups(cases: list[Case], folder: Path) -> list[Group]:
    """One group a format and set of options."""
    keyed: dict[str, list[tuple[dict[str, Any], Case]]] = {}
    for case in cases:
        source = declared(case)
        if source is not None:
            keyed.setdefault(f"{source}{'chunk_bytes' in case.options}", []).append((source, case))
    made = []
    for number, members in enumerate(keyed.values()):
        lake = SmallLake(folder / f"g{number}", source=members[0][0])
        if "chunk_bytes" in members[0][1].options:
            lake.memory = 32 * int(members[0][1].options["chunk_bytes"])  # type: ignore[call-overload]
        lake.raw.mkdir(parents=True)
        named: dict[str, Case] = {}
        for index, (_, case) in enumerate(members):
            name = f"{index:04d}/{case.path.name}"
            (lake.raw / name).parent.mkdir()
            os.link(case.path, lake.raw / name)
            named[name] = case
        made.append(Group(lake, named))
    return made


@pytest.mark.parametrize("kind", ["json", "csv", "tsv", "text", "binary", "parquet", "avro", "orc", "arrow"])
def test_in_this_process(cases, tmp_path, kind):
    wrong = []
    for group in groups([case for case in cases if case.format == kind and not case.crashes], tmp_path):
        summary = group.lake.run()
        wrong += group.check(summary)
        assert [batch.objects for batch in group.lake.run().batches] in ([], [summary.objects.get("failed", 0)])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("evolution", ["rescue", "ignore"])
def test_where_columns_may_not_be_added(cases, tmp_path, evolution):
    """Balance only: what does not fit is rescued, or refused."""
    plain = [case for case in cases if case.format == "json" and not case.options]
    (group,) = groups(plain, tmp_path)
    group.lake.source["evolution"] = evolution
    summary = group.lake.run()
    assert summary.rows.balanced
    assert group.lake.count() == summary.rows.written
    assert set(group.lake.outcomes().values()) <= {"loaded", "partly_loaded", "failed"}
    lost = [
        case.name
        for case in group.cases.values()
        if case.expect == "rows" and case.rows and not _accounted(group, case)
    ]
    assert not lost


def _accounted(group: Group, case: Case) -> bool:
    name = next(key for key, value in group.cases.items() if value is case)
    row = group.lake.entry(name)
    return bool(row["rows_written"] + row["rows_quarantined"] == case.rows)


@pytest.mark.ray
def test_what_may_end_a_process_runs_in_workers(cases, tmp_path):
    """Flipped bits in columnar objects: an object that takes its worker along fails alone, by name."""
    dangerous = [case for case in cases if case.crashes]
    connection = lakeray.connect(settings=Settings(cpus=2, executor="tasks"))
    wrong = []
    try:
        for kind, members in itertools.groupby(
            sorted(dangerous, key=lambda case: case.format), lambda case: case.format
        ):
            (group,) = groups(list(members), tmp_path / kind)
            summary = connection.run(group.lake.workflow()).result(timeout=280)
            assert summary.state == "succeeded", summary.errors
            imported = summary.steps[0].imported
            assert imported is not None
            for row in group.lake.ledger_rows().to_pylist():
                if row["outcome"] == "failed":
                    wrong += (
                        []
                        if row["error"] and row["error_code"] in ("read", "worker_died") and not row["rows_read"]
                        else [str(row)]
                    )
            assert imported.rows.balanced
            assert len(group.lake.outcomes()) == len(group.cases)
            assert group.lake.count() == imported.rows.written
    finally:
        connection.close()
    assert not wrong
