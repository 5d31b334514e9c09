"""Who an import is: the one name under which a table remembers its batches.

``app_id = lakeray/<pipeline uuid>/<step>/<table uuid>``. The pipeline's uuid follows from tenant and workflow name
(RFC 9562, version 5), so that it is the same on every machine and no lost state can change it. A recreated table has
another uuid, hence another app id.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from lakeray.objects import join

_NAMESPACE = uuid.UUID("6d0f6a3c-5b8e-5c57-9a53-1b8f0d3c7e11")


def pipeline_id(tenant: str, workflow: str) -> uuid.UUID:
    """The uuid of a tenant's workflow."""
    return uuid.uuid5(_NAMESPACE, f"{tenant}\n{workflow}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportId:
    """One import step of one pipeline into one table."""

    pipeline: uuid.UUID
    workflow: str
    step: str
    table_uri: str
    table_id: str

    @property
    def app_id(self) -> str:
        """The transaction id's owner for the table's own batches."""
        return f"lakeray/{self.pipeline}/{self.step}/{self.table_id}"

    @property
    def quarantine_app_id(self) -> str:
        """Likewise for the quarantine table."""
        return f"{self.app_id}/quarantine"

    @property
    def ledger_app_id(self) -> str:
        """Likewise for the ledger."""
        return f"{self.app_id}/ledger"

    @property
    def folder(self) -> str:
        """Where manifests, results and the ledger of this import live."""
        return join(self.table_uri, "_lakeray", str(self.pipeline), self.step)

    @property
    def ledger_uri(self) -> str:
        """The ledger, a Delta table."""
        return join(self.folder, "ledger")

    def file_prefix(self, batch: int, attempt: str) -> str:
        """Beginning of the names of the data files of one attempt at one batch."""
        return f"part-{self.pipeline.hex}-{self.step}-{batch:010d}-{attempt}"
