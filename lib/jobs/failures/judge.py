"""Why did it fail: from the end of the log and the exit state to one cause, and the lines that prove it.

Success is exit code 0 **and** at least one LoRA file. What reached the top last is the cause, never a launcher's
``CalledProcessError``; an exception that the training survived is no cause. What no rule knows is called unknown, and
the structure of the traceback says where it broke.
"""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lib.jobs.failures.causes import CERTAIN, CRASH_HINT, ECHOES, HINTS, LIKELY, Cause
from lib.jobs.failures.cut_off import HINT, CutOff, cut_off
from lib.jobs.failures.endings import (
    DIED,
    ENDED_WITH,
    SHELL_WORDS,
    ends,
    says_it_died,
    signal_in_text,
    stated_code,
    windows_in_text,
)
from lib.jobs.failures.evidence import Entry, LogEnd
from lib.jobs.failures.exit_codes import signal_name, windows_sentence, windows_status
from lib.jobs.failures.network import request_of
from lib.jobs.failures.rules import classify
from lib.jobs.failures.structure import guess, phase_of, raised_by, refusal_of, refuses
from lib.jobs.failures.suspects import FAR_LINES, Suspect, frames_of, last_report, prime_suspect
from lib.jobs.failures.tracebacks import Chain, Raised
from lib.jobs.job import Failure, JobStatus

__all__ = ["NAN_LOSS", "NAN_PRINTED", "Cause", "Verdict", "judge", "judge_by_log"]

NAN_LOSS = "nan_loss"
_NOTHING_SAID = (
    "Start it again from a terminal and see what it prints last; a full disk or memory often ends it silently."
)
EXIT_CODE_UNKNOWN = "exit_code_unknown"

MAX_EVIDENCE_LINES = 12
MAX_LINE_LENGTH = 600
# Of a line whose end proves something.
MAX_PROOF_LENGTH = 4_000
# Lines after a survived traceback in a log without bars, when only the log can tell.
SURVIVED_LINES = 50

