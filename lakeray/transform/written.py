"""A workflow's SQL is refused where it stands in the file, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from lakeray.errors import TransformError
from lakeray.spec.model import Workflow
from lakeray.spec.problems import Problem, WorkflowFileError, path_text
from lakeray.spec.steps import Step
from lakeray.spec.strict import Loc

if TYPE_CHECKING:
    from lakeray.transform.engine import Engine

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def check_expressions(workflow: Workflow) -> None:
    """Raise WorkflowFileError, with every problem, unless each expression is one allowed per-row expression.

    Syntax and functions are looked at; which columns there are, and of which types, only the data can say.
    """
    problems = [
        problem for path, sql in _expressions(workflow) for problem in _problems(workflow.value_at(*path), path, sql)
    ]
    if problems:
        raise WorkflowFileError(file=workflow.file or "<workflow>", problems=problems)


def _expressions(workflow: Workflow) -> Iterator[tuple[Loc, str]]:
    for name, step in workflow.steps.items():
        for path, sql in _of_step(step):
            yield ("steps", name, *path), sql


def _of_step(step: Step) -> Iterator[tuple[Loc, str]]:
    """Every per-row expression of a step with its path."""
    for column, sql in step.select.items():
        yield ("select", column), sql
    if step.where is not None:
        yield ("where",), step.where
    for name, expectation in step.expect.items():
        yield ("expect", name, "sql"), expectation.sql
    if step.import_ is not None:
        named = {"delete_when": step.import_.delete_when, "replace_where": step.import_.replace_where}
        yield from ((("import", name), sql) for name, sql in named.items() if sql is not None)


def _problems(place: tuple[int, int] | None, path: Loc, sql: str) -> Iterator[Problem]:
    from lakeray.transform.expression import (  # a file without expressions need not wait for the engine
        check_syntax,
        parsed,
    )

    try:
        expression = parsed("", sql, engine=_engine(), now=_ANY_TIME)
        check_syntax(expression, _engine())
    except TransformError as error:
        line, column = place or (None, None)
        said = error.message.removeprefix(": ") + (f"; {error.hint}" if error.hint else "")
        yield Problem(line=line, column=column, path=path_text(path), expected=said)


@cache
def _engine() -> Engine:
    from lakeray.transform.engine import Engine

    return Engine()
