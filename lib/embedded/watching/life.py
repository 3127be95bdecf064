"""Whether a run that was started elsewhere goes on: told from its files, its processes and its own last words."""

from dataclasses import dataclass

GONE = "The process that wrote it has ended"
SAID = "Its log ends with its last words"
QUIET = "Nothing has been written for a long time, and no process of this machine has its files open"


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeLimits:
    """How long a run must be quiet to count as ended, in seconds.

    Attributes:
        gone_s: Once the process that wrote is gone; its last output may still be on its way.
        said_s: Once its log says that it ended or failed, and nobody is known to write: some failures are survived.
        quiet_s: When nothing else tells. No step of a training takes so long.
    """

    gone_s: float = 3.0
    said_s: float = 60.0
    quiet_s: float = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What is seen of a run.

    Attributes:
        quiet_s: Since the last sign of life in its files.
        has_writer: Whether a process has its files open for writing.
        writer_died: Whether a process that had them open for long has ended.
        says_end: Whether its log says that it ended or failed.
    """

    quiet_s: float
    has_writer: bool = False
    writer_died: bool = False
    says_end: bool = False


def end_of(signs: Signs, limits: LifeLimits) -> str:
    """Why the run counts as ended; empty while it goes on."""
    if signs.has_writer:
        return ""
    if signs.writer_died and signs.quiet_s >= limits.gone_s:
        return GONE
    if signs.says_end and signs.quiet_s >= limits.said_s:
        return SAID
    return QUIET if signs.quiet_s >= limits.quiet_s else ""
