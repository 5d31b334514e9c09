"""The keys of the encrypted columns of a workflow: shown, changed and used by whoever holds the keys that wrap them.

Every change is a row of small steps, each of which leaves all values readable by a key that somebody named: a data key
is wrapped anew before its old wrapping goes, and a new data key is stored before it encrypts. Whatever is cut off is
completed by the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lakeray.errors import ConfigError, SpecError
from lakeray.failpoints import failpoint
from lakeray.importer.executor import Executor
from lakeray.importer.protection.keyring import KeyEntry, Keyring
from lakeray.importer.protection.masks import algorithm_of, keyring_of
from lakeray.importer.protection.reencrypt import Reencryption
from lakeray.security.field_keys import Algorithm, NotDecrypted, Ring
from lakeray.security.secrets import resolve
from lakeray.security.wrapping import WrappingKey
from lakeray.spec.model import Workflow
from lakeray.transform.rules import RESCUED

_QUARANTINED = ("record",)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncryptedColumn:
    """A column that a step encrypts. ``reference`` names the key that the file says wraps its data keys; ``identifies``
    says whether it is part of the key by which the step finds rows.
    """

    table: str
    column: str
    keyring: Keyring
    reference: str
    algorithm: Algorithm
    identifies: bool


def encrypted_columns(workflow: Workflow) -> Iterator[EncryptedColumn]:
    """Of all import steps of the file."""
    tables = {name: table.uri for name, table in workflow.tables.items()}
    for step in workflow.steps.values():
        for column, mask in step.mask.items():
            if step.import_ is None or mask.encrypt is None:
                continue
            yield EncryptedColumn(
                table=step.import_.into,
                column=column,
                keyring=keyring_of(column, mask.encrypt, into=step.import_.into, tables=tables),
                reference=mask.encrypt.key,
                algorithm=algorithm_of(mask.encrypt),
                identifies=column.casefold() in {name.casefold() for name in step.import_.key},
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class KeysOf:
    """The keys of a workflow's encrypted columns, or of those of one ``table``, or of one ``column``."""

    workflow: Workflow
    executor: Executor
    memory_bytes: int
    now: Callable[[], datetime]
    table: str | None = None
    column: str | None = None

    def show(self) -> list[dict[str, Any]]:
        """Every data key: whose it is, under which references it can be opened, whether it encrypts."""
        return [
            {
                "table": item.table,
                "column": item.column,
                "number": entry.number,
                "key_id": entry.key.key_id,
                "algorithm": entry.key.algorithm,
                "encrypts": entry.number == len(entries),
                "wrapped_by": sorted({wrap.reference for wrap in entry.wraps.values()}),
                "created_at": entry.created_at,
            }
            for item in self._columns()
            for entries in [item.keyring.entries()]
            for entry in entries
        ]

    def rotate(self, *, to: str | None = None, reencrypt: bool = False, retire: bool = False) -> dict[str, int]:
        """Change keys; how many data keys were ``rewrapped``, ``made`` and ``retired``, how many files ``reencrypted``.

        With ``to`` every data key can be opened by what that reference names (too). ``reencrypt`` makes a new data key
        for each column and brings all values under it, in table and quarantine; outputs stay as they are. ``retire``
        takes the data keys away from every other wrapping key than ``to`` (or the file's). Raises KeyUnavailable when a
        data key cannot be opened, SpecError for a column that finds rows, whose values must not change.
        """
        if to is None and not reencrypt and not retire:
            raise SpecError("nothing is to be rotated", hint="say --to REFERENCE, --reencrypt or --retire")
        if reencrypt:
            self._check_identities()
        wrapping = None if to is None else WrappingKey(resolve(to))
        told = {"rewrapped": 0, "made": 0, "reencrypted": 0, "retired": 0}
        for item in self._rings():
            if reencrypt:
                entries = item.keyring.entries()
                # Under the file's key while it is there, so that imports go on until the file names the other one.
                maker = self._at_hand(item, entries, to)[0]
                item.keyring.add(maker, item.algorithm, after=len(entries), now=self.now())
                told["made"] += 1
            if wrapping is not None:
                told["rewrapped"] += self._rewrap(item, wrapping)
        if reencrypt:
            told["reencrypted"] = self.reencrypt(to=to)
        if retire:
            told["retired"] = sum(self._retire(item, wrapping) for item in self._rings())
        return told

    def reencrypt(self, *, to: str | None = None) -> int:
        """Bring all values under the newest data key of their column; how many files were written anew.

        Also completes a rotation that was cut off.
        """
        rings = {item.keyring: self._opened(item, to) for item in self._rings()}
        sharing = [item for item in encrypted_columns(self.workflow) if item.keyring in rings]
        written = 0
        for name in dict.fromkeys(item.table for item in sharing):
            table = self.workflow.tables[name]
            own = [item for item in sharing if item.table == name]
            found = [ring for keyring in dict.fromkeys(item.keyring for item in own) if (ring := rings[keyring])]
            columns = tuple(dict.fromkeys(item.column for item in own))
            for uri, whole, texts in ((table.uri, columns, (RESCUED,)), (table.quarantine_uri, (), _QUARANTINED)):
                written += Reencryption(
                    uri=uri,
                    columns=whole,
                    texts=texts,
                    rings=tuple(found),
                    table=table,
                    executor=self.executor,
                    memory_bytes=self.memory_bytes,
                ).run()
        return written

    def decrypt(self, texts: Sequence[str | None]) -> list[str | None]:
        """The values behind ciphertexts of any of the columns; null stays null. Raises NotDecrypted, KeyUnavailable."""
        rings = [ring for item in self._rings() if (ring := self._opened(item, None))]
        by_prefix = {key_id: ring for ring in rings for key_id in ring.key_ids}

        def opened(text: str) -> str:
            key_id = text.partition(":")[2].partition(":")[0]
            ring = by_prefix.get(key_id) or next(iter(rings), None)
            if ring is None:
                raise NotDecrypted("no column of the file has a key", hint="is this the workflow file of the table?")
            return ring.decrypt(text)

        return [None if text is None else opened(text) for text in texts]

    def _columns(self) -> list[EncryptedColumn]:
        found = [
            item
            for item in encrypted_columns(self.workflow)
            if self.table in (None, item.table)
            and (self.column is None or self.column.casefold() == item.column.casefold())
        ]
        if not found:
            raise SpecError("no column is encrypted", hint="say `encrypt` in a step's `mask`, or name another table")
        return found

    def _rings(self) -> list[EncryptedColumn]:
        """One column for each ring."""
        return list({item.keyring: item for item in reversed(self._columns())}.values())[::-1]

    def _check_identities(self) -> None:
        shared = {item.keyring for item in self._rings()}
        for item in encrypted_columns(self.workflow):
            if item.identifies and item.keyring in shared:
                raise SpecError(
                    f"rows of {item.table} are found by the column {item.column}: under another data key changes would "
                    "not find them",
                    hint="--to alone changes the key that wraps; for other ciphertexts import into another table",
                )

    def _at_hand(self, item: EncryptedColumn, entries: Sequence[KeyEntry], to: str | None) -> list[WrappingKey]:
        """The wrapping keys that can be had: the file's, ``to``, and what the data keys say wrapped them."""
        said = [wrap.reference for entry in entries for wrap in entry.wraps.values()]
        found, failed = [], None
        for reference in dict.fromkeys([item.reference, *([to] if to else []), *said]):
            try:
                found.append(WrappingKey(resolve(reference)))
            except ConfigError as error:
                failed = failed or error
        if not found and failed is not None:
            raise failed
        return found

    def _opened(self, item: EncryptedColumn, to: str | None) -> Ring | None:
        return item.keyring.ring(self._at_hand(item, item.keyring.entries(), to))

    def _rewrap(self, item: EncryptedColumn, to: WrappingKey) -> int:
        entries = item.keyring.entries()
        keys = self._at_hand(item, entries, to.reference)
        count = 0
        for entry in entries:
            count += item.keyring.rewrap(entry, keys, to, now=self.now())
            failpoint("key_rewrapped")
        return count

    def _retire(self, item: EncryptedColumn, wrapping: WrappingKey | None) -> int:
        kept = wrapping or WrappingKey(resolve(item.reference))
        count = 0
        for entry in item.keyring.entries():
            entry.opened([kept])  # or this raises: a key that cannot be opened any more must not be left
            for wrap in entry.wraps.values():
                if wrap.fingerprint != kept.fingerprint:
                    item.keyring.forget(entry, wrap)
                    count += 1
                    failpoint("key_retired")
        return count
