"""Exceptions as Python, notebooks and rich print them: where they were raised, what they say, what led to them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_MESSAGE_LINES = 25
# Most lines that a traceback has between its header and the exception.
_MAX_TRACEBACK_LINES = 400
# A frame of a notebook shows so many lines at most before the next.
MAX_FRAME_LINES = 12

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
FRAME = re.compile(r"^\s*File \"(?P<path>[^\"]+)\", line (?P<line>\d+)(?:, in (?P<function>.+))?")
# The same where rich draws the traceback in a box.
BOXED_FRAME = re.compile(r"^│ (?P<path>\S.{0,300}\.py):(?P<line>\d+) in (?P<function>\S+) +│$")
# The same in notebooks: "File /x/y.py:525, in f(self)", "Cell In[7], line 12", "/x/y.py in f(args)" and its arrow.
_BOXED_CODE = re.compile(r"^│ ❱ *\d+ (?:│ *)*(?P<code>.*?) *│$")
_CELL_FRAME = re.compile(
    r"^(?:File )?(?P<path>(?:/|[A-Za-z]:\\)\S{1,300}\.py)(?::(?P<line>\d+))?,? in (?P<function>[\w.<>]+)\("
    r"|^(?P<cell>Cell In ?\[\d+\]), line (?P<line2>\d+)|^(?P<cell2><ipython-input-\S+>) in "
)
_ARROW = re.compile(r"^-{1,6}> ?(?P<line>\d+) (?P<code>.*)")
# What programs that start a trainer raise when it has failed.
_ENDED_WITH_CODE = re.compile(
    r"(?i)\b(?:train\w*|(?:sub)?process|script|command|job|child|worker|run)\b.{0,80}"
    r"\b(?:failed|exited|ended|finished) with (?:an? )?(?:exit |return |error )?(?:code|status) -?\d+\W*$"
)
# The hub's answers: what they mean stands in a paragraph of its own.
HAS_PARAGRAPH = re.compile(r"\(Request ID: [^)]*\)$")
# What follows an exception and is none of its message: machines, launchers and shells speaking.
OTHERS = re.compile(
    r"slurmstepd: |srun: |\w+: Job step aborted|\[\s*\d+\.\d{6}\] |kernel: |wandb: |mpirun|mpiexec|-{20,}$|={20,}$"
    r"|(?:\S*sh: )?(?:line \d+: +\d+ )?(?:Killed|Terminated|Aborted|Segmentation fault|Bus error)\b|Command exited"
    r"|\+-|Exited with|\S+ exited with code"
    r"|Exception ignored in|\w+@[\w.-]+[:#$~]|\(\w[\w.-]*\) \S+[$#>]|make: \*\*\*|error: Recipe |NVRM: "
    r"|Press any key|(?:.*: )?(?:command )?not found$|Out of memory: Killed|Saving |saving |Epoch |epoch |steps: "
    r"|\d\d:\d\d:\d\d|\[?[EWI]\d{4} |\S.{0,300}:\d+: \w*Warning: "
)
# A traceback that Python prints and goes on after, or that a thread or a clean-up at the end prints.
IGNORED = re.compile(
    r"^(?:Exception ignored in|Exception in thread|--- Logging error ---|Error in atexit|Error in sys\.excepthook"
    r"|Task exception was never retrieved|Future exception was never retrieved|Exception in callback)"
)


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
    frames: tuple[Frame, ...] = ()

    @property
    def text(self) -> str:
        """As Python prints it."""
        return f"{self.name}: {self.message}" if self.message else self.name

    @property
    def is_wrapper(self) -> bool:
        """Whether it only says that another process failed."""
        is_launchers = self.name.rpartition(".")[2] in {"CalledProcessError", "ChildFailedError", "SystemExit"}
        return is_launchers or bool(_ENDED_WITH_CODE.search(self.message.partition("\n")[0][:300]))

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
    is_of_thread: bool = False

    @property
    def final(self) -> Raised:
        """What reached the top."""
        return self.raised[-1]


def read_chains(lines: Sequence[str]) -> Iterator[Chain]:
    raised: list[Raised] = []
    first = index = 0
    has_traceback = False
    before = ""
    while index < len(lines):
        header = HEADER.search(lines[index]) if "Traceback" in lines[index] else None
        found = _read_raised(lines, index, header) if header or BARE_EXCEPTION.match(lines[index]) else None
        if found is None:
            index += 1
            continue
        if raised and not _is_linked(lines, raised[-1].last, index):
            yield _chain(raised, first, has_traceback, before)
            raised, has_traceback = [], False
        if not raised:
            first, before = index, lines[index - 1] if index else ""
        raised.append(found)
        has_traceback = has_traceback or header is not None
        index = found.last
    if raised:
        yield _chain(raised, first, has_traceback, before)


def _chain(raised: list[Raised], first: int, has_traceback: bool, before: str) -> Chain:
    return Chain(
        raised=tuple(raised),
        first=first,
        last=raised[-1].last,
        has_traceback=has_traceback,
        is_ignored=bool(IGNORED.match(before)),
        is_of_thread=before.startswith("Exception in thread"),
    )


def _read_raised(lines: Sequence[str], index: int, header: re.Match[str] | None) -> Raised | None:
    """The exception that a traceback starting at ``index`` ends with, or that stands there by itself."""
    prefix = lines[index][: header.start()] if header else ""
    if prefix.rstrip().endswith("Original"):
        prefix = ""
    at = index + 1 if header else index
    frames: list[Frame] = [] if header else _frames_above(lines, index)
    while at < min(len(lines), index + _MAX_TRACEBACK_LINES):
        line = lines[at].removeprefix(prefix)
        frame = frame_at([each.removeprefix(prefix) for each in lines[at : at + MAX_FRAME_LINES]])
        if frame:
            frames.append(frame)
        match = None if frame else EXCEPTION.match(line)
        if match:
            last = message_end(lines, at + 1)
            more = [lines[after].removeprefix(prefix) for after in range(at + 1, last)]
            message = "\n".join([match["message"] or "", *more]).strip()
            return Raised(name=match["name"], message=message, first=at, last=last, frames=tuple(frames))
        if HEADER.search(line):
            return None
        at += 1
    return None


def frame_at(lines: Sequence[str]) -> Frame | None:
    """The place that the first of these lines names."""
    boxed = BOXED_FRAME.match(lines[0])
    if match := FRAME.match(lines[0]) or boxed:
        code = lines[1].strip()[:200] if len(lines) > 1 else ""
        if boxed:
            code = next((found["code"] for line in lines[1:] if (found := _BOXED_CODE.match(line))), "")
        return Frame(path=match["path"], line=int(match["line"][:9]), function=match["function"] or "", code=code)
    cell = _CELL_FRAME.match(lines[0])
    if cell is None:
        return None
    arrow = next((found for line in lines[1:] if (found := _ARROW.match(line))), None)
    number = cell["line"] or cell["line2"] or (arrow["line"] if arrow else "0")
    return Frame(
        path=cell["path"] or "<cell>",
        line=int(number[:9]),
        function=(cell["function"] or "").rpartition(".")[2],
        code=arrow["code"].strip()[:200] if arrow else "",
    )


def _frames_above(lines: Sequence[str], index: int) -> list[Frame]:
    """Where Python shows the code that it cannot read: the lines just above a SyntaxError without a traceback."""
    found = [FRAME.match(line) for line in lines[max(0, index - 4) : index]]
    return [Frame(path=match["path"], line=int(match["line"][:9])) for match in found if match][-1:]


def message_end(lines: Sequence[str], start: int) -> int:
    """Where a message ends whose first line is the one before ``start``."""
    end = start
    if HAS_PARAGRAPH.search(lines[start - 1][-100:]) and end + 1 < len(lines) and not lines[end].strip():
        end += 1
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
