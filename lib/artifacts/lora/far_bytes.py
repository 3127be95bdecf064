"""Files in a store or behind a web address: every read is a request for a range."""

import http.client
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from lib.artifacts.lora.byte_source import FileChanged
from lib.artifacts.object_store import ObjectStore, whole_size
from lib.errors import ArtifactError

WEB_TIMEOUT_S = 15


class StoredBytes:
    """An object of the store. Every read names the version that the first one saw."""

    is_near = False

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key = store, key
        self.size_bytes = 0
        self.etag = ""

    def read(self, offset: int, size: int) -> bytes:
        found = self._store.read_range(self._key, offset, size, etag=self.etag)
        if self.etag and (found.etag, found.size_bytes) != (self.etag, self.size_bytes):
            raise FileChanged
        self.etag, self.size_bytes = found.etag, found.size_bytes
        return found.data


class WebBytes:
    """A file behind an http or https address. The address may be a bearer secret, so no error names it."""

    is_near = False

    def __init__(self, url: str, *, timeout_s: float = WEB_TIMEOUT_S) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ArtifactError("Only http and https addresses can be read.")
        self._url, self._timeout_s = url, timeout_s
        self._host = urlsplit(url).hostname or "the server"
        self.size_bytes = 0
        self.etag = ""

    def read(self, offset: int, size: int) -> bytes:
        if size <= 0:
            return b""
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={offset}-{offset + size - 1}"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                if offset and answer.status != 206:
                    raise ArtifactError(f"{self._host} ignores ranged reads, so the file can only be read whole.")
                total = whole_size(answer.headers.get("Content-Range"), answer.headers.get("Content-Length"))
                return self._checked(answer.read(size), total, answer.headers.get("ETag", ""), offset)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    return b""
                raise ArtifactError(f"{self._host} answered {error.code} {error.reason}.") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ArtifactError(f"{self._host} does not answer.", hint="Trying again may help.") from error

    def _checked(self, data: bytes, total: int, etag: str, offset: int) -> bytes:
        if self.size_bytes and (total, etag) != (self.size_bytes, self.etag):
            raise FileChanged
        self.size_bytes, self.etag = total or offset + len(data), etag
        return data
