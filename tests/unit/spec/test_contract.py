"""The whole contract is parsed, whether or not it is built; what is not built is refused by name and line."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from lakeray.errors import NotBuiltError
from lakeray.spec.built import refuse_unbuilt
from lakeray.spec.load import load_workflow
from lakeray.spec.model import Workflow

EXAMPLES = Path(__file__).parents[3] / "examples"
CONTRACT = EXAMPLES / "orders.yaml"

EVERYTHING = """
workflow: everything
schedule: {cron: "0 6 * * mon-fri", timezone: Europe/Berlin, overlap: skip, jitter: 30s, pause_on_failure: true}
triggers:
  new: {arrival: b}
  pushed: {arrival: {source: a, queue: "https://sqs.example/1/q", reconcile: 10m, settle: 5s}, overlap: skip}
  posted: {arrival: {source: a, posted: true}, paused: true}
  version: {table_version: a}
  elsewhere: {table_version: {uri: s3://elsewhere/t, every: 5m, changes: any}}
  crm: {run_end: crm}
  broken: {run_end: {workflow: crm, states: [failed, terminated]}, overlap: allow_all}
  late: {expect: {run_end: everything, within: 26h}}
  silent: {expect: {arrival: b, within: 1d}}
sources:
  a: {uri: "abfss://raw@account.dfs.core.windows.net/a/{day}/*.csv", format: csv, csv: {header: false, columns: [x, y]}}
  b: {uri: /data/b, format: json, json: {shape: array}, encoding: utf-16, compression: xz, evolution: rescue}
tables:
  a: {uri: az://lake/a, properties: {delta.appendOnly: "true"}}
  b: {uri: file:///lake/b}
steps:
  a: {import: {from: a, into: a, mode: merge, key: [x]}}
  b:
    import: {from: b, into: b, on_restore: keep}
    mapping:
      columns:
        city: customer.address.city
        day: {from: placed, cast: date, format: "%d.%m.%Y", default: "2000-01-01"}
        total: {from: sum, cast: "decimal(18, 2)", format: {decimal: ",", thousands: "."}}
        raw: {from: items, keep_json: true}
        shop: {constant: 1}
      flatten: {address: a_, more: {prefix: m_, depth: 2}}
      rest: drop
    cleanse:
      "*": [{trim: all}, {unicode: NFKC}, {nulls: ["", "N/A"]}]
      "type:string": [{case: lower}, {replace: {pattern: "-+", with: "-"}}]
      city: [{enum: {Berlin: [berlin, bln]}, unknown: keep}]
      total:
        - number: {decimal: ",", currency: [EUR], percent: true}
        - outlier: {quantiles: [0.01, 0.99], action: flag}
      day: [{date: {formats: ["%d.%m.%Y", "%F"], timezone: Europe/Berlin, ambiguous: first}}]
      weight:
        - unit: {to: kg, from: {g: 0.001}, bare: kg, unfit: "null"}
        - outlier: {between: [0, null], action: clip}
      ok: [{boolean: {yes: [ja], no: [nein]}}]
    apply: "clean.b:run"
    expect: {positive: {sql: "x > 0", on_violation: warn}}
    mask: {x: {redact: "***"}}
    on_failure: continue
  fan: {map: {over: [1, 2], python: "jobs:work", concurrency: 2}, timeouts: {start_to_close: 1h, heartbeat: 30s}}
  held:
    python: "jobs:run"
    requires: {alignment: align}
    ensures: {python: "rules:holds"}
    after: [align]
    queue: {pool: warehouse, slots: 2, priority: 5, key: orders, limit: 3}
    breaker: {dependency: warehouse, failures: 3, within: 1m, open_for: 10s}
    resources: {num_cpus: 0.5, memory: 1000000}
    retry: {maximum_worker_deaths: 2, jitter: 0.2}
    compensate: "jobs:undo"
    compensate_retry: {maximum_attempts: 4}
  nested: {workflow: other.yaml, after: [fan]}
  call: {python: {function: "jobs:run", arguments: {n: 1, name: x, flag: true}}}
  pause: {wait: 10m}
  until: {wait: {until: "2030-01-01T00:00:00Z"}}
  event: {wait: {event: ready, timeout: 1d}}
  upkeep: {after: [a], maintain: {table: a, z_order: [x], vacuum: 7d}}
  align:
    after: [a, b]
    validate:
      - counts: {from: a, to: copy, tolerance: 0.01}
      - digests: {from: a, to: b, columns: [x]}
      - keys: {from: a, to: b}
      - schema: {table: a, columns: {x: int64}, exact: true}
      - rule: {table: a, sql: "x > 0", at_least: 0.9}
      - freshness: {table: a, within: 1d}
  gate:
    after: [align]
    gate:
      any:
        - not: {alignment: align}
        - alignment: {step: align, at_least: 0.5}
        - access_control: {role: steward}
        - access_control: {permission: publish, resource: "table:a"}
        - data_quality: {step: b, expectation: positive, metric: violated, at_most: 10}
        - data_quality: {table: a, metric: age, at_most: 3600}
        - business_rule: 'steps["a"].rows_written > 0 && tables.a.rows > 0 && run.principal != ""'
        - approval: {role: steward}
        - approval: {role: steward, four_eyes: true, comment: required, expires_in: 1h, on_expiry: approve}
        - approval: {role: steward, quorum: 2, expires_in: 1h, on_expiry: escalate, escalate_to: chief}
        - python: "rules:holds"
  out: {after: [gate], deliver: {from: a, to: [copy, bucket, stream]}}
targets:
  copy: {delta: {uri: s3://elsewhere/a, mode: replace}, retry: {maximum_attempts: 10}}
  bucket: {files: {uri: s3://elsewhere/files, format: csv}}
  stream: {redis: {url: "secret:team/redis", stream: events, max_length: 1000}}
pools: {warehouse: 4}
"""


@pytest.fixture(scope="module")
def contract():
    return load_workflow(CONTRACT)


def test_the_contract_is_parsed_whole(contract):
    ingest = contract.steps["ingest"]
    assert (contract.workflow, contract.tenant) == ("orders", "acme")
    assert contract.schedule.catchup_window == 3600.0
    assert contract.sources["raw_orders"].hints == {"order_id": pa.int64(), "placed_at": pa.timestamp("us", tz="UTC")}
    assert contract.tables["orders"].quarantine_uri == "s3://acme-lake/silver/orders_quarantine"
    assert (ingest.kind, ingest.import_.from_, ingest.import_.into, ingest.import_.mode) == (
        "import",
        "raw_orders",
        "orders",
        "append",
    )
    assert ingest.expect["positive"].on_violation == "drop"
    assert (ingest.mask["email"].kind, ingest.mask["email"].chosen) == ("hmac_sha256", "env:MASK_KEY")
    assert [ingest.retry.interval_s(attempt) for attempt in (1, 2, 3)] == [2.0, 4.0, 8.0]
    assert [check.kind for check in contract.steps["align"].validate_] == ["balance", "unique", "references"]
    assert [c.kind for c in contract.steps["release"].gate.all_] == ["data_quality", "business_rule", "approval"]
    assert contract.targets["warehouse"].postgres.key == ["order_id"]
    assert contract.ordered() == ["ingest", "align", "release", "publish"]


def test_every_kind_of_part_is_parsed():
    workflow = load_workflow(EVERYTHING)
    kinds = {step.kind for step in workflow.steps.values()}
    assert kinds == {"import", "validate", "gate", "deliver", "maintain", "python", "workflow", "map", "wait"}
    assert workflow.sources["a"].delimiter == ","
    assert workflow.steps["pause"].wait.for_ == 600.0
    assert workflow.steps["nested"].workflow.file == "other.yaml"
    assert workflow.ordered().index("align") > workflow.ordered().index("b")
    assert {trigger.kind for trigger in workflow.triggers.values()} == {"arrival", "table_version", "run_end", "expect"}
    assert workflow.triggers["late"].expect.within == 26 * 3600
    assert {part.kind for part in workflow.steps["gate"].gate.any_} >= {"data_quality", "business_rule", "approval"}


@pytest.mark.parametrize("text", [CONTRACT.read_text(), EVERYTHING])
def test_a_workflow_survives_its_own_words(text):
    workflow = load_workflow(text)
    assert Workflow.model_validate_json(workflow.model_dump_json()) == workflow
    assert Workflow.model_validate_json(workflow.model_dump_json(exclude_unset=True)) == workflow
    assert pickle.loads(pickle.dumps(workflow)) == workflow
    assert pickle.loads(pickle.dumps(workflow)).where("steps") == workflow.where("steps")


def test_layout_is_no_part_of_what_was_said():
    text = "workflow: x\nsteps:\n  a: {wait: 1s}\n"
    assert load_workflow(text) == load_workflow("\n# comment\n" + text.replace("{wait: 1s}", "\n    wait: 1s"))


def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path):
    file = tmp_path / "orders.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + CONTRACT.read_bytes().replace(b"\n", b"\r\n"))
    assert load_workflow(file) == load_workflow(str(CONTRACT))
    assert load_workflow(file).where("steps", "ingest").endswith("orders.yaml:21:3")


def test_anchors_and_merge_keys_save_typing():
    workflow = load_workflow(
        "workflow: x\n"
        "sources:\n"
        "  a: &shared {uri: s3://lake/a, format: json, min_age: 5s}\n"
        "  b: {<<: *shared, uri: s3://lake/b}\n"
        "steps:\n"
        "  s: {wait: 1s}\n"
    )
    assert workflow.sources["b"].uri == "s3://lake/b"
    assert workflow.sources["b"].min_age == 5.0


def test_values_are_frozen(contract):
    with pytest.raises(ValidationError):
        contract.tenant = "other"


def test_a_workflow_made_in_python_is_held_to_the_same_rules():
    with pytest.raises(ValidationError, match=r'sources of this file: raw\. Did you mean "raw"'):
        Workflow(
            workflow="x",
            sources={"raw": {"uri": "s3://a/raw", "format": "json"}},
            tables={"t": {"uri": "s3://a/t"}},
            steps={"s": {"import_": {"from_": "rwa", "into": "t"}}},
        )


def test_no_error_shows_what_was_put_in_place_of_a_secret_reference():
    with pytest.raises(ValidationError) as caught:
        Workflow(workflow="x", steps={"s": {"wait": 1}}, targets={"t": {"postgres": {"dsn": "hunter2", "table": "t"}}})
    assert "hunter2" not in str(caught.value)


def test_what_is_not_built_is_refused_by_name_and_line(contract):
    with pytest.raises(NotBuiltError) as caught:
        refuse_unbuilt(contract)
    built = "gate, import, maintain, map, python, wait, workflow"
    assert caught.value.exit_code == 2
    assert caught.value.message.splitlines() == [
        f"{CONTRACT}:33:5  steps.align.validate: steps of kind validate are not built yet; built: {built}",
        f"{CONTRACT}:46:5  steps.publish.deliver: steps of kind deliver are not built yet; built: {built}",
    ]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_only_the_steps_that_are_asked_for_must_be_built(contract):
    with pytest.raises(NotBuiltError) as caught:
        refuse_unbuilt(contract, steps={"publish"})
    assert [line.partition("  ")[2].partition(":")[0] for line in caught.value.message.splitlines()] == [
        "steps.publish.deliver"
    ]
    refuse_unbuilt(contract, steps=set())


@pytest.mark.parametrize(
    ("step", "source", "refused"),
    [
        *(
            (
                f"import: {{from: r, into: t}}, deduplicate: {{key: [id], within: {within}}}{more}",
                source,
                f"s.deduplicate.within: a look into the table is not built yet together with {source or more[2:]}",
            )
            for within in ("table", "{window: 7d, column: at}")
            for source, more in (
                ("changed_objects: replace", ""),
                ("deleted_objects: delete", ""),
                ("", ", compensate: withdraw"),
            )
        ),
        (
            "import: {from: r, into: t, mode: merge, key: [id]}",
            "changed_objects: replace",
            "sources.r.changed_objects: replace is not built yet for mode merge",
        ),
        (
            "import: {from: r, into: t, mode: scd2, key: [id], sequence: n}",
            "deleted_objects: delete",
            "sources.r.deleted_objects: delete is not built yet for mode scd2",
        ),
        (
            "import: {from: r, into: t, mode: scd2, key: [id], sequence: n}, compensate: withdraw",
            "",
            "steps.s.compensate: withdraw is not built",
        ),
        ("workflow: other.yaml, queue: {key: t}", "", "steps.s.queue: queue is not built at a step that starts runs"),
        ("map: {over: [1], workflow: o.yaml}, breaker: lake", "", "steps.s.breaker: breaker is not built at a step"),
    ],
)
def test_each_part_that_is_not_built_is_named(step, source, refused):
    text = (
        f"workflow: x\nsources:\n  r: {{uri: s3://a/r, format: json, {source}}}\n"
        f"tables:\n  t: {{uri: s3://a/t}}\nsteps:\n  s: {{{step}}}\n"
    )
    with pytest.raises(NotBuiltError) as caught:
        refuse_unbuilt(load_workflow(text))
    line = 3 if refused.startswith("sources") else 7
    assert caught.value.message.startswith(f"<text>:{line}:")
    assert refused in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize(
    ("plan", "more", "source", "refused"),
    [
        ("mode: merge, key: [id]", "", "", "mode merge"),
        ("mode: scd2, key: [id], sequence: n", "", "", "mode scd2"),
        ("mode: overwrite, replace_where: 'd > 0'", "", "", "replace_where"),
        ("mode: overwrite, partitions: dynamic", "", "", "partitions: dynamic"),
        ("mode: append", "deduplicate: {key: [id]}", "", "deduplicate"),
        ("mode: append", "compensate: withdraw", "", "compensate: withdraw"),
        (
            "mode: append",
            "expect_set: {u: {unique: [id], on_violation: quarantine}}",
            "",
            "expect_set with on_violation: quarantine",
        ),
        ("mode: append", "", "changed_objects: replace", "changed_objects: replace"),
        ("mode: append", "", "deleted_objects: delete", "deleted_objects: delete"),
    ],
)
def test_what_child_tables_do_not_go_with_yet_is_named(plan, more, source, refused):
    text = (
        f"workflow: x\nsources:\n  r: {{uri: s3://a/r, format: json, {source}}}\n"
        "tables:\n  t: {uri: s3://a/t}\n  c: {uri: s3://a/c}\nsteps:\n"
        f"  s: {{import: {{from: r, into: t, {plan}}}, unnest: {{c: {{from: l, key: [id]}}}}, {more}}}\n"
    )
    with pytest.raises(NotBuiltError, match=f"steps.s.unnest: unnest is not built yet together with {refused}\n"):
        refuse_unbuilt(load_workflow(text))


@pytest.mark.parametrize("name", ["first_import.yaml", "csv_cleaning.yaml", "s3_snapshot.yaml"])
def test_the_other_examples_run_today(name):
    refuse_unbuilt(load_workflow(EXAMPLES / name))


@pytest.mark.parametrize(
    "uri",
    [
        "s3://lake/raw/",
        "s3a://lake",
        "/data/raw [old]/a%20b+c/",
        "file:///data/raw/*.json",
        "az://container/raw/**/{year}-{month}.csv.gz",
        "abfss://raw@account.dfs.core.windows.net/a/[0-9]?/",
        "s3://lake/odd [{]name}/",
    ],
)
def test_uris_of_sources(uri):
    text = f"workflow: x\nsources:\n  a:\n    uri: '{uri}'\n    format: json\nsteps: {{s: {{wait: 1s}}}}\n"
    assert load_workflow(text).sources["a"].uri == uri


def test_relative_paths_are_taken_from_the_files_folder(tmp_path):
    text = "workflow: x\nsources: {a: {uri: ../raw/, format: json}}\ntables: {t: {uri: ./t, quarantine: bad}}\n"
    text += "steps: {s: {wait: 1s}}\n"
    (tmp_path / "flows").mkdir()
    file = tmp_path / "flows" / "x.yaml"
    file.write_text(text)
    workflow = load_workflow(file)
    assert workflow.sources["a"].uri == f"{tmp_path}/raw/"
    assert (workflow.tables["t"].uri, workflow.tables["t"].quarantine_uri) == (
        f"{tmp_path}/flows/t",
        f"{tmp_path}/flows/bad",
    )
    assert workflow.where("tables", "t") == f"{file}:3:10"
