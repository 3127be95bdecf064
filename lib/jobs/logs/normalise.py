"""A raw log as the trainer itself printed it: decoded, taken out of JSON envelopes, without a launcher's prefixes.

Both steps are incremental, and cutting the bytes anywhere gives the same. A log that needs neither passes unchanged.
"""

import codecs
import json
import re
from collections.abc import Mapping

from lib.jobs.logs.prefixes import MAX_PREFIX_CHARS, WINDOW_LINES, Prefixes

# Where log collectors put the line itself: docker, fluentd, journald, Cloud Logging, Python's JSON loggers.
_ENVELOPES = ("log", "message", "msg", "MESSAGE", "textPayload", "line", "text")
_NESTED = ("jsonPayload", "fields")
_ENVELOPE_KEY = re.compile("|".join(f'"{key}"' for key in (*_ENVELOPES, *_NESTED)).encode())
_LONGEST_ENVELOPE = 1 << 20
# Docker cuts a longer line into several envelopes.
_DOCKER_PIECE = 16_000
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_RECENT_BYTES = 1 << 16
_FIRST_CHECK = 16
# So many lines must agree on words or blanks before it is known that they stand before all.
_PLAIN_LINES = 8


def unwrapped(data: bytes) -> bytes:
    """A whole log, decoded and without envelopes."""
    unwrapper = Unwrapper()
    return unwrapper.feed(data) + unwrapper.flush()


