"""Azure Blob Storage as its emulator Azurite keeps it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.processes import SERVERS, free_ports, listening, program, running, until

_ACCOUNT = "devstoreaccount1"
# Published by Microsoft for its emulator.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, kw_only=True)
class AzureServer:
    """``env`` holds the usual ``AZURE_STORAGE_CONNECTION_STRING`` and nothing else."""

    endpoint: str
    env: dict[str, str] = field(repr=False)

    def new_bucket(self) -> str:
        """Make an empty container; its uri, with the last slash."""
        container = f"lake-{uuid.uuid4().hex[:12]}"
        with self.client() as client:
            client.create_container(container)
        return f"az://{container}/"

    def client(self):
        """A client of Azure's own, independent of the code under test."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.env["AZURE_STORAGE_CONNECTION_STRING"])


@contextlib.contextmanager
def start_azurite(folder: Path) -> Iterator[AzureServer]:
    """Up in about a second. Raises ServerMissing."""
    command = program("azurite-blob", variable="LAKERAY_AZURITE", places=[SERVERS / "node_modules/.bin/azurite-blob"])
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    log = folder / "azurite.log"
    # In memory: four times faster than its files; nothing here restarts it with its data.
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    quiet = ["--skipApiVersionCheck", "--silent", "--disableTelemetry"]
    with running([command, *options, *quiet], log) as process:
        until(lambda: listening(port), process, log, 60)
        endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
        connection = f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};BlobEndpoint={endpoint};"
        yield AzureServer(endpoint=endpoint, env={"AZURE_STORAGE_CONNECTION_STRING": connection})
