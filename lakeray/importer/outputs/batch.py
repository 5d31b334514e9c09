"""Every row of a batch is in its outputs once, for readers who follow the markers.

The files of a batch are made from its staged data files before the commit, under names of the attempt. The result
names them, the commit names the result, and behind the commit the batch's marker is created from the winner's result:
a file that no marker names was of an attempt that lost. A batch that came again after a RESTORE is another batch, whose
marker says which one it ``replays``; the marker of mode overwrite stands for all rows, those before it for none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa

from lakeray.delta.scan import Scan
from lakeray.delta.staged import StagedFile
from lakeray.delta.table import require_table
from lakeray.errors import ObjectExists, ObjectNotFound
from lakeray.failpoints import failpoint
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.outputs.files import BatchOutput, OutputFile, OutputWriter, suffix
from lakeray.importer.recording.ledger import Ledger
from lakeray.importer.result import Result
from lakeray.importer.waves import run_wave
from lakeray.objects import join, open_store, relative
from lakeray.spec.outputs import Output

FORMAT = 1
_ROWS = 65_536
_NAME = re.compile(r"-(?P<batch>\d{10})-[0-9a-f]{8}-[^/]*-out\d{4,}\.[a-z.]+$")


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputTask:
    """Some staged data files of a table become one file of an output."""

    table_uri: str
    schema: pa.Schema
    files: tuple[StagedFile, ...]
    output: Output
    path: str

    def run(self) -> Iterator[OutputFile]:
        """The file."""
        uri = join(self.output.uri, self.path)
        writer = OutputWriter(open_store(uri).open_write(uri), self.schema, self.output)
        try:
            for file in self.files:
                with Scan(self.table_uri, file.path, schema=self.schema, partition=self._partition(file)) as scan:
                    for table in scan.tables(range(scan.row_groups), rows=_ROWS):
                        writer.write(table)
            size_bytes = writer.close()
        except BaseException:
            writer.discard()
            raise
        yield OutputFile(path=self.path, rows=sum(file.rows for file in self.files), size_bytes=size_bytes)

    def _partition(self, file: StagedFile) -> dict[str, Any]:
        values = file.partition_values
        return {
            name: None if text is None else pa.scalar(text, pa.string()).cast(self.schema.field(name).type).as_py()
            for name, text in values.items()
        }


def write_outputs(
    context: ImportContext, files: Sequence[StagedFile], *, schema: pa.Schema, prefix: str
) -> list[BatchOutput]:
    """The rows of the staged ``files`` in every output of the step; ``prefix`` begins the names of the attempt's files.

    Raises what a store raises; files that were written by then are orphans that no marker will name.
    """
    if not context.step.outputs:
        return []
    groups = list(_groups(files, context.table.target_file_size))
    tasks = [
        OutputTask(
            table_uri=context.table.uri,
            schema=schema,
            files=group,
            output=output,
            path=f"{prefix}-{name}-out{number:04d}{suffix(output)}",
        )
        for name, output in context.step.outputs.items()
        for number, group in enumerate(groups)
    ]
    made: Iterator[OutputFile] = iter(run_wave(context, tasks))
    written = [
        BatchOutput(name=name, folder=output.uri, mode=context.mode, files=tuple(islice(made, len(groups))))
        for name, output in context.step.outputs.items()
    ]
    failpoint("outputs_written")
    return written


def _groups(files: Sequence[StagedFile], target_bytes: int) -> Iterator[tuple[StagedFile, ...]]:
    """Neighbours together up to a data file's size."""
    group: list[StagedFile] = []
    for file in files:
        if group and sum(item.size_bytes for item in group) + file.size_bytes > target_bytes:
            yield tuple(group)
            group = []
        group.append(file)
    if group:
        yield tuple(group)


def tell_outputs(identity: ImportId, result: Result) -> None:
    """Create the markers of a committed batch from its winner's result; idempotent."""
    if not result.outputs:
        return
    failpoint("before_output_markers")
    for output in result.outputs:
        marker = {
            "format": FORMAT,
            "workflow": identity.workflow,
            "step": identity.step,
            "output": output.name,
            "batch": result.batch,
            "attempt": result.attempt,
            "mode": output.mode,
            "replays": result.replays,
            "created_at": result.created_at,
            "rows": sum(file.rows for file in output.files),
            "files": [asdict(file) for file in output.files],
        }
        uri = join(_markers(identity, output.folder, output.name), f"{result.batch:010d}.json")
        with suppress(ObjectExists):  # made from the same result
            open_store(uri).create(uri, orjson.dumps(marker))
    failpoint("after_output_markers")


def discard_outputs(outputs: Sequence[BatchOutput]) -> None:
    """Delete the files of an attempt that lost: no marker will name them."""
    for output in outputs:
        store = open_store(output.folder)
        for file in output.files:
            store.delete(join(output.folder, file.path))


def _markers(identity: ImportId, folder: str, name: str) -> str:
    return join(folder, "_lakeray", identity.table_id, str(identity.pipeline), identity.step, name)


def markers(identity: ImportId, folder: str, name: str) -> list[dict[str, Any]]:
    """What the markers of one output say, by batch."""
    store = open_store(folder)
    return [orjson.loads(store.read(uri)) for uri in _json_below(_markers(identity, folder, name))]


def stray_outputs(identity: ImportId, folder: str) -> list[str]:
    """Files of recorded batches of the import that no marker names: those of attempts that lost.

    A batch is recorded only once its markers are there, and its number is never used again.
    """
    recorded = Ledger(identity).recorded()
    begin = identity.file_prefix(0, "")[: -len("0000000000-")]
    candidates = []
    for page in _pages(folder, join(folder, begin)):
        for uri in page:
            found = _NAME.search(uri)
            if found is not None and int(found["batch"]) <= recorded:
                candidates.append(relative(uri, folder))
    store = open_store(folder)
    told: set[str] = set()
    for uri in _json_below(join(folder, "_lakeray")):
        told.update(file["path"] for file in orjson.loads(store.read(uri))["files"])
    return [path for path in candidates if path not in told]


def _json_below(folder: str) -> list[str]:
    return [uri for page in _pages(folder, join(folder, "")) for uri in page if uri.endswith(".json")]


def _pages(folder: str, prefix: str) -> Iterator[list[str]]:
    try:
        for page in open_store(folder).list(prefix):
            yield page["uri"].to_pylist()
    except ObjectNotFound:
        return


@dataclass(frozen=True, slots=True)
class OutputsOf:
    """The outputs of one import step."""

    context: ImportContext

    def show(self, output: str | None = None) -> list[dict[str, Any]]:
        """Every announced file, by output and batch, with its uri."""
        return [
            {
                **{key: told[key] for key in ("output", "batch", "mode", "replays")},
                "uri": join(folder, file["path"]),
                **{key: file[key] for key in ("rows", "size_bytes")},
            }
            for name, folder in self._folders(output)
            for told in markers(self._identity(), folder, name)
            for file in told["files"]
        ]

    def clean(self, *, dry_run: bool = True) -> list[str]:
        """Files of attempts that lost, removed unless ``dry_run``; their uris."""
        found = []
        for folder in dict.fromkeys(folder for _, folder in self._folders(None)):
            store = open_store(folder)
            for path in stray_outputs(self._identity(), folder):
                found.append(join(folder, path))
                if not dry_run:
                    store.delete(found[-1])
        return found

    def _identity(self) -> ImportId:
        return self.context.identity(require_table(self.context.table.uri))

    def _folders(self, output: str | None) -> Iterator[tuple[str, str]]:
        for name, said in self.context.step.outputs.items():
            if output in (None, name):
                yield name, said.uri
