"""The masks of a workflow file as the transform room takes them, with the keys that tasks need for them."""

from __future__ import annotations

from collections.abc import Mapping

from lakeray.importer.context import ImportContext
from lakeray.importer.protection.keyring import Keyring
from lakeray.security.field_keys import Algorithm
from lakeray.security.secrets import Secret
from lakeray.security.wrapping import WrappingKey
from lakeray.spec.masks import Encrypt, Mask
from lakeray.transform.mask import MaskSpec


def ring_name(column: str) -> str:
    """Under which the data keys of an encrypted column are handed to tasks."""
    return f"data keys of {column}"


def mask_spec(column: str, mask: Mask) -> MaskSpec:
    """The mask of one column."""
    if mask.hmac_sha256 is not None:
        return MaskSpec(kind="hmac_sha256", key_ref=mask.hmac_sha256)
    if mask.tokenize is not None:
        token = mask.tokenize
        return MaskSpec(kind="tokenize", key_ref=token.key, prefix=token.prefix, length=token.length)
    if mask.encrypt is not None:
        return MaskSpec(kind="encrypt", key_ref=ring_name(column))
    if mask.partial is not None:
        part = mask.partial
        return MaskSpec(
            kind="partial", shape=part.shape, keep_first=part.first, keep_last=part.keep_last, character=part.with_
        )
    if mask.generalize is not None:
        return MaskSpec(kind="generalize", step=mask.generalize.step, unit=mask.generalize.unit)
    return MaskSpec(kind="redact", replacement=mask.redact if isinstance(mask.redact, str) else None)


def algorithm_of(encrypt: Encrypt) -> Algorithm:
    """How values are encrypted."""
    return "aes-256-siv" if encrypt.deterministic else "xaes-256-gcm"


def keyring_of(column: str, encrypt: Encrypt, *, into: str, tables: Mapping[str, str]) -> Keyring:
    """Where the data keys of an encrypted column of the table ``into`` lie; ``tables`` are uris by name."""
    table, _, shared = (encrypt.keys_of or f"{into}.{column}").partition(".")
    return Keyring(table_uri=tables[table], column=shared)


def task_keys(context: ImportContext) -> dict[str, bytes]:
    """The keys that the step's masks use in tasks, by what ``mask_spec`` calls them.

    Keys that wrap others stay here: a task gets the data key that encrypts, which is made when there is none. Raises
    KeyUnavailable when the key at hand did not wrap it.
    """
    keys: dict[str, bytes] = {}
    for column, mask in context.step.mask.items():
        if mask.encrypt is not None:
            tables = {name: table.uri for name, table in context.tables.items()}
            tables[context.plan.into] = context.table.uri
            keyring = keyring_of(column, mask.encrypt, into=context.plan.into, tables=tables)
            wrapping = WrappingKey(Secret(mask.encrypt.key, context.keys.get(mask.encrypt.key, b"")))
            ring = keyring.newest(wrapping, algorithm_of(mask.encrypt), now=context.now())
            keys[ring_name(column)] = ring.to_bytes()
        elif mask.key is not None and mask.key in context.keys:
            keys[mask.key] = context.keys[mask.key]
    return keys
