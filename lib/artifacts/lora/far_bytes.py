"""Objects of a store: every read is a request for a range."""

from lib.artifacts.lora.byte_source import FileChanged
from lib.artifacts.object_store import ObjectStore


class StoredBytes:
    """An object of the store. Every read names the version that the first one saw."""

    is_near = False

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key = store, key
        self.size_bytes = 0
        self.etag = ""

    @property
    def version(self) -> str:
        """Tells this content from what may lie there later; empty before the first read."""
        return f"{self.etag} {self.size_bytes}" if self.size_bytes else ""

    def read(self, offset: int, size: int) -> bytes:
        found = self._store.read_range(self._key, offset, size, etag=self.etag)
        if self.etag and (found.etag, found.size_bytes) != (self.etag, self.size_bytes):
            raise FileChanged
        self.etag, self.size_bytes = found.etag, found.size_bytes
        return found.data
