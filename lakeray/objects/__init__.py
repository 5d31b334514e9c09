"""Objects in local folders, S3 or Azure, behind one port."""

from lakeray.objects.port import LISTING, ObjectInfo, ObjectStore
from lakeray.objects.registry import delta_uri, open_store, storage_options
from lakeray.objects.uris import absolute, bucket_and_key, join, relative, root_of, scheme

__all__ = [
    "LISTING",
    "ObjectInfo",
    "ObjectStore",
    "absolute",
    "bucket_and_key",
    "delta_uri",
    "join",
    "open_store",
    "relative",
    "root_of",
    "scheme",
    "storage_options",
]
