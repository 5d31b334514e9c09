"""The arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

File = Annotated[str, typer.Argument(help="The workflow file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else there.")]
Step = Annotated[
    str | None, typer.Option("--step", metavar="NAME", help="The import step; needed when the file has several.")
]
Steps = Annotated[
    list[str] | None, typer.Option("--step", metavar="NAME", help="Only this step; give it again for more.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, metavar="ROWS", help="At most so many rows.")]
TableOrFile = Annotated[
    str, typer.Argument(metavar="FILE|URI", help="The workflow file, or a table's uri.", show_default=False)
]
TableName = Annotated[str | None, typer.Argument(help="The table's name in the file; needed when it has several.")]
