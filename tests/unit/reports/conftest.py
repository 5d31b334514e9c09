"""Runs to report on: a good one, a bad one, one that is hostile in every name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lakeray.importer.recording.summary import (
    BatchSummary,
    CleansingSummary,
    ExpectationSummary,
    ImportSummary,
    ObjectProblem,
    Rows,
    SetExpectationSummary,
)
from lakeray.runtime.summary import ErrorSummary, RunSummary, StepSummary

START = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)
ROWS = Rows(read=100_000, written=97_000, quarantined=1_500, dropped=900, filtered=600, rescued=120)


def an_import(**changes: object) -> ImportSummary:
    """A healthy import, but for ``changes``."""
    halves = [
        Rows(read=60_000, written=58_000, quarantined=1_000, dropped=600, filtered=400),
        Rows(read=40_000, written=39_000, quarantined=500, dropped=300, filtered=200),
    ]
    values: dict[str, object] = {
        "step": "ingest",
        "source": "raw_orders",
        "source_uri": "s3://acme-lake/raw/orders/",
        "table": "orders",
        "table_uri": "s3://acme-lake/silver/orders",
        "quarantine_uri": "s3://acme-lake/silver/orders/_lakeray/quarantine",
        "mode": "append",
        "batches": [
            BatchSummary(
                number=number,
                objects=1_200,
                rows=rows,
                bytes_read=60_000_000,
                bytes_written=20_000_000,
                files=2,
                table_version=number + 3,
                duration_s=3.9,
                won=True,
            )
            for number, rows in enumerate(halves, start=1)
        ],
        "objects": {"loaded": 2_390, "partly_loaded": 8, "failed": 2},
        "rows": ROWS,
        "bytes_read": 120_000_000,
        "bytes_written": 40_000_000,
        "files": 4,
        "listed": 3_000,
        "known": 600,
        "changed": 3,
        "new_columns": ["coupon"],
        "expectations": {
            "id_present": ExpectationSummary(on_violation="quarantine", checked=99_400, violated=1_100),
            "positive": ExpectationSummary(on_violation="drop", checked=99_400, violated=900),
            "has_email": ExpectationSummary(on_violation="warn", checked=99_400, violated=0),
        },
        "set_expectations": {
            "one_order": SetExpectationSummary(
                kind="unique", on_violation="warn", checked=2, violated=1, rows=3, detail="3 rows have a known order_id"
            ),
        },
        "cleansing": {
            "status": {
                "trim": CleansingSummary(looked_at=99_100, changed=3_217),
                "enum": CleansingSummary(looked_at=99_100, changed=41_013, refused=409),
            }
        },
        "problems": [
            ObjectProblem(
                uri="s3://acme-lake/raw/orders/2024/03/part-0007.json.gz",
                outcome="failed",
                error="the gzip stream ends in the middle",
            ),
            ObjectProblem(
                uri="s3://acme-lake/raw/orders/2024/03/part-0009.json",
                outcome="partly_loaded",
                error="a value is missing after a colon",
                line=17,
                column=42,
            ),
        ],
        "notes": ["3 objects changed since they were imported; they are ignored (changed_objects: ignore)."],
        "started_at": START,
        "duration_s": 8.1,
        "phases_s": {"discover": 0.6, "plan": 0.2, "write": 6.4, "commit": 0.5, "record": 0.4},
    }
    return ImportSummary.model_validate(values | changes)


def a_run(*imports: ImportSummary, **changes: object) -> RunSummary:
    """A run that succeeded with these imports, but for ``changes``."""
    values: dict[str, object] = {
        "run_id": "01JDCZ6V7Q",
        "workflow": "orders",
        "tenant": "acme",
        "state": "succeeded",
        "started_at": START,
        "duration_s": 9.3,
        "steps": [
            StepSummary(
                name=summary.step,
                kind="import",
                state="succeeded",
                started_at=START,
                duration_s=summary.duration_s,
                imported=summary,
            )
            for summary in imports
        ],
        "notes": ["schedule is ignored by `run`; `lakeray up` uses it."],
        "security": ["env:MASK_KEY was resolved for the mask of orders.email (hmac_sha256)."],
        "environment": {"lakeray": "0.1.0", "ray": "2.60.0", "cpus": "2"},
    }
    return RunSummary.model_validate(values | changes)


@pytest.fixture
def good() -> RunSummary:
    """A run with a few objects that had problems."""
    return a_run(an_import())


@pytest.fixture
def failed() -> RunSummary:
    """A run whose only step failed before it began to import."""
    error = ErrorSummary(
        step="ingest",
        code="access_denied",
        message="s3://acme-lake/raw/orders/ refused the key",
        hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        uri="s3://acme-lake/raw/orders/",
    )
    step = StepSummary(name="ingest", kind="import", state="failed", attempts=3, duration_s=2.0, error=error)
    return a_run(steps=[step], state="failed", errors=[error], security=[], notes=[])


HOSTILE = (
    "</td><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[2J\u202egnp.exe\n| a | b |\n# h1 `x` \ud800"
)


@pytest.fixture
def hostile() -> RunSummary:
    """A run in which every text that comes from outside tries to break out."""
    summary = an_import(
        step=HOSTILE,
        source=HOSTILE,
        source_uri=HOSTILE,
        table=HOSTILE,
        table_uri=HOSTILE,
        quarantine_uri=HOSTILE,
        new_columns=[HOSTILE],
        notes=[HOSTILE],
        expectations={HOSTILE: ExpectationSummary(on_violation="warn", checked=1, violated=1)},
        set_expectations={HOSTILE: SetExpectationSummary(kind=HOSTILE, on_violation=HOSTILE, detail=HOSTILE)},
        cleansing={HOSTILE: {HOSTILE: CleansingSummary(looked_at=1, changed=1)}},
        problems=[ObjectProblem(uri=HOSTILE, outcome="failed", error=HOSTILE)],
        phases_s={HOSTILE: 20.0, "b": 1.0},
    )
    error = ErrorSummary(step=HOSTILE, code="read", message=HOSTILE, hint=HOSTILE, uri=HOSTILE)
    return a_run(
        summary,
        workflow=HOSTILE,
        tenant=HOSTILE,
        run_id=HOSTILE,
        state="failed",
        errors=[error],
        notes=[HOSTILE],
        security=[HOSTILE],
        environment={HOSTILE: HOSTILE},
    )


@pytest.fixture(name="imported")
def _imported():
    """Makes an import."""
    return an_import


@pytest.fixture(name="ran")
def _ran():
    """Makes a run."""
    return a_run


@pytest.fixture(name="hostile_text")
def _hostile_text() -> str:
    """What every text of the hostile run is."""
    return HOSTILE
