"""The few segments of a log that can say something, found without looking at each: most lines of most logs are none.

A segment is what stands between two line ends or carriage returns.
"""

import heapq
import re
from collections.abc import Iterator

_BLOCK_BYTES = 1 << 16


class TellingSegments:
    """Finds the segments of a block that hold one of some words.

    Every word is looked for from where it was found last, which costs a fraction of splitting the block.

    Args:
        block: Whole segments, each ended by a carriage return.
        commonest: A word that often stands in one segment after the other.
        words: What else a telling segment holds.
    """

    def __init__(self, block: bytes, commonest: bytes, words: tuple[bytes, ...]) -> None:
        self._block, self._commonest, self._at = block, commonest, 0
        self._next = [(at, word) for word in (commonest, *words) if (at := block.find(word)) >= 0]
        heapq.heapify(self._next)

    def begins_with(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Whether the segment after the last one given begins with a pattern; the segment is not taken by that."""
        return pattern.match(self._block, self._at)

    def skip(self, end: int) -> None:
        """Take all segments up to a place."""
        self._at = end

    def following(self) -> bytes | None:
        """The segment after the last one given, telling or not; None at the end."""
        if self._at >= len(self._block):
            return None
        return self._until_end(self._at)

    def telling(self) -> bytes | None:
        """The next telling segment; None when there is none."""
        waiting, block, start = self._next, self._block, self._at
        end = block.find(b"\r", start)
        if block.find(self._commonest, start, end) >= 0:
            self._at = end + 1
            return block[start:end]
        while waiting and (found := waiting[0])[0] < self._at:
            if (again := block.find(found[1], self._at)) < 0:
                heapq.heappop(waiting)
            else:
                heapq.heapreplace(waiting, (again, found[1]))
        return self._until_end(block.rfind(b"\r", self._at, waiting[0][0]) + 1 or self._at) if waiting else None

    def _until_end(self, start: int) -> bytes:
        end = self._block.index(b"\r", start)
        self._at = end + 1
        return self._block[start:end]


def blocks_of(data: bytes, most: int = _BLOCK_BYTES) -> Iterator[bytes]:
    """Segments that end with carriage returns, in blocks of ``most`` bytes; a longer segment is cut to that."""
    start = 0
    while start < len(data):
        end = len(data) if len(data) - start <= most else data.rfind(b"\r", start, start + most) + 1
        if end > start:
            yield data[start:end]
        else:
            end = data.index(b"\r", start) + 1
            yield data[start : start + most] + b"\r"
        start = end
