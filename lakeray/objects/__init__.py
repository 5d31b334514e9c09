"""Objects in local folders, S3 or Azure, behind one port."""

from lakeray.objects.pattern import SourcePattern, hive_columns, is_temporary, without_temporary
from lakeray.objects.port import LISTING, ObjectInfo, ObjectStore
from lakeray.objects.registry import delta_uri, open_store, storage_options
from lakeray.objects.split import list_range
from lakeray.objects.uris import absolute, bucket_and_key, join, relative, root_of, scheme

__all__ = [
    "LISTING",
    "ObjectInfo",
    "ObjectStore",
    "SourcePattern",
    "absolute",
    "bucket_and_key",
    "delta_uri",
    "hive_columns",
    "is_temporary",
    "join",
    "list_range",
    "open_store",
    "relative",
    "root_of",
    "scheme",
    "storage_options",
    "without_temporary",
]
