"""What the end of a log holds: lines freed from bars and wrapping, exceptions with their chains, reported errors.

Everything here keeps its place in the log, so that what is concluded can be proved with the lines themselves.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from lib.jobs.logs.prefixes import without_prefixes
from lib.jobs.logs.rich_lines import joined
from lib.jobs.logs.tqdm_bar import bar_spans

MAX_MESSAGE_LINES = 25
# Most lines that a traceback has between its header and the exception.
_MAX_TRACEBACK_LINES = 400

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
RICH_INDENT = 29
FRAME = re.compile(r"^\s*File \"(?P<path>[^\"]+)\", line (?P<line>\d+)(?:, in (?P<function>.+))?")
# The same where rich draws the traceback in a box.
BOXED_FRAME = re.compile(r"^│ (?P<path>\S.{0,300}\.py):(?P<line>\d+) in (?P<function>\S+) +│$")
# What follows an exception and is none of its message: machines, launchers and shells speaking.
OTHERS = re.compile(
    r"slurmstepd: |srun: |\w+: Job step aborted|\[\s*\d+\.\d{6}\] |kernel: |wandb: |mpirun|mpiexec|-{20,}$|={20,}$"
    r"|(?:\S*sh: )?(?:line \d+: +\d+ )?(?:Killed|Terminated|Aborted|Segmentation fault|Bus error)\b|Command exited"
    r"|Exited with|Exception ignored in|\w+@[\w.-]+[:#$~]|\(\w[\w.-]*\) \S+[$#>]|make: \*\*\*|error: Recipe |NVRM: "
    r"|Press any key|(?:.*: )?(?:command )?not found$|Out of memory: Killed|Saving |saving |Epoch |epoch |steps: "
    r"|\d\d:\d\d:\d\d|E\d{4} "
)
# A traceback that Python prints and goes on after, or that a thread or a clean-up at the end prints.
IGNORED = re.compile(
    r"^(?:Exception ignored in|Exception in thread|--- Logging error ---|Error in atexit|Error in sys\.excepthook"
    r"|Task exception was never retrieved|Future exception was never retrieved|Exception in callback)"
)
# A trainer's first words: what stands before them in a file that was appended to is history.
OPENING = re.compile(
    r"^\s*(?:prepare tokenizer$|Using DreamBooth method|running training / |Running +\d+ (?:job|process)"
    r"|# Running job: )|^.{0,60}\*{5} Running training \*{5}"
    r"|^\s*(?:\+ )?(?:accelerate launch|torchrun|deepspeed|python[\d.]*) [^:]*\.py\b"
)

_OPENING_WORD = re.compile(r"unning |prepare tok|Using Dream|\.py\b")
# A training bar that did at least one step.
_STARTED = re.compile(
    r"(?:[Ss]teps?|Train\w*|[Ee]poch[^|]{0,30}): +\d+%\|[^|]*\| *[1-9]\d*/\d+ \[|(?:loss|lr)['\"]?[=:] ?['\"]?[\d.]"
)

# Bars that count the steps of a whole run, never of a part of it.
_WHOLE_RUN = frozenset({"steps", "Steps"})

BAD_LEVELS = frozenset({"ERROR", "CRITICAL", "FATAL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message of the log, unwrapped, and its lines ``[first, last)``; ``level`` may be empty."""

    text: str
    level: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A place in the code: the path as printed, the line, the function, the code where the traceback shows it."""

    path: str
    line: int
    function: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """One exception: its qualified name and message, and the lines ``[first, last)`` that state it."""

    name: str
    message: str
    first: int
    last: int
    frames: tuple["Frame", ...] = ()

    @property
    def text(self) -> str:
        """As Python prints it."""
        return f"{self.name}: {self.message}" if self.message else self.name

    @property
    def is_wrapper(self) -> bool:
        """Whether it only says that another process failed."""
        return self.name.rpartition(".")[2] in {"CalledProcessError", "ChildFailedError", "SystemExit"}

    @property
    def is_key(self) -> bool:
        """Whether its message is no sentence but the key that something lacks, which may say anything."""
        return self.name == "KeyError" and self.message[:1] in {"'", '"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Exceptions that led to one another, the last one being what reached the top; lines ``[first, last)``."""

    raised: tuple[Raised, ...]
    first: int
    last: int
    has_traceback: bool
    is_ignored: bool = False

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
        raw = tuple(RANK_PREFIX.sub("", line) for line in without_prefixes([line.rstrip() for line in lines]))
        raw = raw[_last_run(raw) :]
        bars: list[Bar] = []
        bare = tuple(_without_bars(line, index, bars) for index, line in enumerate(raw))
        if again := _last_restart(bars):
            raw, bare = raw[again:], bare[again:]
            bars = [replace(bar, line=bar.line - again) for bar in bars if bar.line >= again]
        return cls(raw, bare, tuple(bars), chains=tuple(_read_chains(bare)), entries=tuple(_read_entries(bare)))

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


