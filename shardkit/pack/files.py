"""The files that metadata may name: those below a root, listed once where that is cheaper than asking for each."""

from collections.abc import Mapping

from shardkit.core.errors import NotFoundError
from shardkit.storage.location import HTTP, Location
from shardkit.storage.reference import resolve
from shardkit.storage.store import list_files, size


class Files:
    """Tells which files are there, and their sizes.

    A remote root is listed at the first question, where its storage can list; a local one only for ``listed``.
    """

    def __init__(self, root: Location) -> None:
        self.root = root
        self._listed: dict[str, int] | None = None
        self._prefix = str(root / "_")[:-1]

    def listed(self) -> Mapping[str, int]:
        """Return the bytes of every file below the root, by its path from there, sorted."""
        if self._listed is None:
            self._listed = {file.name: file.size for file in list_files(self.root)}
        return self._listed

    def example(self) -> tuple[str, int] | None:
        """Return one file and the number of all, if they were listed and there are any."""
        return (next(iter(self._listed)), len(self._listed)) if self._listed else None

    def at(self, path: str) -> Location:
        """Return the location of a path from the root, an absolute path or a URL."""
        if ":" in path or path.startswith("/"):
            return resolve(self.root, path)
        return self.root / path

    def size(self, location: Location) -> int | None:
        """Return the bytes of a file, or None where there is none.

        Raises:
            StorageError: It can't be looked at, or is a folder.
        """
        if not self.root.is_local and self.root.protocol not in HTTP:
            self.listed()
        known = None if self._listed is None else self._listed.get(str(location).removeprefix(self._prefix))
        if known is not None:
            return known
        try:
            return size(location)
        except NotFoundError:
            return None
