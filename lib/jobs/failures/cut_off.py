"""A traceback whose exception is missing, because the log ends within it: it still says where the training broke."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lib.jobs.failures.evidence import LogEnd
from lib.jobs.failures.structure import phase_of, raised_by
from lib.jobs.failures.tracebacks import FRAME, HEADER, LEVEL, MAX_FRAME_LINES, Frame, Raised, frame_at

HINT = (
    "The missing lines name the cause: look at the end of the log where the trainer ran, or run it again in a terminal."
)
# A notebook names the exception at once: "RuntimeError      Traceback (most recent call last)".
_NAMED = re.compile(r"^(?P<name>[A-Za-z_][\w.]{0,80}) {2,}Traceback \(")
# Lines between two frames: the code, and a mark below it.
_GAP_LINES = 3
# What libraries ask of optional ones, and print a traceback of when they go on without.
_OPTIONAL = re.compile(r"_available$")


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """A traceback without its exception, from line ``first`` to the end of the log."""

    first: int
    text: str
    phase: str
    raised_by: str
    message: str


def open_traceback(log: LogEnd) -> tuple[int, tuple[Frame, ...]] | None:
    """Where the traceback begins that the log ends in, and the places that it names.

    None when the log ends otherwise, or when the traceback is of a library that is not needed.
    """
    first = next((at for at in range(len(log.raw) - 1, -1, -1) if HEADER.search(log.raw[at])), _headless(log.raw))
    if first is None or any(chain.last > first for chain in log.chains):
        return None
    lines = log.raw[first + 1 :]
    places = [(at, frame) for at in range(len(lines)) if (frame := frame_at(lines[at : at + MAX_FRAME_LINES]))]
    frames = tuple(frame for _, frame in places)
    last = places[-1][0] if places else 0
    # A bar that went on; one may also have been painted over the end of a frame.
    went_on = any(bar.line > first and not FRAME.match(log.raw[bar.line]) for bar in log.bars)
    if went_on or len(lines) - last > MAX_FRAME_LINES or any(LEVEL.search(line[:80]) for line in lines):
        return None
    return None if frames and _OPTIONAL.search(frames[-1].function) else (first, frames)


def _headless(lines: Sequence[str]) -> int | None:
    """The line above the frames that a log ends in, where it begins within a traceback, too."""
    at = max((at for at, line in enumerate(lines) if line.strip()), default=-1)
    first, count = at + 1, 0
    while at >= 0 and first - at <= _GAP_LINES:
        if FRAME.match(lines[at]):
            first, count = at, count + 1
        at -= 1
    return max(0, first - 1) if count > 1 else None


def cut_off(log: LogEnd) -> CutOff | None:
    """What the traceback tells that the log ends in; None when it ends otherwise."""
    found = open_traceback(log)
    if found is None:
        return None
    first, frames = found
    named = _NAMED.match(log.raw[first])
    name = named["name"] if named else ""
    phase, _ = phase_of(log.text_before(first), frames)
    who = raised_by(Raised(name="", message="", first=first, last=len(log.lines), frames=frames))
    when = f" at {phase}" if phase.startswith("step ") else f" while {phase}"
    place = f" in {who}" if who else ""
    missing = f"the message of the {name} is" if name else "the exception itself is"
    message = f"The training broke{when}{place}; the log ends within the traceback, {missing} not in it."
    return CutOff(
        first=first, text="\n".join(log.lines[first:]).strip("\n"), phase=phase, raised_by=who, message=message
    )
