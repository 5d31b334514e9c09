"""A run in the foreground says of what the file tells `lakeray up` that it ignores it."""

from __future__ import annotations

import lakeray
from lakeray.config import Settings

WORKFLOW = """
workflow: orders
schedule: {{cron: "@daily"}}
triggers: {{new: {{arrival: raw}}, late: {{expect: {{run_end: crm, within: 26h}}}}}}
sources: {{raw: {{uri: {folder}/raw/, format: json}}}}
tables: {{orders: {{uri: {folder}/orders}}}}
steps:
  ingest: {{import: {{from: raw, into: orders}}}}
"""


def test_schedule_and_triggers_are_ignored_aloud(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.json").write_text('{"id": 1}\n')
    file = tmp_path / "w.yaml"
    file.write_text(WORKFLOW.format(folder=tmp_path))
    lake = lakeray.connect(settings=Settings(executor="inline", catalog=str(tmp_path / "catalog")))
    summary = lake.run(file).result()
    assert summary.state == "succeeded"
    assert [word for word in ("schedule", "triggers") if any(word in note for note in summary.notes)] == [
        "schedule",
        "triggers",
    ]