def _is_launcher(chain: Chain) -> bool:
    return all(raised.is_wrapper for raised in chain.raised)


def _last_run(lines: Sequence[str]) -> int:
    """Where the last run of a file that was appended to begins."""
    started, begins, said = False, 0, False
    for index, line in enumerate(lines):
        if ("%" in line or "loss" in line) and _STARTED.search(line):
            started = True
        opens = bool(_OPENING_WORD.search(line, 0, 300) and OPENING.match(line[:300]))
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
    if "%" not in line and "it [" not in line and " < " not in line:
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
            last, text = _unwrap(lines, index)
        level = LEVEL.search(line[:80])
        yield Entry(text=text, level=level[1] if level else "", first=index, last=last)
        index = last


def _unwrap(lines: Sequence[str], index: int) -> tuple[int, str]:
    """Join a wrapped rich message."""
    last = index + 1
    while last < len(lines) and lines[last].startswith(" " * RICH_INDENT) and not RICH.match(lines[last]):
        last += 1
    return last, joined([line.encode("utf-8", "replace") for line in lines[index:last]]).decode("utf-8", "replace")


def _read_chains(lines: Sequence[str]) -> Iterator[Chain]:
    raised: list[Raised] = []
    first = index = 0
    has_traceback = is_ignored = False
    while index < len(lines):
        header = HEADER.search(lines[index]) if "Traceback" in lines[index] else None
        found = _read_raised(lines, index, header) if header or BARE_EXCEPTION.match(lines[index]) else None
        if found is None:
            index += 1
            continue
        if raised and not _is_linked(lines, raised[-1].last, index):
            yield _chain(raised, first, has_traceback, is_ignored)
            raised, has_traceback = [], False
        if not raised:
            first, is_ignored = index, bool(index and IGNORED.match(lines[index - 1]))
        raised.append(found)
        has_traceback = has_traceback or header is not None
        index = found.last
    if raised:
        yield _chain(raised, first, has_traceback, is_ignored)


def _chain(raised: list[Raised], first: int, has_traceback: bool, is_ignored: bool) -> Chain:
    return Chain(
        raised=tuple(raised), first=first, last=raised[-1].last, has_traceback=has_traceback, is_ignored=is_ignored
    )


def _read_raised(lines: Sequence[str], index: int, header: re.Match[str] | None) -> Raised | None:
    """The exception that a traceback starting at ``index`` ends with, or that stands there by itself."""
    prefix = lines[index][: header.start()] if header else ""
    if prefix.rstrip().endswith("Original"):
        prefix = ""
    at = index + 1 if header else index
    frames: list[Frame] = []
    while at < min(len(lines), index + _MAX_TRACEBACK_LINES):
        line = lines[at].removeprefix(prefix)
        if frame := FRAME.match(line) or BOXED_FRAME.match(line):
            code = lines[at + 1].removeprefix(prefix).strip() if at + 1 < len(lines) else ""
            number, function = int(frame["line"][:9]), frame["function"] or ""
            frames.append(Frame(path=frame["path"], line=number, function=function, code=code[:200]))
        match = None if frame else EXCEPTION.match(line)
        if match:
            last = _message_end(lines, at + 1)
            more = [lines[after].removeprefix(prefix) for after in range(at + 1, last)]
            message = "\n".join([match["message"] or "", *more]).strip()
            return Raised(name=match["name"], message=message, first=at, last=last, frames=tuple(frames))
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
        and not OTHERS.match(line)
    )


def _is_linked(lines: Sequence[str], end: int, start: int) -> bool:
    """Whether what stands between two exceptions says that they belong together."""
    if "Original Traceback" in lines[start]:
        return True
    between = [line for line in lines[end:start] if line.strip()]
    return 0 < len(between) <= 2 and any(CHAIN_MARKER.match(line) for line in between)
