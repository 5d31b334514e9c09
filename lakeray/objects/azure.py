"""The object store on Azure Blob Storage keeps every condition inside the request that depends on it.

- Reads carry ``If-Match``; ``create`` is ``If-None-Match: *``.
- The service has no dependable start-after for deep keys (an emulator ignores it): ``list`` walks down the folders of
  ``start_after``, so that everything before it is passed over folder by folder, and drops the rest of one folder's
  names here.
- An account with a hierarchical namespace lists its folders in another order: it is walked folder by folder and sorted
  here, with memory for the largest folder. No emulator has one: this way was tested on a flat account only.
- Names with a backslash, or a segment ``.`` or ``..``, are refused: the service would store them under another name.
- Folder markers (``hdi_isfolder``, or an empty blob whose name ends in a slash) are no objects.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa
from azure.core import MatchConditions
from azure.storage.blob import BlobBlock, BlobProperties
from azure.storage.blob.aio import BlobPrefix

from lakeray.errors import ObjectChanged, ObjectError, ObjectExists, ObjectNotFound, StoreUnavailable
from lakeray.objects import split
from lakeray.objects.azure_client import AzureClient, client
from lakeray.objects.azure_errors import judge
from lakeray.objects.azure_listing import Listing
from lakeray.objects.azure_settings import AzureSettings
from lakeray.objects.contact import BucketNotFound, OutOfRange
from lakeray.objects.port import LISTING, ObjectInfo, Ranges
from lakeray.objects.streams import PartWriter, reader
from lakeray.objects.uris import bucket_and_key, root_of

_COPY_POLL_S: Final = 0.2


def azure_store(uri: str) -> AzureStore:
    """The store for the account of ``uri`` with the ``AZURE_*`` variables of this process."""
    return AzureStore(root_of(uri), AzureSettings.from_environment(uri))


class AzureStore:
    """Blobs of one storage account. Pickles without settings: the process that unpickles reads its own variables."""

    def __init__(self, root: str, settings: AzureSettings) -> None:
        self._root = root
        self.settings = settings

    def __reduce__(self) -> tuple[object, ...]:
        return azure_store, (self._root,)

    @property
    def client(self) -> AzureClient:
        """The connection of this process."""
        try:
            return client(self.settings)
        except ValueError as error:
            raise judge(self.settings, self._root, error).error from error

    def _blob(self, uri: str) -> Any:
        container, key = _place(uri)
        if "\\" in key or any(segment in (".", "..") for segment in key.split("/")):
            raise ObjectError(
                f"{uri} holds a backslash or a segment of dots, which Azure would store under another name",
                hint="use another name",
                uri=uri,
            )
        return self.client.blob(container, key)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[pa.RecordBatch]:
        """Keeps ``ObjectStore.list``; pages hold up to 5,000 rows."""
        container, key = _place(prefix)
        root, after = root_of(prefix), ""
        if start_after is not None and start_after > root:
            if not start_after.startswith(root):
                return
            after = start_after[len(root) :]
        listing = Listing(self.client, container, root, hierarchical=self._hierarchical(prefix))
        for blobs in listing.pages(key, after):
            page = _page(root, blobs)
            if page.num_rows:
                yield page

    def _hierarchical(self, uri: str) -> bool:
        if self.settings.emulator or not uri.startswith("abfs"):
            return False
        container, _ = _place(uri)
        try:
            about = self.client.call(uri, self.client.container(container).get_account_information)
        except ObjectError:
            return False  # not everyone may ask; a listing out of order is refused below
        return bool(about.get("is_hns_enabled"))

    def split(self, prefix: str, parts: int) -> Ranges:
        """Keeps ``ObjectStore.split``, by folders only: one long flat folder is one range."""
        return split.split(_Probe(self, prefix), prefix, parts)

    def head(self, uri: str) -> ObjectInfo:
        """Keeps ``ObjectStore.head``, version id included where the account keeps versions."""
        return _info(uri, self.client.call(uri, self._blob(uri).get_blob_properties))

    def read(self, uri: str, *, offset: int = 0, length: int | None = None, match: ObjectInfo | None = None) -> bytes:
        """Keeps ``ObjectStore.read``."""
        if length == 0 or (match is not None and offset >= match.size):
            self._check(uri, match)
            return b""
        condition: dict[str, Any] = {}
        if match is not None and match.etag:
            condition = {"etag": f'"{match.etag}"', "match_condition": MatchConditions.IfNotModified}
        blob = self._blob(uri)

        async def get() -> tuple[Any, bytes]:
            stream = await blob.download_blob(offset=offset, length=length, **condition)
            return stream.properties, await stream.readall()

        try:
            found, data = self.client.call(uri, get)
        except ObjectNotFound as error:
            raise _gone(uri, error) if match else error from error
        except OutOfRange:
            self._check(uri, match)
            return b""
        if match is not None and match.etag and found.etag.strip('"') != match.etag:
            raise _changed(uri)
        return data

    def _check(self, uri: str, match: ObjectInfo | None) -> None:
        try:
            found = self.head(uri)
        except ObjectNotFound as error:
            raise _gone(uri, error) if match else error from error
        if match is not None and (found.etag, found.size) != (match.etag or found.etag, match.size):
            raise _changed(uri)

    def open(self, uri: str, *, match: ObjectInfo | None = None) -> BinaryIO:
        """Keeps ``ObjectStore.open``; without ``match`` the reader holds on to the version that it found."""
        version = self.head(uri) if match is None else match
        if version.size == 0:
            self._check(uri, version)
        return reader(lambda offset, length: self.read(uri, offset=offset, length=length, match=version), version.size)

    def create(self, uri: str, data: bytes) -> None:
        """Keeps ``ObjectStore.create``."""
        blob = self._blob(uri)
        try:
            self.client.call(uri, lambda: blob.upload_blob(data, overwrite=False))
        except (ObjectExists, ObjectChanged) as refused:
            if not self._holds(uri, data):
                raise ObjectExists(f"{uri} exists already", hint="another writer was first", uri=uri) from refused

    def _holds(self, uri: str, data: bytes) -> bool:
        """Whether the blob is ours after all: an earlier try may have succeeded with its reply lost."""
        try:
            return self.head(uri).size == len(data) and self.read(uri) == data
        except ObjectNotFound:
            return False

    def put(self, uri: str, data: bytes) -> None:
        """Keeps ``ObjectStore.put``."""
        blob = self._blob(uri)
        self.client.call(uri, lambda: blob.upload_blob(data, overwrite=True))

    def open_write(self, uri: str) -> BinaryIO:
        """Keeps ``ObjectStore.open_write`` by blocks.

        What is discarded or left by a killed process is dropped by Azure after a week.
        """
        return cast("BinaryIO", PartWriter(_Blocks(self, uri)))

    def delete(self, uri: str) -> None:
        """Keeps ``ObjectStore.delete``."""
        try:
            self.client.call(uri, self._blob(uri).delete_blob)
        except BucketNotFound:
            raise
        except ObjectNotFound:
            return

    def copy(self, source: str, target: str) -> None:
        """Keeps ``ObjectStore.copy``, on the server, of one version."""
        found = self.head(source)
        from_blob, to_blob = self._blob(source), self._blob(target)

        async def run() -> str:
            import asyncio

            copied = await to_blob.start_copy_from_url(
                from_blob.url, source_etag=f'"{found.etag}"', source_match_condition=MatchConditions.IfNotModified
            )
            status = str(copied["copy_status"])
            while status == "pending":
                await asyncio.sleep(_COPY_POLL_S)
                status = str((await to_blob.get_blob_properties()).copy.status)
            return status

        status = self.client.call(source, run)
        if status != "success":
            raise StoreUnavailable(f"{source} was not copied to {target}: {status}", hint="try again", uri=source)


class _Blocks:
    """An ``Upload`` in Azure's blocks. Block ids carry a nonce, so that two writers of one name do not mix."""

    def __init__(self, store: AzureStore, uri: str) -> None:
        self._store = store
        self._uri = uri
        self._nonce = secrets.token_hex(8)
        self._parts = 0

    def _id(self, number: int) -> str:
        return base64.b64encode(f"{self._nonce}-{number:08}".encode()).decode()

    def whole(self, data: bytes) -> None:
        self._store.put(self._uri, data)

    def begin(self) -> None:
        return None

    def part(self, number: int, data: bytes) -> None:
        blob = self._store._blob(self._uri)  # noqa: SLF001 - one room, one class in two pieces
        self._store.client.call(self._uri, lambda: blob.stage_block(self._id(number), data))
        self._parts = max(self._parts, number)

    def finish(self) -> None:
        blob = self._store._blob(self._uri)  # noqa: SLF001
        blocks = [BlobBlock(self._id(number)) for number in range(1, self._parts + 1)]
        try:
            self._store.client.call(self._uri, lambda: blob.commit_block_list(blocks))
        except ObjectError:
            # A lost reply: the blocks are gone because they were committed. Their ids tell whose they are.
            found = self._store.client.call(self._uri, lambda: blob.get_block_list("committed"))
            if [block.id for block in found[0]] != [block.id for block in blocks]:
                raise

    def abort(self) -> None:
        return None