NAN_PRINTED = re.compile(r"loss['\"]?[=:] *-?(?:nan|inf)\b", re.IGNORECASE)
# What a crash itself says before the signal: the C library, Metal, Python's fault handler, C++.
_CRASH_WORDS = re.compile(
    r"failed assertion|Assertion .{1,300} failed|^(?:malloc|free|realloc|munmap_chunk)\(\): |stack smashing detected"
    r"|^Fatal Python error: |^terminate called|^ *what\(\): |^zsh: (?:abort|segmentation|bus error|killed|illegal)"
)
# ai-toolkit's last words after Ctrl+C; it ends with code 0.
_STOPPED = "Job stopped"
_POLITE = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
# Signals by which a process dies of its own fault, so that the log may say more.
_CRASHES = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})
_SAVED = re.compile(r"\bmodel saved\.$|\b(?:Model weights saved in|Saved checkpoint to|saving checkpoint:) *\S")
# The last words of sd-scripts and diffusers, and of trainers that say it in English.
_FINAL_SAVE = re.compile(
    r"(?:^|\s)model saved\.$|\bModel weights saved in (?!\S*(?:checkpoint-\d+|-state)/)\S+$"
    r"|'train_runtime'['\"]?: |^(?i:training (?:is )?(?:complete|completed|finished|done))[.! ]*$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an attempt ended. ``failure`` is None when it succeeded or was cancelled."""

    status: JobStatus
    failure: Failure | None = None
    alarms: tuple[str, ...] = ()


def judge(
    lines: Sequence[str],
    *,
    exit_code: int | None,
    lora_count: int | None,
    cancelled: bool = False,
    timed_out: bool = False,
    alarms: Sequence[str] = (),
) -> Verdict:
    """How an attempt ended, and why.

    Args:
        lines: The end of the log as a terminal shows it.
        exit_code: As subprocess gives it, so negative for a signal; None when nobody saw the end.
        lora_count: LoRA files written; None when unknown.
        cancelled: Whether a person asked for the end.
        timed_out: Whether the time limit ended it.
        alarms: What the progress parser noticed on the way.
    """
    log = LogEnd.read(lines)
    raised = _with_nan(log, alarms)
    if cancelled:
        return Verdict(status=JobStatus.CANCELLED, alarms=raised)
    if timed_out:
        message = "The training took longer than its time limit and was ended."
        return _failed(_failure(Cause.TIMEOUT, message, evidence=log.last_lines(3)), raised)
    if exit_code is None:
        return _judge_vanished(log, lora_count, raised)
    if exit_code == 0:
        return _judge_exit_zero(log, lora_count, raised)
    return _failed(_explain(log, exit_code), raised)


def judge_by_log(
    lines: Sequence[str], *, lora_count: int | None = None, alarms: Sequence[str] = (), is_whole: bool = False
) -> Verdict:
    """The same from the log alone: RUNNING when nothing in it says that it ended.

    With ``is_whole`` nothing follows: a traceback that lacks its exception is an end, too.
    """
    log = LogEnd.read(lines)
    raised = _with_nan(log, alarms)
    suspect = prime_suspect(log)
    if says_it_died(log) or (suspect and not _was_survived(log, suspect)):
        return _failed(_explain(log, None), raised)
    if _is_finished(log):
        return _judge_exit_zero(log, lora_count, raised)
    if is_whole and cut_off(log):
        return _failed(_explain(log, None), raised)
    return Verdict(status=JobStatus.RUNNING, alarms=raised)


def _failed(failure: Failure, alarms: tuple[str, ...]) -> Verdict:
    return Verdict(status=JobStatus.FAILED, failure=failure, alarms=alarms)


def _with_nan(log: LogEnd, alarms: Sequence[str]) -> tuple[str, ...]:
    seen = any(NAN_PRINTED.search(bar.facts) for bar in log.bars)
    return tuple(dict.fromkeys([*alarms, *([NAN_LOSS] if seen else [])]))


def _judge_exit_zero(log: LogEnd, lora_count: int | None, alarms: tuple[str, ...]) -> Verdict:
    suspect = prime_suspect(log)
    is_stopped = bool(suspect) and _last_words(log) == _STOPPED
    if lora_count and not is_stopped:
        return Verdict(status=JobStatus.SUCCEEDED, alarms=alarms)
    went_well = not is_stopped and _seems_saved(log) and (suspect is None or _was_survived(log, suspect))
    if lora_count is None and not is_stopped and (_is_finished(log) or went_well):
        return Verdict(status=JobStatus.SUCCEEDED, alarms=alarms)
    if suspect and suspect.cause is not Cause.UNKNOWN:
        return _failed(_of_suspect(log, suspect), alarms)
    nothing = "it wrote no LoRA file" if lora_count == 0 else "its log does not show that it saved a LoRA file"
    evidence = _lines_of(log, suspect) if suspect else log.last_lines(5)
    message = f"The trainer ended without an error, but {nothing}."
    return _failed(_failure(Cause.NO_OUTPUT, message, evidence=evidence), alarms)


def _last_words(log: LogEnd) -> str:
    return next((line.strip() for line in reversed(log.lines) if line.strip()), "")


def _judge_vanished(log: LogEnd, lora_count: int | None, alarms: tuple[str, ...]) -> Verdict:
    """Nobody saw the exit code: only what the log proves counts."""
    suspect = prime_suspect(log)
    if says_it_died(log) or (suspect and not _was_survived(log, suspect)):
        return _failed(_explain(log, None), alarms)
    if lora_count and _is_finished(log):
        return Verdict(status=JobStatus.SUCCEEDED, alarms=(*alarms, EXIT_CODE_UNKNOWN))
    message = "The trainer vanished, and nobody saw how it ended."
    lost = _failure(Cause.WORKER_LOST, message, evidence=log.last_lines(3))
    return Verdict(status=JobStatus.LOST, failure=lost, alarms=alarms)


def _explain(log: LogEnd, exit_code: int | None) -> Failure:
    """Why it failed, once it is known that it did."""
    failure = _reason(log, exit_code)
    if failure.phase or failure.cause == Cause.INTERRUPTED:
        return failure
    return replace(failure, phase=phase_of("\n".join(log.raw), ())[0])


def _reason(log: LogEnd, exit_code: int | None) -> Failure:
    suspect = prime_suspect(log, has_failed=True)
    if exit_code is None or suspect is None:
        exit_code = stated_code(log) or exit_code
    status = windows_status(exit_code) or windows_in_text(log)
    if status is not None and (suspect is None or suspect.cause is Cause.UNKNOWN):
        return _of_windows(log, status)
    told = exit_code is None or exit_code >= 0 or windows_status(exit_code) is not None
    number = signal_in_text(log) if told else -(exit_code or 0)
    if number is not None and not _outweighs(log, suspect, number, told=told):
        return _of_signal(log, number, told=told)
    if suspect:
        return _of_suspect(log, suspect)
    if exit_code is not None and exit_code > 128 and exit_code - 128 in {*_POLITE, *_CRASHES, signal.SIGKILL}:
        return _of_signal(log, exit_code - 128, told=False)
    if cut := cut_off(log):
        return _of_cut(log, cut)
    code = "without an exit code" if exit_code is None else f"with exit code {exit_code}"
    message = f"The trainer ended {code}, and its log does not say why: the cause is unknown."
    evidence = log.last_lines(8)
    if (report := last_report(log)) and log.lines[report.first] not in evidence:
        message += f" The last error it reported: {_short(report.text)}"
        evidence = (*_raw(log, report.first, report.last)[:4], *evidence)
    return _failure(Cause.UNKNOWN, message, hint=_NOTHING_SAID, evidence=evidence)


def _of_cut(log: LogEnd, cut: CutOff) -> Failure:
    report = last_report(log)
    said = f" The last error it reported: {_short(report.text)}" if report else ""
    reported = _raw(log, report.first, report.last)[:4] if report else ()
    evidence = (*reported, *_raw(log, cut.first, len(log.lines))[-6:])
    failure = _failure(Cause.UNKNOWN, cut.message + said, hint=HINT, evidence=evidence)
    return replace(failure, traceback=cut.text, phase=cut.phase, raised_by=cut.raised_by)


def _of_windows(log: LogEnd, status: int) -> Failure:
    cause, message = windows_sentence(status)
    hint = CRASH_HINT if cause is Cause.KILLED else ""
    stated = tuple(match[0] for raised in ends(log) if (match := ENDED_WITH.search(raised.text)))
    return _failure(cause, message, hint=hint, evidence=(*log.last_lines(3), *stated[-1:]), confidence=CERTAIN)


def _outweighs(log: LogEnd, suspect: Suspect | None, number: int, *, told: bool) -> bool:
    """Whether the log knows better than the signal.

    A crash has a reason, memory is why the kernel kills, and a launcher ends the other processes politely.
    A trainer that hangs after its last words is often killed by a person.
    """
    if suspect is None or suspect.cause is Cause.UNKNOWN:
        return False
    if number == signal.SIGKILL:
        was_last = suspect.cause not in ECHOES and not any(map(str.strip, log.lines[suspect.line + 1 :]))
        return suspect.cause is Cause.OUT_OF_MEMORY or (was_last and not told)
    ended_by_others = suspect.cause in {Cause.INTERRUPTED, Cause.TIMEOUT}
    return number in _CRASHES or (number in _POLITE and (told or ended_by_others))


def _of_signal(log: LogEnd, number: int, *, told: bool) -> Failure:
    name = signal_name(number)
    proof = [line for line in log.raw if told and (DIED.search(line) or SHELL_WORDS.match(line))]
    words = [line for line in log.lines[-FAR_LINES:] if _CRASH_WORDS.search(line[:MAX_LINE_LENGTH])]
    evidence = tuple(dict.fromkeys([*words[:4], *proof[-3:]])) or log.last_lines(3)
    traceback = _traceback(log, log.chains[-1]) if told and proof and log.chains else ""
    if number in _POLITE:
        message = f"The training was interrupted from outside by signal {number} ({name})."
        return _failure(Cause.INTERRUPTED, message, evidence=evidence, traceback=traceback)
    hint = ""
    reason = ", likely out of memory" if number == signal.SIGKILL else ""
    if number in _CRASHES:
        reason = ": it crashed inside a library"
        hint = CRASH_HINT
    message = f"The trainer was killed by signal {number} ({name}){reason}."
    return _failure(Cause.KILLED, message, hint=hint, evidence=evidence, traceback=traceback)


def _of_suspect(log: LogEnd, suspect: Suspect) -> Failure:
    chain = suspect.chain
    evidence = _lines_of(log, suspect)
    if chain is None:
        failure = _of_rule(log, suspect, evidence) if suspect.finding else _of_report(log, suspect, evidence)
        return replace(failure, raised_by=suspect.entry.source if suspect.entry else "")
    phase, did_step = phase_of(log.text_before(chain.first), frames_of(chain))
    who = raised_by(chain.final)
    if suspect.finding:
        failure = _of_rule(log, suspect, evidence)
    else:
        told = guess(chain.final, phase, did_step=did_step)
        confidence = "" if told.cause is Cause.UNKNOWN else LIKELY
        failure = _failure(told.cause, told.message, hint=told.hint, evidence=evidence, confidence=confidence)
    return replace(failure, traceback=_traceback(log, chain), phase=phase, raised_by=who)


def _of_report(log: LogEnd, suspect: Suspect, evidence: Sequence[str]) -> Failure:
    """A line reported as an error that no rule knows."""
    said = suspect.entry.text if suspect.entry else ""
    _, did_step = phase_of("\n".join(log.raw[: suspect.line]), ())
    cause, confidence = (Cause.UNKNOWN, "") if did_step or not refuses(said) else (refusal_of(said), LIKELY)
    message = f"The trainer stopped with an error: {_short(said)}"
    return _failure(cause, message, evidence=evidence, confidence=confidence)


def _of_rule(log: LogEnd, suspect: Suspect, evidence: tuple[str, ...]) -> Failure:
    finding, chain = suspect.finding, suspect.chain
    assert finding is not None
    rule = finding.rule
    named = _file_before(log, suspect)
    message, hint, cause = finding.sentence(named[0] if named else ""), rule.hint, rule.cause
    if named and "file" not in finding.facts:
        evidence = (*_raw(log, named[1].first, named[1].last), *evidence)
    if chain and cause is Cause.MISSING_MODEL and (reason := _unreachable(chain)):
        hint = f"{HINTS[cause]} {reason}"
    if cause is Cause.NETWORK and not rule.hint:
        text = suspect.entry.text if suspect.entry else ""
        raised = chain.final if chain else Raised(name="", message=text, first=0, last=0)
        request = request_of(_telling(chain) or raised, _traceback(log, chain) if chain else text)
        message, hint, cause = request.sentence, request.hint, request.cause
        if request.direction == "upload" and _seems_saved(log):
            message = f"The LoRA was saved. {message}"
    confidence = CERTAIN if suspect.is_sure and finding.is_sure else LIKELY
    return _failure(cause, message, hint=hint, evidence=evidence, confidence=confidence)


def _telling(chain: Chain | None) -> Raised | None:
    """The exception of a chain that a rule knows."""
    return next((each for each in reversed(chain.raised) if classify(each.text)), None) if chain else None


def _unreachable(chain: Chain) -> str:
    findings = (classify(raised.text) for raised in chain.raised)
    return next((each.sentence() for each in findings if each and each.rule.cause is Cause.NETWORK), "")


def _file_before(log: LogEnd, suspect: Suspect) -> tuple[str, Entry] | None:
    """The file that the last error line before the exception names."""
    pattern = suspect.finding.rule.file_before if suspect.finding else None
    start = suspect.chain.first if suspect.chain else suspect.line
    if pattern is None:
        return None
    for entry in reversed([each for each in log.entries if each.first < start][-20:]):
        if match := pattern.search(entry.text):
            return match["file"].strip(), entry
    return None


def _lines_of(log: LogEnd, suspect: Suspect) -> tuple[str, ...]:
    if suspect.chain is None:
        return _raw(log, suspect.entry.first, suspect.entry.last) if suspect.entry else ()
    before = suspect.chain.raised[:-1]
    telling = [each for each in before if classify(each.text)] if suspect.finding else before
    lines: list[str] = []
    for raised in [*telling[-2:], suspect.chain.final]:
        lines += _raw(log, raised.first, min(raised.last, raised.first + 4))
    return tuple(lines)


def _raw(log: LogEnd, first: int, last: int) -> tuple[str, ...]:
    return tuple(line for line in log.lines[first:last] if line.strip())


def _traceback(log: LogEnd, chain: Chain) -> str:
    return "\n".join(log.lines[chain.first : chain.last]).strip("\n") if chain.has_traceback else ""


def _failure(
    cause: Cause,
    message: str,
    *,
    hint: str = "",
    evidence: Sequence[str] = (),
    traceback: str = "",
    confidence: str | None = None,
) -> Failure:
    return Failure(
        cause=cause.value,
        message=message,
        hint=hint or HINTS[cause],
        evidence=tuple(_excerpt(line) for line in evidence[:MAX_EVIDENCE_LINES]),
        traceback=traceback,
        confidence=("" if cause is Cause.UNKNOWN else CERTAIN) if confidence is None else confidence,
    )


def _excerpt(line: str) -> str:
    """A long line from its beginning, to where it proves something: a command line stands before "died with SIGKILL".

    Of one that is longer still the middle is left out.
    """
    died = DIED.search(line, MAX_LINE_LENGTH)
    if died is None or died.end() <= MAX_LINE_LENGTH:
        return line[:MAX_LINE_LENGTH]
    end = line[died.start() : died.start() + MAX_LINE_LENGTH // 2]
    is_whole = died.start() + len(end) <= MAX_PROOF_LENGTH
    return line[: died.start()] + end if is_whole else f"{line[: MAX_PROOF_LENGTH - len(end) - 5]} […] {end}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"


def _is_finished(log: LogEnd, after: int = -1) -> bool:
    """Whether the log shows, below line ``after``, that the training came to its end."""
    texts = [entry.text for entry in log.entries if entry.first > after]
    if any(_FINAL_SAVE.search(text) for text in texts):
        return True
    # ai-toolkit says no last word.
    return _ends_full(log) and any(text.startswith("Saved checkpoint to") for text in texts)


def _ends_full(log: LogEnd) -> bool:
    named = [bar for bar in log.bars if bar.name]
    return bool(named) and named[-1].done >= named[-1].total > 0


def _seems_saved(log: LogEnd) -> bool:
    return _ends_full(log) or any(_SAVED.search(entry.text) for entry in log.entries)


def _was_survived(log: LogEnd, suspect: Suspect) -> bool:
    """Whether the log went on long after the suspect, or to a good end."""
    after = log.lines[suspect.line + 1 :]
    return _is_finished(log, suspect.line) or sum(bool(line.strip()) for line in after) > SURVIVED_LINES
