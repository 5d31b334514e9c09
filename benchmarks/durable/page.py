"""The tables of durable runs as the page shows them."""

from __future__ import annotations

from typing import Any

from benchmarks.page import Family

FAMILIES = (
    Family(
        workload="runs",
        title="Durable runs: ten steps that do nothing",
        short="Durable steps",
        text=(
            "Every step is in the engine's history, on disk, before the next one begins. Gap is the time from one step "
            "to the next of the same run. Engines take turns on the same disk; where an engine is slow it does fewer "
            "runs. All of an engine's steps have to be in its own history."
        ),
    ),
    Family(
        workload="waiting",
        title="Durable runs that wait",
        short="Waiting runs",
        text=(
            "Runs that all wait for the same instant, attended to by one orchestrator: memory and processor time "
            "meanwhile, and how late they are over."
        ),
    ),
    Family(
        workload="ended",
        title="Looking for runs that are over",
        short="Ended runs",
        text=(
            "The newest hundred runs that fit a filter, as `lakeray runs list` looks for them: the store is opened for "
            "every look."
        ),
    ),
)


def body(table: dict[str, Any]) -> str:
    """The Markdown of one table."""
    made = {"runs": _runs, "waiting": _waiting, "ended": _ended}[table["workload"]]
    return "\n".join(made(table))


def _failed(case: dict[str, Any], cells: int) -> str:
    detail = f"{case['outcome']}: {case['detail']}".replace("|", "\\|").replace("\n", " ")
    return f"| {case['name']} | {detail} |" + " |" * (cells - 2)


def _runs(table: dict[str, Any]) -> list[str]:
    lines = [f"The disk needs {table['sync_ms']:.2f} ms to write 4 KiB behind a file's end and sync it."]
    for at_once in sorted({case["at_once"] for case in table["cases"]}):
        lines += [
            "",
            f"### {at_once} at once\n" if at_once > 1 else "### One after the other\n",
            "| engine | steps a second | min - max | gap | runs | durable | what it runs |",
            "|---|--:|--:|--:|--:|---|---|",
        ]
        own = [case for case in table["cases"] if case["at_once"] == at_once]
        for case in sorted(own, key=lambda case: -case.get("steps_per_s", 0.0)):
            if case["outcome"] != "right":
                lines.append(_failed(case, 7))
                continue
            name = f"**{case['name']}**" if case["name"].startswith("lakeray") else case["name"]
            rates = f"{case['steps_per_s']:,.0f} | {case['least_per_s']:,.0f} - {case['most_per_s']:,.0f}"
            lines.append(
                f"| {name} | {rates} | {case['gap_ms']:.2f} ms | {case['runs']:,} | {case['durability']} "
                f"| {case['how']} |"
            )
    return lines


def _waiting(table: dict[str, Any]) -> list[str]:
    lines = [
        "| runs | begun a second | memory of all | of one | of a core meanwhile | half are late by | the last by |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for case in table["cases"]:
        if case["outcome"] != "right":
            lines.append(_failed(case, 7))
            continue
        memory = f"{case['waiting_bytes'] / 1e6:.0f} MB | {case['bytes_a_run'] / 1e3:.1f} kB"
        late = f"{case['median_late_s']:.2f} s | {case['last_late_s']:.2f} s"
        share = f"{case['idle_share_of_a_core']:.1%}"
        lines.append(f"| {case['name']} | {case['accepted_per_s']:,.0f} | {memory} | {share} | {late} |")
    return lines


def _ended(table: dict[str, Any]) -> list[str]:
    lines = ["| filter | found |" + "".join(f" {case['name']} |" for case in table["cases"])]
    lines.append("|---|--:|" + "--:|" * len(table["cases"]))
    right = [case for case in table["cases"] if case["outcome"] == "right"]
    lines.extend(
        f"| {name} | {look['found']} |" + "".join(f" {case['looks'][name]['median_ms']:.1f} ms |" for case in right)
        for name, look in (right[0]["looks"] if right else {}).items()
    )
    return [*lines, *(_failed(case, 2) for case in table["cases"] if case["outcome"] != "right")]
