"""The steps of a run laid out as blocks: their order, where their time went, what their gates found."""

from __future__ import annotations

from lakeray.observability.figures import duration
from lakeray.observability.visible import visible
from lakeray.reports.blocks import Block, Graph, Grid, Node, Note, Tone, remarked
from lakeray.reports.drawing import MOST_STEPS
from lakeray.reports.model import Report, StepLine

WORTH_A_WORD_S = 0.5
"""Seconds of waiting below which a report is silent about them."""
_STATE_TONE: dict[str, Tone] = {"succeeded": "good", "failed": "bad", "cancelled": "warn", "waiting": "warn"}
_LONGEST = 400


def state_tone(state: str) -> Tone:
    """How a state of a run or a step feels."""
    return _STATE_TONE.get(state, "plain")


def steps_grid(lines: list[StepLine]) -> Grid:
    """The steps, one a row."""
    waited = any(sum(line.waited_s.values()) >= WORTH_A_WORD_S for line in lines)
    headers = ["step", "kind", "state", "attempts", "took", *(["waited"] if waited else []), ""]
    return remarked(
        headers,
        [
            [
                visible(line.name),
                visible(line.kind),
                line.state,
                str(line.attempts),
                duration(line.duration_s),
                *([_waited(line)] if waited else []),
                visible(line.error or ("" if line.conditions else "; ".join(line.done)), _LONGEST),
            ]
            for line in lines
        ],
        numeric=frozenset({3, 4}),
        tones=[state_tone(line.state) for line in lines],
    )


def _waited(line: StepLine) -> str:
    shown = [(name, seconds) for name, seconds in line.waited_s.items() if seconds >= WORTH_A_WORD_S]
    return ", ".join(f"{duration(seconds)} {name}" for name, seconds in shown)


def workflow_blocks(report: Report) -> list[Block]:
    """The graph, the steps, what gates found, what was undone."""
    section = report.workflow
    blocks: list[Block] = [*_graph(report), steps_grid(section.steps)] if section.steps else [Note(text="No step ran.")]
    blocks += [_gate(line) for line in section.steps if line.conditions]
    undone = [line for line in section.steps if line.undone is not None]
    return [*blocks, *([_undone(undone)] if undone else [])]


def _graph(report: Report) -> list[Block]:
    """A drawing where there is an order to draw."""
    steps = report.workflow.steps
    if not any(line.after for line in steps) or len(steps) > MOST_STEPS:
        return []
    path = {each.step for each in report.performance.critical_path}
    nodes = [
        Node(
            name=line.name,
            said=f"{line.state} · {duration(line.duration_s)}",
            tone=state_tone(line.state),
            after=tuple(line.after),
            critical=line.name in path,
        )
        for line in steps
    ]
    return [Graph(title="steps in their order; the run's length hangs on the bold ones", nodes=nodes)]


def _gate(line: StepLine) -> Grid:
    """What each condition of a gate found when it was looked at."""
    tones: dict[str, Tone] = {"true": "good", "false": "bad"}
    return Grid(
        headers=[f"gate {visible(line.name)}", "verdict", "found", "at"],
        rows=[
            [
                visible(found.condition),
                found.verdict,
                visible(found.found, _LONGEST)
                + (f" (policy {visible(found.policy_revision)})" if found.policy_revision else ""),
                f"{found.at:%H:%M:%S}",
            ]
            for found in line.conditions
        ],
        tones=[tones.get(found.verdict, "warn") for found in line.conditions],
    )


def _undone(lines: list[StepLine]) -> Grid:
    """Steps whose effects were taken back, or should have been."""
    rows, tones = [], list[Tone]()
    for line in lines:
        assert line.undone is not None
        undone = line.undone
        rows.append([visible(line.name), undone.state, str(undone.attempts), visible(undone.said, _LONGEST)])
        tones.append("bad" if undone.state == "failed" else "plain")
    return remarked(["compensation of", "state", "attempts", ""], rows, numeric=frozenset({2}), tones=tones)
