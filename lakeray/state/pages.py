"""Page tokens of the index of runs: where the last page ended, opaque to who holds one."""

from __future__ import annotations

import base64
import binascii

from lakeray.state.instants import to_us
from lakeray.state.port import RunHead, RunPage


def page(heads: list[RunHead], limit: int) -> RunPage:
    """The page of the first ``limit`` of ``heads``, of which there is one more if there is another page."""
    if len(heads) <= limit:
        return RunPage(runs=tuple(heads), next_token=None)
    last = heads[limit - 1]
    token = base64.urlsafe_b64encode(f"{to_us(last.started_at)} {last.run_id}".encode()).decode()
    return RunPage(runs=tuple(heads[:limit]), next_token=token)


def page_start(token: str | None) -> tuple[int, str] | None:
    """``started_at`` in microseconds and run of the last run before the page. Raises ValueError for a wrong token."""
    if token is None:
        return None
    try:
        started_us, _, run_id = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition(" ")
        return int(started_us), run_id
    except (binascii.Error, ValueError):
        raise ValueError("the page token is not one that a page of runs came with") from None
