"""The beginning of a file that a browser sent: its header and the values of its alphas; the weights stay there."""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from lib.errors import ArtifactError

MAX_SENT_HEADER_BYTES = 32 << 20
_LONGEST_ALPHA_BYTES = 8


class SentBytes:
    """The bytes that were sent in their places, zeros between them. What is read of a header is among the former."""

    is_near = True
    version = "sent"

    def __init__(self, start: bytes, alphas: Sequence[tuple[int, bytes]], size_bytes: int) -> None:
        self._start, self._alphas = start, sorted(alphas)
        self.size_bytes = max(size_bytes, len(start))

    def read(self, offset: int, size: int) -> bytes:
        size = max(0, min(size, self.size_bytes - offset))
        if offset + size <= len(self._start):
            return self._start[offset : offset + size]
        found = bytearray(self._start[offset : offset + size].ljust(min(size, 1 << 20), b"\0"))
        for begin, value in self._alphas[bisect_right(self._alphas, (offset,)) :]:
            if begin + len(value) > offset + len(found):
                break
            found[begin - offset : begin - offset + len(value)] = value
        return bytes(found)


def sent_file(payload: Mapping[str, Any]) -> SentBytes:
    """What the browser sent as ``{size, start, alphas: [[offset, value]]}``. Raises ArtifactError for anything else."""
    try:
        start = base64.b64decode(payload["start"], validate=True)
        alphas = [(int(offset), base64.b64decode(value)) for offset, value in payload["alphas"]]
        size_bytes = int(payload["size"])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ArtifactError("The browser sent something else than the beginning of a file.") from error
    if len(start) > MAX_SENT_HEADER_BYTES or any(len(value) > _LONGEST_ALPHA_BYTES for _, value in alphas):
        raise ArtifactError("The browser sent more than the beginning of a file.")
    return SentBytes(start, alphas, size_bytes)
