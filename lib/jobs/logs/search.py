"""Finds text in a raw log of any size, as a terminal shows it."""

from collections.abc import Callable
from dataclasses import dataclass

from lib.jobs.logs.tail import ReadAt
from lib.jobs.logs.terminal import Terminal

_READ_BYTES = 1 << 19


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHit:
    """A line that contains the text; ``line`` counts from 0."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSearch:
    """What a search found. ``is_complete``: the whole log was searched and every hit is here."""

    hits: tuple[LogHit, ...]
    is_complete: bool
    searched_bytes: int


def find_in_log(
    read: ReadAt, needle: str, *, should_stop: Callable[[], bool] = lambda: False, limit: int = 200
) -> LogSearch:
    """Every shown line that contains ``needle``, up to ``limit``; an empty needle finds nothing.

    Case does not matter; for an ASCII needle only ASCII letters are folded.
    """
    wanted, terminal, hits = needle.lower(), Terminal(keep_lines=1 << 40), list[LogHit]()
    offset, searched, is_end = 0, 0, not needle
    while not is_end and len(hits) <= limit:
        if should_stop():
            return LogSearch(hits=tuple(hits), is_complete=False, searched_bytes=offset)
        data, size = read(offset, _READ_BYTES)
        offset += len(data)
        is_end = not data or offset >= size
        terminal.feed(data)
        stop = terminal.total_lines if is_end else terminal.settled_lines
        if stop > searched and _contains(terminal.text_between(searched, stop), wanted):
            lines = enumerate(terminal.lines_between(searched, stop), searched)
            hits += [LogHit(line=number, text=line) for number, line in lines if _contains(line, wanted)]
        searched = max(searched, stop)
        terminal.forget_before(searched)
    return LogSearch(hits=tuple(hits[:limit]), is_complete=is_end and len(hits) <= limit, searched_bytes=offset)


def _contains(text: str, wanted: str) -> bool:
    """Whether a text contains a lower-case one; ASCII is compared as bytes, whose ``lower`` is many times faster."""
    if wanted.isascii():
        return wanted.encode() in text.encode("utf-8", "replace").lower()
    return wanted in text.lower()
