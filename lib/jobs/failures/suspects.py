"""Which places of a log may be the cause, and which of them is: what reached the top last."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lib.jobs.failures.causes import ECHOES, Cause, Finding
from lib.jobs.failures.cut_off import open_traceback
from lib.jobs.failures.evidence import BAD_LEVELS, Entry, LogEnd
from lib.jobs.failures.rules import HARMLESS, REPORTED, SURVIVED, classify, classify_line
from lib.jobs.failures.structure import guess, phase_of_frames
from lib.jobs.failures.tracebacks import Chain, Frame

# A traceback this far above another one is most likely a survived one.
FAR_LINES = 200
# After so many lines of the program a line that only may be a failure was context.
CONTEXT_LINES = 5
# What a trainer says of a failure that it goes on after.
_LIVED = re.compile(
    r"(?i)[,;:.(-] *(?:so )?(?:it (?:is|was) )?(?:skipp(?:ed|ing)|ignor(?:ed|ing)|retrying|entering retry|will retry"
    r"|continuing|proceeding without|falling back|not logging|using \w[\w ]{0,30} instead)\b"
)
# Causes that trainers live without when an exception tells of them and another follows.
_SURVIVABLE = frozenset(
    {
        Cause.MISSING_TRAINER,
        Cause.MISSING_FILE,
        Cause.NETWORK,
        Cause.MISSING_LOGIN,
        Cause.PERMISSION_DENIED,
        Cause.CORRUPT_IMAGE,
        Cause.IMPORT_ERROR,
    }
)
# What a machine says of the end of a program: it outweighs what the program itself said before.
_MACHINE = frozenset({Cause.OUT_OF_MEMORY, Cause.TIMEOUT, Cause.KILLED, Cause.DISK_FULL, Cause.INTERRUPTED})
# Exceptions that tell of another process' end or of a lost partner.
_ECHO = re.compile(
    r"^(?:[\w.]+\.)?(?:BrokenPipeError|ConnectionResetError|EOFError|ProcessExitedException|ProcessRaisedException"
    r"|DistBackendError|WorkerCrashedError|RayTaskError|RayActorError|ActorDiedError|TaskError|SignalException)\b"
    r"|Connection (?:closed|reset) by peer|NCCL (?:error|communicator)|Broken pipe|returned non-zero exit status"
    r"|Non-zero exit code|Some (?:NCCL|workers)|exited unexpectedly|died with <Signals|Process \d+ terminated with"
)
# What is printed behind a failure and says nothing new: C++ frames, torchrun ending the other processes, the rest of
# what a Windows shell says of a program that it does not find.
_NATIVE = re.compile(
    r"frame #\d+: |Exception raised from |[WE]\d{4} |operable program|\+ |At \S+:\d+ char:"
    r"|(?:Current t|T)hread 0x|File \"|Extension modules: |wandb: |={20,}$|-{20,}$|Result:$|- \d+ (?:completed|failure)"
    r"|(?:slurmstepd|srun): |Press any key|\[ERROR\] \[launch\.py:"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A place of the log that may be the cause; ``finding`` is None when no rule knows it.

    ``is_sure`` is whether the program ended there, and said so itself.
    """

    line: int
    finding: Finding | None
    chain: Chain | None = None
    entry: Entry | None = None
    is_sure: bool = True

    @property
    def cause(self) -> Cause:
        """What a rule says of it."""
        return self.finding.rule.cause if self.finding else Cause.UNKNOWN

    @property
    def is_echo(self) -> bool:
        """Whether it tells of the end of another process, or of a partner that was lost."""
        if self.chain is None:
            return self.cause in ECHOES
        return self.chain.final.is_wrapper or bool(_ECHO.search(self.chain.final.text[:2_000]))


def prime_suspect(log: LogEnd, *, has_failed: bool = False) -> Suspect | None:
    """What reached the top last; an earlier place only where the last one is an echo of it.

    Args:
        log: The end of the log.
        has_failed: Whether it is known that the training failed: then the exception of a thread may be the reason,
            where nothing else is.
    """
    suspects = sorted(_suspects(log), key=lambda each: each.line)
    if not suspects:
        return _thread_suspect(log) if has_failed else None
    near = [each for each in suspects if suspects[-1].line - each.line <= FAR_LINES]
    raised = [each for each in near if each.chain]
    reported = [each for each in near if each.entry and each.finding]
    if not raised:
        strong = [each for each in reported if not each.is_echo]
        return (strong or reported or near)[-1]
    own = [each for each in raised if not each.is_echo]
    last = (own or raised)[-1]
    # A line of a shell may begin like an exception; without a traceback, what is known and follows tells more.
    is_bare = last.chain is not None and not last.chain.has_traceback and last.finding is None
    spoken = [each for each in reported if each.line > last.line and (is_bare or _is_machine(each))]
    if spoken and spoken[-1].cause is not last.cause:
        return spoken[-1]
    if not own:
        strong = [each for each in reported if not each.is_echo]
        known = [each for each in raised if each.finding]
        return (strong or known or raised)[-1]
    # The same program may say better than its exception what happened, in the lines before it.
    told = [each for each in reported if last.line - FAR_LINES / 10 <= each.line < last.line and not each.is_echo]
    return told[-1] if told and last.finding is None and _is_echoed(told[-1], last) else last


