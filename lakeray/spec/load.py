"""A workflow file read from disk or text, or every problem in it at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lakeray.spec.declared import with_schema
from lakeray.spec.document import MAX_CHARACTERS, Document, Place, read_document
from lakeray.spec.model import FROM_FILE, Positions, Workflow
from lakeray.spec.problems import Problem, WorkflowFileError, path_text
from lakeray.spec.strict import Loc
from lakeray.spec.wrong import WrongValue, nearest, quoted

__all__ = ["Problem", "WorkflowFileError", "load_workflow"]

_TYPES = {
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "list_type": "expected a list, as in [a, b]",
    "dict_type": "expected a mapping, as in {key: value}",
    "model_type": "expected a mapping, as in {key: value}",
    "model_attributes_type": "expected a mapping, as in {key: value}",
    "finite_number": "expected a finite number",
    "missing": "this key is needed",
    "recursion_loop": "expected values that are not nested so deep",
}


def load_workflow(path_or_text: str | os.PathLike[str]) -> Workflow:
    """The workflow that a file describes.

    A Path, or a text of one line, names the file; a text of several lines is the file's content itself. Relative
    local paths of sources and tables are taken from the file's folder (from the working directory for a text). Raises
    WorkflowFileError, a SpecError, with every problem found, each with its line and column.
    """
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        return _read_in(_workflow(path_or_text, "<text>"), Path.cwd(), "<text>")
    path = Path(path_or_text)
    return _read_in(_workflow(_content(path), str(path_or_text)), path.absolute().parent, str(path_or_text))


def _read_in(workflow: Workflow, folder: Path, file: str) -> Workflow:
    """The workflow with absolute paths, and with the JSON Schemas that it names."""
    located = _located(workflow, folder)
    problems = []
    sources = dict(located.sources)
    for name, source in located.sources.items():
        path = ("sources", name, "declared_schema", "json_schema")
        try:
            sources[name] = with_schema(source, folder)
        except WrongValue as wrong:
            line, column = _positions(workflow).get(path, (1, 1))
            problems.append(
                Problem(line=line, column=column, path=path_text(path), found=wrong.found, expected=wrong.expected)
            )
    if problems:
        raise WorkflowFileError(file=file, problems=problems)
    return located.model_copy(update={"sources": sources})


def _positions(workflow: Workflow) -> Mapping[Loc, Place]:
    return workflow._positions.at  # noqa: SLF001 - this module put them there


def _located(workflow: Workflow, folder: Path) -> Workflow:
    """The workflow with absolute paths: its tasks run in other folders, on other machines."""

    def absolute(uri: str) -> str:
        if "://" in uri or uri.startswith("/"):
            return uri
        found = os.path.normpath(folder / Path(uri).expanduser())
        return f"{found}/" if uri.endswith("/") else found

    sources = {name: item.model_copy(update={"uri": absolute(item.uri)}) for name, item in workflow.sources.items()}
    tables = {
        name: item.model_copy(
            update={"uri": absolute(item.uri), "quarantine": item.quarantine and absolute(item.quarantine)}
        )
        for name, item in workflow.tables.items()
    }
    steps = {
        name: item.model_copy(
            update={
                "outputs": {
                    output: said.model_copy(update={"uri": absolute(said.uri)}) for output, said in item.outputs.items()
                }
            }
        )
        if item.outputs
        else item
        for name, item in workflow.steps.items()
    }
    return workflow.model_copy(update={"sources": sources, "tables": tables, "steps": steps})


def _content(path: Path) -> str:
    def refuse(expected: str, **details: Any) -> WorkflowFileError:
        return WorkflowFileError(file=str(path), problems=[Problem(expected=expected, **details)])

    try:
        with path.open("rb") as file:
            raw = file.read(4 * MAX_CHARACTERS + 1)
    except FileNotFoundError:
        raise refuse("expected a workflow file", found="no such file", nearest=_neighbour(path)) from None
    except IsADirectoryError:
        raise refuse("expected a workflow file", found="a folder") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refuse(f"expected a file that can be read: {reason}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        found = f"the byte 0x{raw[error.start]:02X}"
        raise refuse("expected UTF-8 text: save the file as UTF-8", line=line, column=column, found=found) from None


def _neighbour(path: Path) -> str | None:
    """The file next to where ``path`` should be whose name is closest to it."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in {".yaml", ".yml", ".json"}]
    except OSError:
        return None
    name = nearest(path.name, names)
    return str(path.with_name(name)) if name else None


