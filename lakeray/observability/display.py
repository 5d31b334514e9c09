"""Progress on a terminal that is pleasant to watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lakeray.observability.figures import coarse, count, counted, size
from lakeray.observability.plain import ending
from lakeray.observability.tally import Committed, Ended, Tally, TallyObserver
from lakeray.observability.visible import visible

_REFRESHES_PER_S = 8
_BAR_WIDTH = 28
_NAME_WIDTH = 24


class QuietConsole(Console):
    """A console that falls silent when its reader goes away.

    Rich itself would end the process then, and point standard output to nowhere.
    """

    def on_broken_pipe(self) -> None:
        """Say nothing more."""
        self.quiet = True


class RichObserver(TallyObserver):
    """Shows every running step with objects, rows, bytes, speed besides the time left; leaves one line a step behind.

    Use it as a context manager around the run: outside of it only the lasting lines are printed.
    """

    def __init__(self, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock=clock)
        self._console = console or QuietConsole(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=lambda: _Board(self),
            console=self._console,
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
        )
        self._spinner = Spinner("dots", style="cyan")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def rows(self, width: int) -> list[Table]:
        """What is shown now for a terminal of ``width`` columns: a block of two lines for every running step."""
        with self._lock:
            return [self._block(tally, width) for tally in self._tallies.values()]

    def _block(self, tally: Tally, width: int) -> Table:
        now = self._clock()
        grid = Table.grid(padding=(0, 1))
        name = Text(visible(tally.step, _NAME_WIDTH), style="bold")
        if tally.reading_since is None:
            seen = f"looking, {counted(tally.listed, 'object')} listed, {count(tally.new)} new"
            grid.add_row(self._spinner, name, Text(seen, style="dim"))
            return grid
        done, total = tally.objects, max(tally.total, 1)
        wide = min(_BAR_WIDTH, max(8, width // 4))
        bar = ProgressBar(total=total, completed=done, width=wide, complete_style="cyan", finished_style="cyan")
        left = tally.left_s(now)
        first = Table.grid(padding=(0, 1))
        first.add_row(
            bar,
            Text(f"{count(done)} of {counted(tally.total, 'object')}"),
            Text("" if left is None else f"{coarse(left)} left", style="cyan"),
        )
        second = "   ".join(
            (
                counted(tally.rows, "row"),
                size(tally.size_bytes),
                f"{count(tally.rows_per_s(now))} rows/s",
                f"batch {tally.batch}",
            )
        )
        grid.add_row(self._spinner, name, first)
        grid.add_row("", "", Text(second, style="dim"))
        return grid

    def _on_batch(self, tally: Tally, done: Committed) -> None:
        if not done.won:
            self._on_note(tally.step, f"batch {done.batch} was committed by another importer; nothing is repeated")

    def _on_end(self, tally: Tally, end: Ended) -> None:
        mark, style = ("!", "yellow") if end.errors else ("✓", "green")
        line = Text.assemble((f"{mark} ", style), (visible(tally.step, _NAME_WIDTH), "bold"), "  ")
        line.append(ending(tally, end))
        self._console.print(line)

    def _on_note(self, step: str, message: str) -> None:
        self._console.print(Text.assemble(("· ", "cyan"), (visible(step, _NAME_WIDTH), "bold"), "  ", visible(message)))


class _Board:
    """Renders an observer for the width of the terminal as it is at this moment."""

    def __init__(self, observer: RichObserver) -> None:
        self._observer = observer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(*self._observer.rows(options.max_width))