def _thread_suspect(log: LogEnd) -> Suspect | None:
    chain = log.chains[-1] if log.chains else None
    if chain is None or not chain.is_of_thread or log.moved_on(chain.last - 1):
        return None
    return Suspect(line=chain.last - 1, finding=_classify_chain(chain), chain=chain, is_sure=False)


def last_report(log: LogEnd) -> Entry | None:
    """The last line marked as an error, whatever was said after it: no cause, but worth a look."""
    return next((each for each in reversed(log.entries) if _is_marked(each) and not log.moved_on(each.first)), None)


def _is_marked(entry: Entry) -> bool:
    is_error = entry.level in BAD_LEVELS or (not entry.level and bool(REPORTED.match(entry.text)))
    return is_error and not HARMLESS.match(entry.text) and not _LIVED.search(entry.text[:2_000])


def _is_machine(suspect: Suspect) -> bool:
    is_line = suspect.entry and not suspect.entry.level and classify_line(suspect.entry.text)
    return bool(is_line) and suspect.cause in _MACHINE


def _is_echoed(entry: Suspect, raised: Suspect) -> bool:
    """Whether an exception only repeats that a line before it told of a failure: "OOM 3 times in a row, aborting"."""
    said = raised.chain.final.message if raised.chain else ""
    return bool(entry.entry) and len(said.split()) < 3 and entry.cause in {Cause.OUT_OF_MEMORY, Cause.NAN_LOSS}


def _suspects(log: LogEnd) -> Iterator[Suspect]:
    inside: set[int] = set()
    cut = open_traceback(log)
    end = cut[0] if cut else None
    for chain in log.chains:
        inside.update(range(chain.first, chain.last))
        finding = _classify_chain(chain)
        is_telling = (finding or not chain.final.is_wrapper) and not chain.is_ignored
        # Trainers go on when sampling failed, so there one step more is enough to tell that they did.
        moved_on = log.moved_on(chain.last - 1, by=1 if phase_of_frames(frames_of(chain)) == "sampling" else 2)
        if is_telling and not SURVIVED.match(chain.final.text) and not moved_on:
            is_last = _lines_after(log, chain.last, end) <= CONTEXT_LINES
            yield Suspect(line=chain.last - 1, finding=finding, chain=chain, is_sure=is_last)
    for entry in log.entries:
        if entry.first in inside:
            continue
        is_report, finding = _classify_entry(entry)
        if not is_report or log.moved_on(entry.first):
            continue
        suspect = Suspect(line=entry.first, finding=finding, entry=entry)
        if _is_machine(suspect):
            yield suspect
        elif _may_be_last(log, suspect, entry, end):
            yield replace(suspect, is_sure=_lines_after(log, entry.last) <= 1)


def _may_be_last(log: LogEnd, suspect: Suspect, entry: Entry, end: int | None) -> bool:
    """Whether a reported failure may have ended the program, which said little or nothing after it.

    ``end`` is the line of a traceback that the log ends in.
    """
    if _LIVED.search(entry.text[:2_000]):
        return False
    # A shell that misses the program itself starts nothing that could speak.
    return _lines_after(log, entry.last, end) <= (0 if suspect.cause is Cause.MISSING_TRAINER else CONTEXT_LINES)


def _lines_after(log: LogEnd, line: int, end: int | None = None) -> int:
    """How many lines the program itself said after a place, up to line ``end``; a launcher has the last word."""
    ends = [
        chain.first for chain in log.chains if chain.first >= line and all(each.is_wrapper for each in chain.raised)
    ]
    return sum(
        bool(text.strip()) and not _NATIVE.match(text.strip()) for text in log.lines[line : min(ends, default=end)]
    )


def _classify_chain(chain: Chain) -> Finding | None:
    """What reached the top counts first; where it says nothing, what led to it."""
    for raised in reversed(chain.raised):
        finding = None if raised.is_wrapper or raised.is_key else classify(raised.text)
        if finding is None or raised is chain.final:
            if finding:
                return finding
            continue
        is_silent = chain.final.is_wrapper or not chain.final.message
        if finding.rule.cause not in _SURVIVABLE or is_silent or _is_caused(chain):
            return replace(finding, is_sure=finding.is_sure and is_silent)
    return None


def _is_caused(chain: Chain) -> bool:
    """Whether what reached the top says less than what led to it, and nothing of its own."""
    return guess(chain.final, "", did_step=False).cause is Cause.UNKNOWN


def _classify_entry(entry: Entry) -> tuple[bool, Finding | None]:
    """Whether a line reports a failure, and which."""
    if HARMLESS.match(entry.text):
        return False, None
    if entry.level in BAD_LEVELS:
        return True, classify(entry.text)
    if entry.level:
        return False, None
    if finding := classify_line(entry.text):
        return True, finding
    if REPORTED.match(entry.text):
        return True, classify(entry.text) or _bad_argument(entry.text)
    return False, None


def _bad_argument(text: str) -> Finding | None:
    """What a command-line parser refuses, whatever it says."""
    problem = re.match(r"^(?:[\w./\\-]+\.py|accelerate[ <>\w\[\]-]*|torchrun): error: (.+)", text)
    return classify(f"argument --: {problem[1]}") if problem else None


def frames_of(chain: Chain) -> tuple[Frame, ...]:
    """The places that the tracebacks of a chain name."""
    return tuple(frame for raised in chain.raised for frame in raised.frames)
