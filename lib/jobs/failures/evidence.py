"""What the end of a log holds: lines freed from bars and wrapping, exceptions with their chains, reported errors.

Everything here keeps its place in the log, so that what is concluded can be proved with the lines themselves.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from lib.jobs.failures.tracebacks import HAS_PARAGRAPH, LEVEL, OTHERS, Chain, message_end, read_chains
from lib.jobs.logs.announcements import is_opening
from lib.jobs.logs.prefixes import without_prefixes
from lib.jobs.logs.rich_lines import joined, source_of
from lib.jobs.logs.tqdm_bar import bar_spans

RANK_PREFIX = re.compile(r"^\[(?:rank|default)\d+\]:\s?")
# rich's log line: time or 19 blanks, the level in 8 columns, the text, the file name flush right.
RICH = re.compile(r"^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d| {19}) (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) +(?P<text>\S.*)$")
RICH_INDENT = 29
# A training bar that did at least one step.
_STARTED = re.compile(
    r"(?:[Ss]teps?|Train\w*|[Ee]poch[^|]{0,30}): +\d+%\|[^|]*\| *[1-9]\d*/\d+ \[|(?:loss|lr)['\"]?[=:] ?['\"]?[\d.]"
)

# Bars that count the steps of a whole run, never of a part of it.
_WHOLE_RUN = frozenset({"steps", "Steps"})

_LEVELS_OF_LOGGER = 3
BAD_LEVELS = frozenset({"ERROR", "CRITICAL", "FATAL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message of the log, unwrapped, and its lines ``[first, last)``; ``level`` and ``source`` may be empty.

    ``source`` is the file and line that rich prints behind a message.
    """

    text: str
    level: str
    first: int
    last: int
    source: str = ""


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
        raw: The lines without what a launcher put before each.
        lines: The same without bars (a line that was only a bar is empty).
    """

    raw: tuple[str, ...]
    lines: tuple[str, ...]
    bars: tuple[Bar, ...]
    chains: tuple[Chain, ...] = field(default=())
    entries: tuple[Entry, ...] = field(default=())

    @classmethod
    def read(cls, lines: Sequence[str]) -> "LogEnd":
        """Read terminal-rendered lines; any text will do."""
        whole = [line.rstrip() for line in lines]
        bodies = without_prefixes(whole)
        levels = _levels(whole, bodies)
        raw = tuple(RANK_PREFIX.sub("", line) for line in bodies)
        begins = _last_run(raw)
        raw, levels = raw[begins:], levels[begins:]
        bars: list[Bar] = []
        bare = tuple(_without_bars(line, index, bars) for index, line in enumerate(raw))
        if again := _last_restart(bars):
            raw, bare, levels = raw[again:], bare[again:], levels[again:]
            bars = [replace(bar, line=bar.line - again) for bar in bars if bar.line >= again]
        return cls(raw, bare, tuple(bars), chains=tuple(read_chains(bare)), entries=tuple(_read_entries(bare, levels)))

    def moved_on(self, line: int, *, by: int = 2) -> bool:
        """Whether the program went on after ``line``: a bar grew, or a new one with a name began.

        One repaint of one step more is how tqdm closes its bar: fewer steps than ``by`` count only when the program
        said more after them.
        """
        reached: dict[tuple[str, int], int] = {}
        for bar in self.bars:
            key = bar.name, bar.total
            if bar.line <= line:
                reached[key] = max(bar.done, reached.get(key, 0))
            elif bar.name and bar.done > reached.get(key, 0):
                if bar.done >= reached.get(key, 0) + by or (key not in reached and bar.done < bar.total):
                    return True
                return any(self._is_own_text(after) for after in range(bar.line + 1, len(self.lines)))
        return False

    def text_before(self, line: int) -> str:
        """The log up to ``line``, and what stands on it before a traceback: a bar, most often."""
        glued = self.raw[line].partition("Traceback (")[0] if line < len(self.raw) else ""
        return "\n".join((*self.raw[:line], glued))

    def _is_own_text(self, index: int) -> bool:
        """Whether a line is the program's own, not a launcher's report of its end."""
        line = self.lines[index]
        if not line.strip():
            return any(bar.line == index for bar in self.bars)
        inside = any(chain.first <= index < chain.last for chain in self.chains)
        return not inside and not OTHERS.match(line) and not line.startswith(" ")

    def last_lines(self, count: int) -> tuple[str, ...]:
        """The program's last lines that say something, bars included; a launcher's traceback is none of them."""
        launcher = {index for chain in self.chains if _is_launcher(chain) for index in range(chain.first, chain.last)}
        said = [line for index, line in enumerate(self.raw) if line.strip() and index not in launcher]
        return tuple((said or [line for line in self.raw if line.strip()])[-count:])


def _levels(lines: Sequence[str], bodies: Sequence[str]) -> Sequence[str]:
    """The levels in what was cut off before the bodies; a launcher has two at most, a logger more."""
    prefixes = [line[: len(line) - len(body)] for line, body in zip(lines, bodies, strict=True)]
    levels = [match[1] if prefix and (match := LEVEL.search(prefix)) else "" for prefix in prefixes]
    return levels if len({*levels} - {""}) >= _LEVELS_OF_LOGGER else [""] * len(lines)


def _is_launcher(chain: Chain) -> bool:
    return all(raised.is_wrapper for raised in chain.raised)


def _last_run(lines: Sequence[str]) -> int:
    """Where the last run of a file that was appended to begins."""
    started, begins, said = False, 0, False
    for index, line in enumerate(lines):
        if ("%" in line or "loss" in line) and _STARTED.search(line):
            started = True
        opens = is_opening(line[:400].encode("utf-8", "replace"))
        if opens and started and not said:
            begins, started = index, False
        said = opens or (said and not line.strip())
    return begins


def _last_restart(bars: Sequence[Bar]) -> int:
    """The line at which the bar of the training last began again; 0 when it never did."""
    reached: dict[tuple[str, int], int] = {}
    restart = 0
    for bar in bars:
        if bar.name not in _WHOLE_RUN:
            continue
        key = bar.name, bar.total
        if bar.done < reached.get(key, 0):
            restart = bar.line
        reached[key] = bar.done
    return restart


def _without_bars(line: str, index: int, bars: list[Bar]) -> str:
    if "%" not in line and "it [" not in line and "<" not in line:
        return line
    data, end = line.encode("utf-8", "replace"), 0
    for start, stop, match in bar_spans(data):
        name = data[end:start].decode("utf-8", "replace").strip().rstrip(":")
        end = stop
        if match:
            done, total, _, _, postfix = match.groups(b"")
            facts = postfix.decode("utf-8", "replace")
            bars.append(Bar(line=index, name=name, done=_count(done), total=_count(total), facts=facts))
    rest = data[end:].decode("utf-8", "replace")
    # A rich line without a time keeps its 19 blanks; everything else begins where its text begins.
    return rest if not end or RICH.match(rest) else rest.lstrip()


def _count(digits: bytes) -> int:
    return int(digits[:15])


def _read_entries(lines: Sequence[str], levels: Sequence[str]) -> Iterator[Entry]:
    index = 0
    while index < len(lines):
        line = lines[index]
        if not line.strip():
            index += 1
            continue
        rich = RICH.match(line)
        last = index + 1
        text, source = line.strip(), ""
        if rich:
            last, text = _unwrap(lines, index)
            source = source_of(line)
        elif HAS_PARAGRAPH.search(line[-100:]):
            last = message_end(lines, index + 1)
            text = "\n".join(lines[index:last]).strip()
        level = LEVEL.search(line[:80])
        yield Entry(text=text, level=level[1] if level else levels[index], first=index, last=last, source=source)
        index = last


def _unwrap(lines: Sequence[str], index: int) -> tuple[int, str]:
    """Join a wrapped rich message."""
    last = index + 1
    while last < len(lines) and lines[last].startswith(" " * RICH_INDENT) and not RICH.match(lines[last]):
        last += 1
    return last, joined([line.encode("utf-8", "replace") for line in lines[index:last]]).decode("utf-8", "replace")
