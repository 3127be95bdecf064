"""What the end of a log holds: lines freed from bars and wrapping, exceptions with their chains, reported errors.

Everything here keeps its place in the log, so that what is concluded can be proved with the lines themselves.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

MAX_MESSAGE_LINES = 25

# tqdm's bar, whole, wherever it stands in a line: log text is glued to its end.
BAR = re.compile(
    r"(?<!\d)\d{1,3}%\|[^|\n]{0,500}\|\s*(?P<done>\d+)/(?P<total>\d+) \[(?P<facts>[^\]\n]*)\]"
    r"|(?<!\S)\d+it \[[^\]\n]*\]"
)
HEADER = re.compile(r"Traceback \(most recent call last\)")
CHAIN_MARKER = re.compile(r"^(?:The above exception was the direct cause|During handling of the above exception)")
EXCEPTION = re.compile(
    r"^(?P<name>(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*(?=: )|(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?=: |:?$))"
    r"(?:: ?(?P<message>.*))?$"
)
BARE_EXCEPTION = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*(?:Error|Exception|Interrupt|NotFound|Enabled|Timeout)|Exception)(?:: .*)?$"
)
# A level stands behind a time and one name at most: elsewhere it is a word of a caption.
LEVEL = re.compile(
    r"^[^A-Za-z]*(?:[TZ][^A-Za-z]+){0,2}(?:[A-Za-z_][\w.]{0,60}\s*[\]:|-]+\s*)?"
    r"(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)(?=[\s\]|:-]|$)"
)
RANK_PREFIX = re.compile(r"^\[(?:rank|default)\d+\]:\s?")
# rich's log line: time or 19 blanks, the level in 8 columns, the text, the file name flush right.
RICH = re.compile(r"^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d| {19}) (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) +(?P<text>\S.*)$")
RICH_WHERE = re.compile(r"[\w./-]+\.py:\d+")
RICH_INDENT = 29

BAD_LEVELS = frozenset({"ERROR", "CRITICAL", "FATAL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message of the log, unwrapped, and its lines ``[first, last)``; ``level`` may be empty."""

    text: str
    level: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """One exception: its qualified name and message, and the lines ``[first, last)`` that state it."""

    name: str
    message: str
    first: int
    last: int

    @property
    def text(self) -> str:
        """As Python prints it."""
        return f"{self.name}: {self.message}" if self.message else self.name

    @property
    def is_wrapper(self) -> bool:
        """Whether it only says that another process failed."""
        return self.name.rpartition(".")[2] in {"CalledProcessError", "ChildFailedError", "SystemExit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Exceptions that led to one another, the last one being what reached the top; lines ``[first, last)``."""

    raised: tuple[Raised, ...]
    first: int
    last: int
    has_traceback: bool

    @property
    def final(self) -> Raised:
        """What reached the top."""
        return self.raised[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A painted bar: where it stands and how far it is."""

    line: int
    name: str
    done: int
    total: int
    facts: str


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of a log, read once.

    Attributes:
        lines: The lines without bars (a line that was only a bar is empty).
        raw: The same lines as they were given.
    """

    raw: tuple[str, ...]
    lines: tuple[str, ...]
    bars: tuple[Bar, ...]
    chains: tuple[Chain, ...] = field(default=())
    entries: tuple[Entry, ...] = field(default=())

    @classmethod
    def read(cls, lines: Sequence[str]) -> "LogEnd":
        """Read terminal-rendered lines; any text will do."""
        raw = tuple(line.rstrip() for line in lines)
        bars: list[Bar] = []
        bare = tuple(_without_bars(line, index, bars) for index, line in enumerate(raw))
        return cls(raw, bare, tuple(bars), chains=tuple(_read_chains(bare)), entries=tuple(_read_entries(bare)))

    def moved_on(self, line: int) -> bool:
        """Whether a bar went further after ``line``, or a new one with a name began."""
        reached: dict[tuple[str, int], int] = {}
        for bar in self.bars:
            key = bar.name, bar.total
            if bar.line <= line:
                reached[key] = max(bar.done, reached.get(key, 0))
            elif bar.name and bar.done > reached.get(key, 0):
                return True
        return False

    def last_lines(self, count: int) -> tuple[str, ...]:
        """The last lines that say something, bars included."""
        return tuple([line for line in self.raw if line.strip()][-count:])


def _without_bars(line: str, index: int, bars: list[Bar]) -> str:
    if "%|" not in line and "it [" not in line:
        return RANK_PREFIX.sub("", line)
    end = 0
    for match in BAR.finditer(line):
        name = line[end : match.start()].strip().rstrip(":")
        end = match.end()
        if match["total"]:
            done, total = _count(match["done"]), _count(match["total"])
            bars.append(Bar(line=index, name=name, done=done, total=total, facts=match["facts"]))
    rest = line[end:]
    # A rich line without a time keeps its 19 blanks; everything else begins where its text begins.
    return RANK_PREFIX.sub("", rest if not end or RICH.match(rest) else rest.lstrip())


def _count(digits: str) -> int:
    return int(digits[:15])


def _read_entries(lines: Sequence[str]) -> Iterator[Entry]:
    index = 0
    while index < len(lines):
        line = lines[index]
        if not line.strip():
            index += 1
            continue
        rich = RICH.match(line)
        last = index + 1
        text = line.strip()
        if rich:
            last, text = _unwrap(lines, index, rich)
        level = LEVEL.search(line[:80])
        yield Entry(text=text, level=level[1] if level else "", first=index, last=last)
        index = last


def _unwrap(lines: Sequence[str], index: int, rich: re.Match[str]) -> tuple[int, str]:
    """Join a wrapped rich message: a piece that fills its column was cut inside a word, others at a blank."""
    text, blank, where = rich["text"].rpartition(" ")
    has_where = bool(blank and RICH_WHERE.fullmatch(where))
    column = len(text) if has_where else 0
    pieces = [(text if has_where else rich["text"]).rstrip()]
    last = index + 1
    while last < len(lines) and lines[last].startswith(" " * RICH_INDENT) and not RICH.match(lines[last]):
        pieces.append(lines[last].strip())
        last += 1
    message = pieces[0]
    for before, piece in pairwise(pieces):
        message += ("" if column and _cells(before) >= column else " ") + piece
    return last, message.rstrip()


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _read_chains(lines: Sequence[str]) -> Iterator[Chain]:
    raised: list[Raised] = []
    first = index = 0
    has_traceback = False
    while index < len(lines):
        header = HEADER.search(lines[index])
        found = _read_raised(lines, index, header) if header or BARE_EXCEPTION.match(lines[index]) else None
        if found is None:
            index += 1
            continue
        if raised and not _is_linked(lines, raised[-1].last, index):
            yield Chain(raised=tuple(raised), first=first, last=raised[-1].last, has_traceback=has_traceback)
            raised, has_traceback = [], False
        first = first if raised else index
        raised.append(found)
        has_traceback = has_traceback or header is not None
        index = found.last
    if raised:
        yield Chain(raised=tuple(raised), first=first, last=raised[-1].last, has_traceback=has_traceback)


def _read_raised(lines: Sequence[str], index: int, header: re.Match[str] | None) -> Raised | None:
    """The exception that a traceback starting at ``index`` ends with, or that stands there by itself."""
    prefix = lines[index][: header.start()] if header else ""
    if prefix.rstrip().endswith("Original"):
        prefix = ""
    at = index + 1 if header else index
    while at < len(lines):
        line = lines[at].removeprefix(prefix)
        match = EXCEPTION.match(line)
        if match:
            last = _message_end(lines, at + 1)
            more = [lines[after].removeprefix(prefix) for after in range(at + 1, last)]
            message = "\n".join([match["message"] or "", *more]).strip()
            return Raised(name=match["name"], message=message, first=at, last=last)
        if HEADER.search(line):
            return None
        at += 1
    return None


def _message_end(lines: Sequence[str], start: int) -> int:
    end = start
    while end < len(lines) and end - start < MAX_MESSAGE_LINES and _continues(lines[end]):
        end += 1
    return end


def _continues(line: str) -> bool:
    return bool(
        line.strip()
        and not HEADER.search(line)
        and not CHAIN_MARKER.match(line)
        and not BARE_EXCEPTION.match(line)
        and not LEVEL.search(line[:80])
    )


def _is_linked(lines: Sequence[str], end: int, start: int) -> bool:
    """Whether what stands between two exceptions says that they belong together."""
    if "Original Traceback" in lines[start]:
        return True
    between = [line for line in lines[end:start] if line.strip()]
    return 0 < len(between) <= 2 and any(CHAIN_MARKER.match(line) for line in between)
