"""The object store on S3 keeps every condition inside the request that depends on it.

- Reads carry ``If-Match``; the answer's etag and version id are compared as well, for servers that ignore the header.
- ``create`` is ``If-None-Match: *``. A server that ignores it loses commits: ``doctor`` looks.
- Listings carry no version ids (None), ``head`` does. A key that ends in a slash with no bytes is a folder marker and
  no object.
- Listings come from the server each time: nothing is cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa

from lakeray.errors import ObjectChanged, ObjectError, ObjectExists, ObjectNotFound
from lakeray.objects import split
from lakeray.objects.contact import BucketNotFound, OutOfRange
from lakeray.objects.port import LISTING, ObjectInfo, Ranges
from lakeray.objects.s3_client import S3Client, client
from lakeray.objects.s3_settings import S3Settings
from lakeray.objects.streams import PartWriter, reader
from lakeray.objects.uris import bucket_and_key, root_of

_PROBE_KEYS: Final = 200
_COPY_PART_BYTES: Final = 2**30
_COPY_WHOLE_BYTES: Final = 5 * 2**30


def s3_store() -> S3Store:
    """The store for the ``AWS_*`` variables of this process."""
    return S3Store(S3Settings.from_environment())


class S3Store:
    """Objects at one S3 endpoint. Pickles without settings: the process that unpickles reads its own variables."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings

    def __reduce__(self) -> tuple[object, ...]:
        return s3_store, ()

    @property
    def client(self) -> S3Client:
        """The connection of this process."""
        return client(self.settings)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[pa.RecordBatch]:
        """Keeps ``ObjectStore.list``: prefix and start go into the request, pages hold up to 1,000 rows."""
        bucket, key = bucket_and_key(prefix)
        root = root_of(prefix)
        arguments: dict[str, Any] = {"Bucket": bucket, "Prefix": key}
        if start_after is not None and start_after > root:
            if not start_after.startswith(root):
                return
            arguments["StartAfter"] = start_after[len(root) :]
        while True:
            answer = self.client.call(prefix, "list_objects_v2", **arguments)
            page = _page(root, answer.get("Contents", []))
            if page.num_rows:
                yield page
            if not answer.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = answer["NextContinuationToken"]

    def split(self, prefix: str, parts: int) -> Ranges:
        """Keeps ``ObjectStore.split``.

        By common prefixes where there are any, else by keys that probes of the listing find.
        """
        return split.split(_Probe(self, prefix), prefix, parts)

    def head(self, uri: str) -> ObjectInfo:
        """Keeps ``ObjectStore.head``, version id included where the bucket keeps versions."""
        bucket, key = bucket_and_key(uri)
        return _info(uri, self.client.call(uri, "head_object", Bucket=bucket, Key=key))

    def read(self, uri: str, *, offset: int = 0, length: int | None = None, match: ObjectInfo | None = None) -> bytes:
        """Keeps ``ObjectStore.read``."""
        bucket, key = bucket_and_key(uri)
        arguments: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if match is not None and match.etag:
            arguments["IfMatch"] = f'"{match.etag}"'
        if length == 0 or (match is not None and offset >= match.size):
            self._check(uri, match)
            return b""
        if offset or length is not None:
            arguments["Range"] = f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))
        try:
            answer, data = self.client.body(uri, **arguments)
        except ObjectNotFound as error:
            raise _gone(uri, error) if match else error from error
        except OutOfRange:
            self._check(uri, match)
            return b""
        _same(uri, answer, match)
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
        bucket, key = bucket_and_key(uri)
        try:
            self.client.call(uri, "put_object", Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except ObjectChanged as refused:
            if not self._holds(uri, data):
                raise ObjectExists(f"{uri} exists already", hint="another writer was first", uri=uri) from refused

    def _holds(self, uri: str, data: bytes) -> bool:
        """Whether the object is ours after all: an earlier try may have succeeded with its reply lost."""
        try:
            return self.head(uri).size == len(data) and self.read(uri) == data
        except ObjectNotFound:
            return False

    def put(self, uri: str, data: bytes) -> None:
        """Keeps ``ObjectStore.put``."""
        bucket, key = bucket_and_key(uri)
        self.client.call(uri, "put_object", Bucket=bucket, Key=key, Body=data)

    def open_write(self, uri: str) -> BinaryIO:
        """Keeps ``ObjectStore.open_write`` by a multipart upload; ``discard()`` aborts it.

        A killed process leaves an upload that the bucket's lifecycle rule AbortIncompleteMultipartUpload removes.
        """
        return cast("BinaryIO", PartWriter(_Multipart(self, uri)))

    def delete(self, uri: str) -> None:
        """Keeps ``ObjectStore.delete``."""
        bucket, key = bucket_and_key(uri)
        self.client.call(uri, "delete_object", Bucket=bucket, Key=key)

    def copy(self, source: str, target: str) -> None:
        """Keeps ``ObjectStore.copy``, on the server: one version, in one request up to 5 GiB, else in parts."""
        found = self.head(source)
        bucket, key = bucket_and_key(source)
        to_bucket, to_key = bucket_and_key(target)
        arguments = {
            "Bucket": to_bucket,
            "Key": to_key,
            "CopySource": {"Bucket": bucket, "Key": key},
            "CopySourceIfMatch": f'"{found.etag}"',
        }
        if found.size <= _COPY_WHOLE_BYTES:
            self.client.call(source, "copy_object", **arguments)
            return
        upload = _Multipart(self, target)
        upload.begin()
        try:
            for number, start in enumerate(range(0, found.size, _COPY_PART_BYTES), start=1):
                last = min(start + _COPY_PART_BYTES, found.size) - 1
                upload.part_of(number, CopySourceRange=f"bytes={start}-{last}", **arguments)
            upload.finish()
        except BaseException:
            upload.abort()
            raise


class _Multipart:
    """An ``Upload`` in S3's parts."""

    def __init__(self, store: S3Store, uri: str) -> None:
        self._store = store
        self._uri = uri
        bucket, key = bucket_and_key(uri)
        self._where: dict[str, Any] = {"Bucket": bucket, "Key": key}
        self._etags: dict[int, str] = {}

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self._store.client.call(self._uri, method, **{**self._where, **arguments})

    def whole(self, data: bytes) -> None:
        self._store.put(self._uri, data)

    def begin(self) -> None:
        self._where["UploadId"] = self._call("create_multipart_upload")["UploadId"]

    def part(self, number: int, data: bytes) -> None:
        self._etags[number] = self._call("upload_part", PartNumber=number, Body=data)["ETag"]

    def part_of(self, number: int, **arguments: Any) -> None:
        """Take part ``number`` from another object."""
        answer = self._call("upload_part_copy", PartNumber=number, **arguments)
        self._etags[number] = answer["CopyPartResult"]["ETag"]

    def finish(self) -> None:
        parts = [{"PartNumber": number, "ETag": self._etags[number]} for number in sorted(self._etags)]
        try:
            self._call("complete_multipart_upload", MultipartUpload={"Parts": parts})
        except ObjectNotFound:
            # No such upload: completed before, with the reply lost, if the object is what these parts make.
            if self._store.head(self._uri).etag != _joint_etag([self._etags[number] for number in sorted(self._etags)]):
                raise

    def abort(self) -> None:
        try:
            if "UploadId" in self._where:
                self._call("abort_multipart_upload")
        except ObjectError:
            return  # the bucket's lifecycle rule takes it away


def _joint_etag(etags: list[str]) -> str:
    """The etag that S3 gives an object made of parts with these."""
    digest = hashlib.md5(b"".join(bytes.fromhex(etag.strip('"')) for etag in etags), usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(etags)}"


class _Probe:
    """What ``split`` asks of a listing."""

    def __init__(self, store: S3Store, prefix: str) -> None:
        self._store = store
        self._bucket, _ = bucket_and_key(prefix)
        self._root = root_of(prefix)

    def children(self, prefix: str) -> split.Children:
        answer = self._store.client.call(
            prefix, "list_objects_v2", Bucket=self._bucket, Prefix=prefix[len(self._root) :], Delimiter="/"
        )
        return split.Children(
            objects=[self._root + each["Key"] for each in answer.get("Contents", [])],
            prefixes=[self._root + each["Prefix"] for each in answer.get("CommonPrefixes", [])],
            complete=not answer.get("IsTruncated"),
        )

    def after(self, prefix: str, start_after: str) -> list[str] | None:
        answer = self._store.client.call(
            prefix,
            "list_objects_v2",
            Bucket=self._bucket,
            Prefix=prefix[len(self._root) :],
            StartAfter=start_after[len(self._root) :],
            MaxKeys=_PROBE_KEYS,
        )
        return [self._root + each["Key"] for each in answer.get("Contents", [])]


def _page(root: str, contents: list[dict[str, Any]]) -> pa.RecordBatch:
    rows = [each for each in contents if each["Size"] or not each["Key"].endswith("/")]
    return pa.record_batch(
        [
            pa.array([root + each["Key"] for each in rows], pa.string()),
            pa.array([each["Size"] for each in rows], pa.int64()),
            pa.array([each["ETag"].strip('"') for each in rows], pa.string()),
            pa.nulls(len(rows), pa.string()),
            pa.array([each["LastModified"] for each in rows], LISTING.field("modified_at").type),
        ],
        schema=LISTING,
    )


def _version(answer: dict[str, Any]) -> str | None:
    version = answer.get("VersionId")
    return None if version in (None, "", "null") else str(version)


def _info(uri: str, answer: dict[str, Any]) -> ObjectInfo:
    return ObjectInfo(
        uri=uri,
        size=answer["ContentLength"],
        etag=answer["ETag"].strip('"'),
        version_id=_version(answer),
        modified_at=answer["LastModified"],
    )


def _same(uri: str, answer: dict[str, Any], match: ObjectInfo | None) -> None:
    if match is None:
        return
    version = _version(answer)
    wrong_etag = match.etag and answer["ETag"].strip('"') != match.etag
    wrong_version = match.version_id and version and version != match.version_id
    total = str(answer.get("ContentRange", "")).rpartition("/")[2] or str(answer["ContentLength"])
    if wrong_etag or wrong_version or (total.isdigit() and int(total) != match.size):
        raise _changed(uri)


def _changed(uri: str) -> ObjectChanged:
    return ObjectChanged(
        f"{uri} is no longer the version that was listed", hint="the next discovery finds it anew", uri=uri
    )


def _gone(uri: str, error: ObjectNotFound) -> ObjectError:
    """A missing object is no longer that version; a missing bucket is another matter."""
    return error if isinstance(error, BucketNotFound) else _changed(uri)
