"""A file behind a web address: every read is a request for a range."""

import http.client
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from lib.artifacts.lora.byte_source import FileChanged
from lib.artifacts.ranges import whole_size
from lib.errors import ArtifactError

WEB_TIMEOUT_S = 15
READ_DEADLINE_S = 60
LINK_USED_S = 300  # half the life of a signed link


class WebBytes:
    """A file behind an http or https address. The address may be a bearer secret, so no error names it.

    Args:
        link: The address, or what gives one that works now: links expire while a large file is read.
        timeout_s: How long the server may be silent, in seconds.
        deadline_s: Longest time for one read, in seconds.
    """

    is_near = False

    def __init__(
        self,
        link: str | Callable[[], str],
        *,
        timeout_s: float = WEB_TIMEOUT_S,
        deadline_s: float = READ_DEADLINE_S,
    ) -> None:
        self._link, self._timeout_s, self._deadline_s = link, timeout_s, deadline_s
        self._url, self._asked_at = "", -math.inf
        self._host = "The server"
        self.size_bytes = 0
        self.etag = ""
        self._renew()

    @property
    def version(self) -> str:
        """Tells this content from what may lie there later; empty before the first read."""
        return f"{self.etag} {self.size_bytes}" if self.size_bytes else ""

    def read(self, offset: int, size: int) -> bytes:
        if size <= 0:
            return b""
        self._renew()
        until = time.monotonic() + self._deadline_s
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={offset}-{offset + size - 1}"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                if offset and answer.status != 206:
                    raise ArtifactError(f"{self._host} ignores ranged reads, so the file can only be read whole.")
                total = whole_size(answer.headers.get("Content-Range"), answer.headers.get("Content-Length"))
                return self._checked(self._body(answer, size, until), total, answer.headers.get("ETag", ""), offset)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    return b""
                raise ArtifactError(f"{self._host} answered {error.code} {error.reason}.") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ArtifactError(f"{self._host} does not answer.", hint="Trying again may help.") from error

    def _renew(self) -> None:
        if time.monotonic() - self._asked_at < LINK_USED_S:
            return
        self._url, self._asked_at = self._link if isinstance(self._link, str) else self._link(), time.monotonic()
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https"):
            raise ArtifactError("Only http and https addresses can be read.")
        self._host = parts.hostname or self._host

    def _body(self, answer: http.client.HTTPResponse, size: int, until: float) -> bytes:
        data = b""
        while len(data) < size and (more := answer.read1(size - len(data))):
            data += more
            if time.monotonic() > until:
                raise ArtifactError(f"{self._host} is too slow.", hint="Trying again later may help.")
        return data

    def _checked(self, data: bytes, total: int, etag: str, offset: int) -> bytes:
        if self.size_bytes and (total, etag) != (self.size_bytes, self.etag):
            raise FileChanged
        self.size_bytes, self.etag = total or offset + len(data), etag
        return data
