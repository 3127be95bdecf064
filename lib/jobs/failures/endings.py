"""What a log says of how the program ended: the signal or exit code that a shell, a launcher or a machine states."""

import re

from lib.jobs.failures.evidence import LogEnd
from lib.jobs.failures.exit_codes import code_in, windows_status
from lib.jobs.failures.tracebacks import Raised

# What is looked at of a line.
_MAX_LINE = 600
# Lines from the end in which a signal may be stated.
_LAST_LINES = 200
# Within so many lines from the end somebody states how the program ended.
_END_LINES = 12
DIED = re.compile(
    r"died with <Signals\.SIG\w+: (\d+)>|\bSignal (\d+) \(SIG\w+\) received"
    r"|(?:exitcode *:|exits with return code =) *-(\d+)\b"
    r"|is killed by signal: (Killed|Terminated|Bus error|Segmentation fault|Aborted)"
)
SHELL_WORDS = re.compile(
    r"^(?:\S*sh: )?(?:line \d+: +\d+ )?(Killed|Terminated|Bus error|Segmentation fault|Aborted)"
    r"(?: *\(core dumped\))?(?: {2,}.*)?$"
)
ENDED_WITH = re.compile(r"(?:exit (?:status|code)|return code =) (-?\d{8,11})\b")
_SIGNAL_OF_WORD = {"Killed": 9, "Terminated": 15, "Bus error": 7, "Segmentation fault": 11, "Aborted": 6}


def ends(log: LogEnd) -> list[Raised]:
    """What launchers say of the end of the trainer."""
    return [chain.final for chain in log.chains if chain.final.is_wrapper]


def windows_in_text(log: LogEnd) -> int | None:
    """The Windows status that a launcher reports."""
    codes = [match[1] for raised in ends(log) if (match := ENDED_WITH.search(raised.text[-_MAX_LINE:]))]
    return windows_status(int(codes[-1])) if codes else None


def says_it_died(log: LogEnd) -> bool:
    return any(found is not None for found in (signal_in_text(log), windows_in_text(log), stated_code(log)))


def stated_code(log: LogEnd) -> int | None:
    """The exit code that a launcher, a shell or a service manager states at the end of the log, other than 0."""
    for entry in reversed(log.entries[-_END_LINES:]):
        # Behind a command line, which may be long.
        code = code_in(entry.text[:_MAX_LINE]) or code_in(entry.text[-_MAX_LINE // 3 :])
        if code and not log.moved_on(entry.first):
            return code
    return None


def signal_in_text(log: LogEnd) -> int | None:
    """The signal that the log says a process died of, when nothing went on after it."""
    for entry in reversed(log.entries[-_LAST_LINES:]):
        text = entry.text[:200] + entry.text[-200:]
        match = DIED.search(text)
        if match is None and entry.level not in {"INFO", "WARNING", "WARN", "DEBUG"}:
            match = SHELL_WORDS.match(entry.text)
        # Who is killed paints no bar any more, who is reported as killed may have had partners.
        if match and not log.moved_on(entry.first, by=1 if match.re is SHELL_WORDS else 2):
            word = next(group for group in match.groups() if group)
            return _SIGNAL_OF_WORD.get(word) or int(word[:4])
    return None
