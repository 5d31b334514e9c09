"""Every object of the corpus gives rows, refused records or an error with a reason; nothing is lost or repeated."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakeray.errors import ReadError
from lakeray.importer.readers import ReadOptions, read
from tests.corpus import Case, build


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return build(tmp_path_factory.mktemp("corpus"))


def outcome(case: Case, **more: Any) -> dict[str, Any]:
    """What came of one object."""
    found: dict[str, Any] = {"rows": 0, "refused": 0, "error": None, "complaints": []}
    numbers: list[int] = []
    options = ReadOptions(**{"format": case.format, **case.options, **more})
    try:
        with case.path.open("rb") as file:
            for chunk in read(file, options, name=case.path.as_uri()):
                chunk.table.validate(full=True)
                if chunk.table.num_rows != len(chunk.rows):
                    found["complaints"].append("row numbers do not match the rows")
                if chunk.extras is not None:
                    found["complaints"] += [
                        t for t in chunk.extras.to_pylist() if t and not isinstance(json.loads(t), dict)
                    ]
                found["rows"] += chunk.table.num_rows
                found["refused"] += len(chunk.refused)
                found["complaints"] += [f"no reason: {r}" for r in chunk.refused if not r.reason]
                numbers += chunk.rows.to_pylist() + [r.row for r in chunk.refused]
    except ReadError as error:
        found["error"] = str(error)
        if not (error.message and error.uri):
            found["complaints"].append("the error does not say what or where")
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        found["complaints"].append(f"record numbers have gaps or repeats: {sorted(numbers)[:20]}")
    return found


def wrong(case: Case, found: dict[str, Any]) -> str | None:
    """Why an outcome is not the one that the case asks for."""
    if found["complaints"]:
        return f"{case.name}: {found['complaints']}"
    kind = "error" if found["error"] else "refused" if found["refused"] else "rows"
    if case.expect not in ("any", kind):
        return f"{case.name}: expected {case.expect}, got {found}"
    for name, count in (("rows", case.rows), ("refused", case.refused)):
        if count is not None and found[name] != count:
            return f"{case.name}: expected {count} {name}, got {found}"
    return None


def _in_process(cases: list[Case], results: Any, **more: Any) -> None:
    for index, case in enumerate(cases):
        results.put((index, "begin", None))
        try:
            results.put((index, "end", outcome(case, **more)))
        except Exception as error:  # noqa: BLE001 - the parent judges it
            results.put((index, "end", {"rows": 0, "refused": 0, "error": None, "complaints": [repr(error)]}))
    results.put((len(cases), "done", None))


def outcomes_apart(cases: list[Case], **more: Any) -> Iterator[tuple[Case, dict[str, Any] | None]]:
    """The outcome of each case, read in a process apart; None for one that ends it, after which a new one goes on."""
    context = multiprocessing.get_context("spawn")
    while cases:
        results = context.SimpleQueue()
        worker = context.Process(target=_in_process, args=(cases, results), kwargs=more, daemon=True)
        worker.start()
        last = 0
        while True:
            while results.empty() and worker.is_alive():
                worker.join(0.005)
            if results.empty():
                break
            index, what, found = results.get()
            if what == "done":
                worker.join()
                return
            last = index
            if what == "end":
                yield cases[index], found
                last = index + 1
        yield cases[last], None
        cases = cases[last + 1 :]


@pytest.mark.parametrize("chunk_bytes", [256, 16 * 2**20])
def test_every_object_has_the_outcome_that_it_must_have(cases: list[Case], chunk_bytes: int) -> None:
    chosen = [case for case in cases if not case.crashes]
    failures = [wrong(case, outcome(case, **_size(case, chunk_bytes))) for case in chosen]
    assert not [failure for failure in failures if failure]
    assert len(chosen) > 600


def test_a_flipped_bit_gives_rows_or_a_reason(cases: list[Case]) -> None:
    """In a process apart, because Arrow's own code reads these bytes; what still ends that process is named here."""
    chosen = [case for case in cases if case.crashes]
    dead, failures = [], []
    for case, found in outcomes_apart(chosen):
        if found is None:
            dead.append(case.name)
        elif failure := wrong(case, found):
            failures.append(failure)
    assert not failures
    assert not dead, f"{len(dead)} of {len(chosen)} ended the process"


def test_json_cases_are_many(cases: list[Case]) -> None:
    assert len([case for case in cases if case.name.startswith("json/lines/")]) >= 150


def test_good_rows_around_a_bad_line_keep_their_numbers(cases: list[Case]) -> None:
    for case in cases:
        if case.name.startswith("json/lines/n_"):
            with case.path.open("rb") as file:
                chunks = list(read(file, ReadOptions(format="json"), name="x"))
            assert [n for chunk in chunks for n in chunk.rows.to_pylist()] == [1, 3], case.name
            (refused,) = [r for chunk in chunks for r in chunk.refused]
            assert (refused.row, refused.line) == (2, 2), case.name


def _size(case: Case, chunk_bytes: int) -> dict[str, Any]:
    return {} if "chunk_bytes" in case.options else {"chunk_bytes": chunk_bytes}


def test_the_corpus_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a"), build(tmp_path / "b")
    for one, two in zip(first, second, strict=True):
        if one.name.startswith(("json", "csv", "broken/lines")):
            assert one.path.read_bytes() == two.path.read_bytes(), one.name
