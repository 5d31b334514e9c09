"""What of the contract this version runs; the rest is refused by name before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lakeray.errors import NotBuiltError
from lakeray.spec.model import Step, Workflow
from lakeray.spec.problems import path_text
from lakeray.spec.strict import Loc

BUILT_KINDS = frozenset({"import", "maintain", "python", "gate", "wait", "workflow", "map"})
BUILT_MODES = frozenset({"append", "overwrite", "merge", "scd2"})


def refuse_unbuilt(workflow: Workflow, *, steps: Collection[str] | None = None) -> None:
    """Raise NotBuiltError, which lists by name and line every step kind and option that this version does not run.

    Looks at ``steps``, or at all when None, with the sources that they read. `schedule` is accepted: a run in the
    foreground ignores it.
    """
    lines: list[str] = []
    for name, step in workflow.steps.items():
        if steps is not None and name not in steps:
            continue
        for path, what in (
            *_of_step(name, step),
            *_of_parts(name, workflow, step),
            *_of_sets(name, workflow, step),
            *_of_source(workflow, step),
        ):
            place = workflow.where(*path)
            line = f"{place}  " if place else ""
            line += f"{path_text(path)}: {what}"
            if line not in lines:
                lines.append(line)
    if lines:
        raise NotBuiltError(
            "\n".join(lines),
            hint="this version of lakeray does not run these parts of the workflow yet, so that nothing was started; "
            "take them out, or run the other steps alone",
        )


def _of_step(name: str, step: Step) -> Iterator[tuple[Loc, str]]:
    here: Loc = ("steps", name)
    if step.kind not in BUILT_KINDS:
        yield (*here, step.kind), f"steps of kind {step.kind} are not built yet; built: {_listed(BUILT_KINDS)}"
    if step.import_ is not None and step.import_.mode not in BUILT_MODES:
        what = f"mode {step.import_.mode} is not built yet; built: {_listed(BUILT_MODES)}"
        yield (*here, "import", "mode"), what
    history = step.import_ is not None and step.import_.mode == "scd2"
    if step.compensate == "withdraw" and history:
        yield (*here, "compensate"), "withdraw is not built yet for mode scd2"
    starts_runs = step.workflow is not None or (step.map is not None and step.map.workflow is not None)
    for option in ("queue", "breaker"):
        if getattr(step, option) and starts_runs:
            what = f"{option} is not built at a step that starts runs: give it to the steps of the other file"
            yield (*here, option), what


def _of_parts(name: str, workflow: Workflow, step: Step) -> Iterator[tuple[Loc, str]]:
    """Outputs and child tables hold what batches add: rows that a step takes out of its table again, or strikes out of
    a batch, would stay in them.
    """
    if step.import_ is None:
        return
    source, plan = workflow.sources[step.import_.from_], step.import_
    taken = {
        "changed_objects: replace": source.changed_objects == "replace",
        "deleted_objects: delete": source.deleted_objects == "delete",
        "compensate: withdraw": step.compensate == "withdraw",
        "replace_where": plan.replace_where is not None,
        "partitions: dynamic": plan.partitions == "dynamic",
    }
    struck = {
        "mode merge": plan.mode == "merge",
        "mode scd2": plan.mode == "scd2",
        "deduplicate": step.deduplicate is not None,
        "expect_set with on_violation: quarantine": any(
            rule.on_violation == "quarantine" for rule in step.expect_set.values()
        ),
        **{f"provenance of the table {child}": workflow.tables[child].provenance for child in step.unnest},
    }
    for option, parts, why in (("outputs", step.outputs, taken), ("unnest", step.unnest, {**taken, **struck})):
        for other, said in why.items():
            if parts and said:
                yield ("steps", name, option), f"{option} is not built yet together with {other}"


def _of_sets(name: str, workflow: Workflow, step: Step) -> Iterator[tuple[Loc, str]]:
    """A row that went because the table had its key would be missed once the table's row is taken out again."""
    if step.import_ is None or step.deduplicate is None or step.deduplicate.within == "batch":
        return
    source = workflow.sources[step.import_.from_]
    taking = {
        "changed_objects: replace": source.changed_objects == "replace",
        "deleted_objects: delete": source.deleted_objects == "delete",
        "compensate: withdraw": step.compensate == "withdraw",
    }
    for option in (option for option, said in taking.items() if said):
        what = f"a look into the table is not built yet together with {option}; within the batch it is"
        yield ("steps", name, "deduplicate", "within"), what


def _of_source(workflow: Workflow, step: Step) -> Iterator[tuple[Loc, str]]:
    if step.import_ is None:
        return
    name, mode = step.import_.from_, step.import_.mode
    source = workflow.sources[name]
    if source.changed_objects == "replace" and mode in ("merge", "scd2"):
        what = f"replace is not built yet for mode {mode}; with append the rows of the new version win by their key"
        yield ("sources", name, "changed_objects"), what
    if source.deleted_objects == "delete" and mode == "scd2":
        yield ("sources", name, "deleted_objects"), "delete is not built yet for mode scd2"


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