class Unwrapper:
    """Decodes a log to UTF-8 and takes its lines out of JSON envelopes."""

    def __init__(self) -> None:
        self._head: bytes | None = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._line = b""
        self._is_at_line_start = True

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the log, as far as they are complete."""
        if self._head is not None:
            data, self._head = self._head + data, None
            if 0 < len(data) < 4:
                self._head, data = data, b""
            else:
                data = self._start(data)
        return self._unwrap(self._decode(data))

    def flush(self) -> bytes:
        """What is left at the end of the log."""
        head, self._head = self._head or b"", None
        rest = self._unwrap(self._decode(self._start(head))) + _opened(self._line)
        self._line = b""
        return rest

    def _start(self, data: bytes) -> bytes:
        """Find out the encoding from the first bytes, and cut its mark."""
        for mark, name in _BOMS.items():
            if data.startswith(mark):
                self._decoder = codecs.getincrementaldecoder(name)("replace") if "16" in name else None
                return data[len(mark) :]
        if len(data) >= 4 and (data[1] == data[3] == 0 < data[0] or data[0] == data[2] == 0 < data[1]):
            self._decoder = codecs.getincrementaldecoder("utf-16-le" if data[0] else "utf-16-be")("replace")
        return data

    def _decode(self, data: bytes) -> bytes:
        if self._decoder is not None:
            data = self._decoder.decode(data).encode("utf-8", "replace")
        return data.replace(b"\0", b"") if b"\0" in data else data

    def _unwrap(self, data: bytes) -> bytes:
        data, self._line = self._line + data, b""
        starts = b"{" if self._is_at_line_start else b""
        if not (starts and data.startswith(starts)) and b"\n{" not in data:
            self._is_at_line_start = data.endswith(b"\n") if data else self._is_at_line_start
            return data
        *lines, last = data.split(b"\n")
        if not self._is_at_line_start and lines:
            first, lines = lines[0] + b"\n", lines[1:]
        else:
            first = b""
        if (last == b"{" or last.startswith(b'{"')) and len(last) < _LONGEST_ENVELOPE:
            self._line, last = last, b""
        self._is_at_line_start = not last
        return first + b"".join(_opened(line + b"\n") for line in lines) + last


def _opened(line: bytes) -> bytes:
    """What a JSON envelope holds, with the end of its line; any other line as it is."""
    if not line.startswith(b'{"') or len(line) > _LONGEST_ENVELOPE or not _ENVELOPE_KEY.search(line):
        return line
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return line
    values = next((values[key] for key in _NESTED if isinstance(values.get(key), dict)), values)
    text = _held_text(values)
    if text is None:
        return line
    is_whole = text.endswith(("\n", "\r")) or len(text) >= _DOCKER_PIECE
    return (text if is_whole else f"{text}\n").encode("utf-8", "replace")


def _held_text(values: Mapping[str, object]) -> str | None:
    return next((value for key in _ENVELOPES if isinstance(value := values.get(key), str)), None)


class PrefixCutter:
    """Cuts the prefix of each line once it is known.

    The last lines are looked at whenever there are four times as many, from 16 on, and at the end. Those
    that taught the prefix are given once more, without it.
    """

    def __init__(self) -> None:
        self._prefixes = Prefixes()
        self._pattern: re.Pattern[bytes] | None = None
        self._lines, self._check_at = 0, _FIRST_CHECK
        self._recent, self._is_recent_whole = b"", True
        self._held, self._is_within_line = b"", False

    def feed(self, data: bytes) -> bytes:
        """The next bytes, as far as it is clear what is prefix."""
        done: list[bytes] = []
        while data:
            stop = self._stop(data)
            part, data = data[:stop], data[stop:]
            self._recent += part[-_RECENT_BYTES:]
            self._is_recent_whole &= len(self._recent) == len(part) or len(self._recent) <= _RECENT_BYTES
            self._recent = self._recent[-_RECENT_BYTES:]
            done.append(self._cut(part))
            if self._lines == self._check_at:
                self._check_at *= 4
                done.append(self._learn(may_be_plain=_PLAIN_LINES <= self._lines <= WINDOW_LINES))
        return b"".join(done)

    def flush(self) -> bytes:
        """What is left at the end of the log."""
        learned = self._learn(may_be_plain=self._lines < WINDOW_LINES)
        rest, self._held = self._without(self._held) if self._pattern else self._held, b""
        return learned + rest

    def _stop(self, data: bytes) -> int:
        """Up to where to read before the next look; counts the lines until there."""
        count = data.count(b"\n")
        if self._lines + count < self._check_at:
            self._lines += count
            return len(data)
        at = -1
        for _ in range(self._check_at - self._lines):
            at = data.index(b"\n", at + 1)
        self._lines = self._check_at
        return at + 1

    def _learn(self, *, may_be_plain: bool) -> bytes:
        lines = self._recent.split(b"\n")
        lines = lines[0 if self._is_recent_whole else 1 :][-WINDOW_LINES - 1 :]
        heads = [_head(line) for line in lines]
        before = [self._prefixes.length(head) for head in heads] if self._prefixes else [0] * len(heads)
        if not self._prefixes.learn(heads, may_be_plain=may_be_plain):
            return b""
        pattern = self._prefixes.pattern_text.encode("utf-8", "replace")
        self._pattern = re.compile(rb"([\r\n])(?:" + pattern + rb")")
        known = zip(lines, heads, before, strict=True)
        new = [line for line, head, was in known if self._prefixes.length(head) != was]
        return self._without(b"".join(line + b"\n" for line in new))

    def _cut(self, part: bytes) -> bytes:
        if self._pattern is None:
            self._is_within_line = not part.endswith((b"\n", b"\r"))
            return part
        data = self._held + part
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        body, tail = data[:end], data[end:]
        self._held = b""
        if end or not self._is_within_line:
            first = b"" if not self._is_within_line else body[: _line_end(body)]
            body = first + self._without(body[len(first) :])
            self._is_within_line = False
            if len(tail) <= MAX_PREFIX_CHARS:
                self._held = tail
                return body
            tail = self._without(tail)
        self._is_within_line = True
        return body + tail

    def _without(self, data: bytes) -> bytes:
        """Text that begins at a line start, without prefixes."""
        return self._pattern.sub(rb"\1", b"\n" + data)[1:] if self._pattern else data


def _head(line: bytes) -> str:
    return line[: 2 * MAX_PREFIX_CHARS].lstrip(b"\r").split(b"\r", 1)[0].decode("utf-8", "replace")


def _line_end(data: bytes) -> int:
    ends = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
    return min(ends) + 1 if ends else len(data)