class _Probe:
    """What ``split`` asks of a listing."""

    def __init__(self, store: AzureStore, prefix: str) -> None:
        container, _ = _place(prefix)
        self._root = root_of(prefix)
        self._listing = Listing(store.client, container, self._root, hierarchical=False)

    def children(self, prefix: str) -> split.Children:
        found, token = self._listing.page(prefix[len(self._root) :], None, delimiter="/")
        return split.Children(
            objects=sorted(self._root + each.name for each in found if not isinstance(each, BlobPrefix)),
            prefixes=sorted(self._root + each.name for each in found if isinstance(each, BlobPrefix)),
            complete=not token,
        )

    def after(self, prefix: str, start_after: str) -> list[str] | None:  # noqa: ARG002 - the port's shape
        return None


def _place(uri: str) -> tuple[str, str]:
    place, key = bucket_and_key(uri)
    return place.partition("@")[0], key


def _page(root: str, blobs: list[BlobProperties]) -> pa.RecordBatch:
    return pa.record_batch(
        [
            pa.array([root + blob.name for blob in blobs], pa.string()),
            pa.array([blob.size for blob in blobs], pa.int64()),
            pa.array([(blob.etag or "").strip('"') or None for blob in blobs], pa.string()),
            pa.array([blob.version_id for blob in blobs], pa.string()),
            pa.array([blob.last_modified for blob in blobs], LISTING.field("modified_at").type),
        ],
        schema=LISTING,
    )


def _info(uri: str, found: BlobProperties) -> ObjectInfo:
    return ObjectInfo(
        uri=uri,
        size=found.size,
        etag=found.etag.strip('"'),
        version_id=found.version_id,
        modified_at=found.last_modified,
    )


def _changed(uri: str) -> ObjectChanged:
    return ObjectChanged(
        f"{uri} is no longer the version that was listed", hint="the next discovery finds it anew", uri=uri
    )


def _gone(uri: str, error: ObjectNotFound) -> ObjectError:
    """A missing blob is no longer that version; a missing container is another matter."""
    return error if isinstance(error, BucketNotFound) else _changed(uri)