def _workflow(text: str, file: str) -> Workflow:
    document = read_document(text)
    problems = list(document.problems)
    data = document.data
    workflow: Workflow | None = None
    if not isinstance(data, dict):
        if not problems:
            found = "an empty file" if data is None else _described(data)
            expected = "expected a mapping with the keys workflow, sources, tables, steps"
            problems.append(Problem(line=1, column=1, found=found, expected=expected))
    else:
        try:
            workflow = Workflow.model_validate(data, by_alias=True, by_name=False, context={FROM_FILE: True})
        except ValidationError as error:
            told = {problem.path for problem in problems}
            problems.extend(problem for problem in _problems(error, document) if problem.path not in told)
    if problems or workflow is None:
        raise WorkflowFileError(file=file, problems=problems)
    return _placed(workflow, file, document)


def _placed(workflow: Workflow, file: str, document: Document) -> Workflow:
    places = {path: place for path, place in document.values.items() if path and isinstance(path[-1], int)}
    places.update(document.keys)
    workflow._positions = Positions(file=file, at=places, values=document.values)  # noqa: SLF001 - the one place that knows them
    return workflow


def _problems(error: ValidationError, document: Document) -> list[Problem]:
    """One problem for each place: what a union refuses in several ways is said once."""
    by_place: dict[tuple[Loc, bool], list[Problem]] = {}
    for detail in error.errors(include_url=False):
        place, problem = _problem(detail, document)
        by_place.setdefault((place, detail["type"] == "wrong_value"), []).append(problem)
    return [_joined(problems) for problems in by_place.values()]


def _joined(problems: list[Problem]) -> Problem:
    expected = list(dict.fromkeys(problem.expected for problem in problems))
    first = problems[0]
    if len(expected) == 1:
        return first
    texts = [expected[0], *(text.removeprefix("expected ") for text in expected[1:])]
    return Problem(
        line=first.line, column=first.column, path=first.path, found=first.found, expected=" or ".join(texts)
    )


def _problem(detail: Any, document: Document) -> tuple[Loc, Problem]:
    kind, context = detail["type"], detail.get("ctx", {})
    path, value, about_key = _place(detail["loc"], kind, document.data)
    wrong = context.get("error")
    if isinstance(wrong, WrongValue):
        found, expected, near = wrong.found, wrong.expected, wrong.nearest
    elif kind == "literal_error":
        expected, near = _literal(context["expected"], value)
        found = None
    elif kind == "extra_forbidden":
        found, expected, near = f"the key {quoted(str(path[-1]))}", "this key is not known", str(path[-1]).rstrip("_")
        about_key = True
    else:
        found, expected, near = None, _expected(kind, context, detail["msg"], value), None
    if expected.startswith("allowed keys"):
        about_key, found = True, f"the key {found}"
    line, column = _where(path, about_key=about_key, document=document)
    shown = found if found is not None else _described(value)
    problem = Problem(line=line, column=column, path=path_text(path), found=shown, expected=expected, nearest=near)
    return path, problem


def _place(loc: Loc, kind: str, data: object) -> tuple[Loc, object, bool]:
    """The path into ``data`` that ``loc`` means, what stands there, whether a key is meant.

    Pydantic puts the names of union members between the keys.
    """
    path: Loc = ()
    value: Any = data
    for index, part in enumerate(loc):
        if part == "[key]":
            return path, path[-1] if path else None, True
        in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if in_list or (isinstance(value, Mapping) and part in value):
            value = value[part]
        elif isinstance(value, Mapping) and index == len(loc) - 1 and kind in {"missing", "wrong_value"}:
            value = None
        else:
            continue
        path = (*path, part)
    return path, value, False


def _where(path: Loc, *, about_key: bool, document: Document) -> Place:
    """The place of a value or its key, or of the key of the nearest thing around it."""
    exact = document.keys.get(path) if about_key else document.values.get(path)
    if exact is not None:
        return exact
    for length in range(len(path) - 1, 0, -1):
        around = document.keys.get(path[:length]) or document.values.get(path[:length])
        if around is not None:
            return around
    return document.values.get((), (1, 1))


def _literal(listed: str, value: object) -> tuple[str, str | None]:
    allowed = [name.strip("' ") for name in listed.replace(" or ", ", ").split(",")]
    return f"allowed: {', '.join(allowed)}", nearest(value, allowed) if isinstance(value, str) else None


def _expected(kind: str, context: Mapping[str, Any], message: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, int | float):
        return "expected text: put it in quotes"
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "greater_than_equal":
        return f"expected at least {context['ge']}"
    if kind == "less_than_equal":
        return f"expected at most {context['le']}"
    if kind == "too_short":
        return "expected at least one entry"
    return f"expected something else: {message}"


def _described(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    return str(value)
