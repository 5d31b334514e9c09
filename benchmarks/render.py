"""`python -m benchmarks.render`: README.md and its charts, made from results.json and nothing else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.chart import Bar, bars
from benchmarks.durable import page as durable
from benchmarks.page import FAMILIES, HEAD, METHOD, Family


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and the charts into ``--into``."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__)
    made.add_argument("--results", type=Path, default=results.DEFAULT)
    made.add_argument("--into", type=Path, default=results.DEFAULT.parent)
    options = made.parse_args(arguments)
    tables = results.load(options.results)
    options.into.mkdir(parents=True, exist_ok=True)
    (options.into / "README.md").write_text(page(tables, options.into))
    print(f"{options.into / 'README.md'}: {len(tables)} tables")
    return 0


def page(tables: dict[str, dict[str, Any]], into: Path) -> str:
    """The page's text; charts are written into ``into`` on the way."""
    parts = [HEAD]
    for family in (*FAMILIES, *durable.FAMILIES):
        own = {name: table for name, table in tables.items() if name.split("/")[0] == family.workload}
        if own:
            parts.append(f"## {family.title}\n\n{family.text}\n")
        parts.extend(_section(family, name, table, into) for name, table in own.items())
    if not tables:
        parts.append("Nothing was measured yet: `make bench`.\n")
    parts.append(METHOD)
    return "\n".join(parts)


def _section(family: Family, name: str, table: dict[str, Any], into: Path) -> str:
    if "engines" in table:
        body = _engines(family, name, table, into)
    elif family in durable.FAMILIES:
        body = durable.body(table)
    elif name == "memory":
        body = _memory(table)
    elif family.workload == "w4":
        body = _merging(table)
    elif family.workload == "w5":
        body = _planning(table)
    else:
        body = _latency(table)
    return f"{body}\n\n```\n{table['command']}\n```\n\n{_circumstances(table)}\n"


def _engines(family: Family, name: str, table: dict[str, Any], into: Path) -> str:
    rows = results.size_name(table["rows"])
    entries = sorted(table["engines"], key=lambda entry: entry.get("median_s", float("inf")))
    fastest = min((entry["median_s"] for entry in entries if entry["outcome"] == "right"), default=1.0)
    chart = f"{name.replace('/', '-')}.svg"
    title = f"{family.short}, {rows} rows"
    (into / chart).write_text(
        bars(
            title,
            f"seconds, shorter is better; median, whisker from fastest to slowest; {table['measured_at']}",
            _bars(entries),
        )
    )
    lines = [
        f"### {rows} rows, {_bytes(table['input_bytes'])}\n",
        f"![{title}]({chart})\n",
        "| engine | seconds | min - max | x fastest | M rows/s | output | codec | what it runs |",
        "|---|--:|--:|--:|--:|--:|---|---|",
    ]
    lines.extend(_engine_line(entry, fastest, table["rows"]) for entry in entries)
    scaled = [entry for entry in entries if entry["measured_rows"] != table["rows"] and entry["outcome"] == "right"]
    lines.extend(
        f"\n* {entry['engine']}: measured on {results.size_name(entry['measured_rows'])} rows and scaled."
        for entry in scaled
    )
    return "\n".join(lines)


def _engine_line(entry: dict[str, Any], fastest: float, rows: int) -> str:
    name = f"**{entry['engine']}**" if entry["engine"].startswith("lakeray") else entry["engine"]
    if entry["outcome"] != "right":
        return f"| {name} | {entry['outcome']} | | | | | | {entry['how']}; {_cell(entry['detail'])} |"
    star = "" if entry["measured_rows"] == rows else " *"
    middle, spread = entry["median_s"], f"{entry['min_s']:.2f} - {entry['max_s']:.2f}"
    times = f"{middle:.2f}{star} | {spread} | {middle / fastest:.2f} | {rows / middle / 1e6:.2f}"
    return f"| {name} | {times} | {_bytes(entry['output_bytes'])} | {entry['codec']} | {entry['how']} |"


