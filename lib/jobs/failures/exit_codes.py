"""Exit codes that stand for more than success or failure: signals, and what Windows puts into them."""

import re
import signal

from lib.jobs.failures.causes import Cause

# As Windows names them: NTSTATUS, 32 bits without a sign.
WINDOWS = {
    0xC0000005: (Cause.KILLED, "it read or wrote memory that is not its own (access violation)"),
    0xC000001D: (Cause.KILLED, "the processor does not know an instruction of a library"),
    0xC00000FD: (Cause.KILLED, "its stack overflowed"),
    0xC0000374: (Cause.KILLED, "its memory was damaged (heap corruption)"),
    0xC0000409: (Cause.KILLED, "a library stopped it (stack buffer overrun)"),
    0xC0000094: (Cause.KILLED, "a library divided by zero"),
    0xC0000142: (Cause.IMPORT_ERROR, "a library could not be started"),
    0xC0000135: (Cause.IMPORT_ERROR, "a library that it needs is missing"),
    0xC0000139: (Cause.IMPORT_ERROR, "a library that it needs has another version"),
    0xC000007B: (Cause.IMPORT_ERROR, "a library is built for another kind of system"),
    0xC0000017: (Cause.OUT_OF_MEMORY, "the machine ran out of memory"),
    0xC000012D: (Cause.OUT_OF_MEMORY, "the machine ran out of memory: the paging file is too small"),
    0xC000013A: (Cause.INTERRUPTED, "somebody pressed Ctrl+C or closed the window"),
    0x40010004: (Cause.INTERRUPTED, "somebody ended it, or the machine was shut down"),
}


# How launchers, shells, containers and service managers say how a program ended.
_STATED = re.compile(
    r"(?i)\b(?:process (?:finished|completed|exited)|exited|terminated|command exited|job exited)"
    r" with (?:non-zero )?(?:exit )?(?:code|status):? ?(?P<code>-?\d{1,10})\b"
    r"|(?:\breturned non-zero exit status |^exitcode *: )(?P<status>\d{1,3})\b"
    r"|\bMain process exited, code=(?:killed|dumped), status=(?P<signal>\d{1,3})/"
)


def code_in(text: str) -> int | None:
    """The exit code that a line states; a shell's (128 + number) for a signal."""
    match = _STATED.search(text)
    if match is None:
        return None
    if code := match["code"] or match["status"]:
        return int(code)
    return 128 + int(match["signal"])


def windows_status(exit_code: int | None) -> int | None:
    """The Windows status behind an exit code, with or without its sign; None for an ordinary code."""
    if exit_code is None or -256 <= exit_code <= 255:
        return None
    status = exit_code & 0xFFFFFFFF
    return status if status in WINDOWS or status >= 0xC0000000 else None


def windows_sentence(status: int) -> tuple[Cause, str]:
    """Cause and sentence of a Windows status."""
    cause, reason = WINDOWS.get(status, (Cause.KILLED, "it crashed inside a library"))
    verb = {Cause.INTERRUPTED: "was interrupted", Cause.OUT_OF_MEMORY: "ended"}.get(cause, "crashed")
    return cause, f"The trainer {verb}: {reason} (Windows exit code {status}, 0x{status:08X})."


def signal_name(number: int) -> str:
    """``SIGKILL``; ``unknown`` for a number that is none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
