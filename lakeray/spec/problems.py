"""What is wrong with a workflow file, problem by problem, as one error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lakeray.errors import SpecError
from lakeray.spec.wrong import one_line, sentence

_SHOWN = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong.

    ``line`` and ``column`` are 1-based, None when the file as a whole is meant. ``path`` names the place by its keys,
    as in ``steps.ingest.import.mode``, and is empty for the whole. ``found`` describes what stands there, never a
    secret; ``expected`` what could stand there; ``nearest`` is the right spelling that is closest, if one is close.
    """

    line: int | None = None
    column: int | None = None
    path: str = ""
    found: str | None = None
    expected: str
    nearest: str | None = None

    def render(self, file: str) -> str:
        """``orders.yaml:14:5  steps.ingest.import.mode: found "appendd"; allowed: append. Did you mean "append"?``."""
        place = f"{file}:{self.line}:{self.column}" if self.line is not None else file
        said = sentence(found=self.found, expected=self.expected, nearest=self.nearest)
        return f"{place}  {self.path}: {said}" if self.path else f"{place}  {said}"


class WorkflowFileError(SpecError):
    """A workflow file with everything that is wrong with it, in the file's order; nothing was started.

    ``file`` is its name, ``problems`` holds every Problem; the message shows them one a line.
    """

    code = "workflow_file"

    def __init__(self, *, file: str, problems: Sequence[Problem], hint: str | None = None) -> None:
        self.file = file
        self.problems = sorted(problems, key=lambda p: (p.line or 0, p.column or 0, p.path))
        lines = [problem.render(file) for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"and {len(self.problems) - _SHOWN} more problems")
        super().__init__("\n".join(lines), hint=hint, uri=file)


def path_text(path: Sequence[str | int]) -> str:
    """``steps.align.validate[1].unique`` for the keys and 0-based places of ``path``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        shown = part if len(part) <= 80 else f"{part[:77]}..."  # noqa: PLR2004 - keys of a hostile file may be long
        text += f".{one_line(shown)}" if text else one_line(shown)
    return text