def _bars(entries: Sequence[dict[str, Any]]) -> list[Bar]:
    made = []
    for entry in entries:
        right = entry["outcome"] == "right"
        made.append(
            Bar(
                label=entry["engine"],
                value=entry["median_s"] if right else None,
                note=f"{entry['median_s']:.2f} s"
                if right
                else entry["outcome"] + (" answer" if entry["outcome"] == "wrong" else ""),
                low=entry.get("min_s"),
                high=entry.get("max_s"),
                own=entry["engine"].startswith("lakeray"),
            )
        )
    return made


def _planning(table: dict[str, Any]) -> str:
    lines = [
        f"### {results.size_name(table['rows'])} objects in the ledger\n",
        "| listing | listed | new | seconds | min - max | of it the listing | peak memory | of it imports |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for case in table["cases"]:
        if case["outcome"] != "right":
            lines.append(f"| {case['name']} | {case['outcome']}: {_cell(case['detail'])} | | | | | | |")
            continue
        times = f"{case['median_s']:.2f} | {case['min_s']:.2f} - {case['max_s']:.2f} | {case['listing_s']:.2f}"
        memory = f"{_bytes(case['peak_bytes'])} | {_bytes(case['before_bytes'])}"
        lines.append(f"| {case['name']} | {case['listed']:,} | {case['new']:,} | {times} | {memory} |")
    return "\n".join(lines)


def _merging(table: dict[str, Any]) -> str:
    lines = [
        f"### Into {results.size_name(table['rows'])} rows\n",
        "| engine | seconds | min - max | peak memory of the tree | idle before | above idle |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for case in table["cases"]:
        if case["outcome"] != "right":
            lines.append(f"| {case['name']} | {case['outcome']}: {_cell(case['detail'])} | | | | |")
            continue
        peak, idle = case["peak_bytes"], case["idle_bytes"]
        memory = f"{_bytes(peak)} | {_bytes(idle)} | {_bytes(max(0, peak - idle))}"
        spread = f"{case['min_s']:.2f} - {case['max_s']:.2f}"
        lines.append(f"| {case['name']} | {case['median_s']:.2f} | {spread} | {memory} |")
    return "\n".join(lines)


def _latency(table: dict[str, Any]) -> str:
    lines = ["| way | median | slowest | each |", "|---|--:|--:|---|"]
    for case in table["cases"]:
        if case["outcome"] != "right":
            lines.append(f"| {case['name']} | {case['outcome']}: {_cell(case['detail'])} | | |")
            continue
        each = ", ".join(f"{value:.2f}" for value in case["seconds"])
        lines.append(f"| {case['name']} | {case['median_s']:.2f} s | {case['max_s']:.2f} s | {each} |")
    return "\n".join(lines)


def _memory(table: dict[str, Any]) -> str:
    lines = [
        f"`LAKERAY_TASK_MEMORY` is {_bytes(table['task_memory_bytes'])}.\n",
        "| imported | rows | seconds | largest worker | idle worker | driver | whole tree | idle tree |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for line in table["lines"]:
        names = ("worker_bytes", "idle_worker_bytes", "driver_bytes", "tree_bytes", "idle_tree_bytes")
        sizes = " | ".join(_bytes(line[name]) for name in names)
        lines.append(
            f"| {line['name']} of {_bytes(line['size_bytes'])} | {line['rows']:,} | {line['seconds']:.1f} | {sizes} |"
        )
    verdict = [f"Not bounded: {problem}" for problem in table["problems"]] or ["Every bound holds."]
    return "\n".join([*lines, "", *verdict])


def _circumstances(table: dict[str, Any]) -> str:
    machine = table["machine"]
    versions: dict[str, str] = {}
    for entry in [*table.get("engines", []), *table.get("cases", [])]:
        versions |= entry.get("versions", {})
    hardware = f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}"
    text = f"{table['measured_at']}: {hardware}, {machine['system']}, Python {machine['python']}"
    text += f", output on {machine['file_system']}"
    if "repetitions" in machine:
        text += f", {machine['repetitions']} repetitions"
    if versions:
        text += ". " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return text + "."


def _bytes(size: float) -> str:
    for bound, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= bound:
            return f"{size / bound:.3g} {unit}" if size < 1000 * bound else f"{size / bound:.0f} {unit}"
    return f"{size:.0f} B"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
