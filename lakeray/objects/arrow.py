"""An object store as Arrow sees a file system: for reading only, by path, nothing listed."""

from __future__ import annotations

from typing import Any, NoReturn

import pyarrow as pa
from pyarrow import fs

from lakeray.objects.registry import open_store
from lakeray.objects.uris import join


class _Handler(fs.FileSystemHandler):  # type: ignore[misc]
    """Paths are relative to ``root``, a uri."""

    def __init__(self, root: str) -> None:
        self._root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handler) and other._root == self._root

    def __hash__(self) -> int:
        return hash(self._root)

    def get_type_name(self) -> str:
        return "lakeray"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[Any]:
        store = open_store(self._root)
        sizes = [store.head(join(self._root, path)).size for path in paths]
        return [fs.FileInfo(path, fs.FileType.File, size=size) for path, size in zip(paths, sizes, strict=True)]

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(open_store(self._root).open(join(self._root, path)), mode="r")

    open_input_stream = open_input_file

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("this file system only reads files by name")

    copy_file = create_dir = delete_dir = delete_dir_contents = delete_file = delete_root_dir_contents = _refuse
    get_file_info_selector = move = open_append_stream = open_output_stream = _refuse


def readable(root: str) -> fs.FileSystem:
    """The objects under ``root`` for readers of Arrow's own."""
    return fs.PyFileSystem(_Handler(root))
