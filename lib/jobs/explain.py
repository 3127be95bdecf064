"""Explains any trainer's log on the command line: ``python -m lib.jobs.explain LOG``, one JSON object.

How far it came, how it ended, why, and the lines that prove it. LOG may be of any size, or the folder of a job's
attempt; ``-`` reads the standard input.
"""

import argparse
import contextlib
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

from lib.artifacts.lora.file import is_lora_file
from lib.jobs.artifact_names import LORA_KINDS, describe_file
from lib.jobs.failures.causes import HINTS, Cause
from lib.jobs.failures.judge import Verdict, judge, judge_by_log
from lib.jobs.job import Failure, JobStatus, Progress, Stage
from lib.jobs.logs.binary import is_binary
from lib.jobs.logs.normalise import Unwrapper
from lib.jobs.logs.progress import ProgressParser
from lib.jobs.logs.resume import STATE_FILE, resumed_step
from lib.jobs.logs.terminal import Terminal
from lib.jobs.logs.tqdm_bar import parse_frame
from lib.jobs.words import count_text

CHUNK_BYTES = 1 << 20
TAIL_LINES = 2_000
PACE_BYTES = 1 << 18
PACE_FRAMES = 50
# Names in the folder of a job's attempt.
LOG_NAME = "log"
EXIT_NAME = "exit.json"

_CANCELLED = Failure(
    cause=Cause.INTERRUPTED, message="The training was cancelled by a person.", hint=HINTS[Cause.INTERRUPTED]
)


class NotALog(ValueError):
    """There is nothing to explain; says why in one plain sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the trainer ended, as far as somebody saw it; ``exit_code`` as subprocess gives it."""

    exit_code: int | None = None
    cancelled: bool = False
    timed_out: bool = False
    start_error: str = ""

    @property
    def is_known(self) -> bool:
        """Whether anybody saw an end; else the log alone has to tell."""
        return self != Ended()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0 when log and folder could be read, whatever they say, and 2 when not."""
    options = _parser().parse_args(arguments)
    try:
        report = _explain_named(options.log, options.exit_code, options.output)
    except NotALog as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{options.log} cannot be read: {error.strerror or error}.", file=sys.stderr)
        return 2
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    with contextlib.suppress(BrokenPipeError):  # whoever reads has seen enough
        print(json.dumps(report, ensure_ascii=not is_utf8, indent=2, allow_nan=False), flush=True)
    return 0


def explain_log(log: BinaryIO, ended: Ended, output: Path | None) -> dict[str, Any]:
    """The report of a log as JSON values.

    Args:
        log: Raw bytes, read to the end.
        ended: What is known of the end besides the log.
        output: Where the trainer wrote; None: unknown.

    Raises:
        NotALog: It holds something else, or nothing at all.
    """
    parser, terminal, unwrapper, head, tail = ProgressParser(), Terminal(keep_lines=TAIL_LINES), Unwrapper(), b"", b""
    for chunk in _chunks(log):
        plain = unwrapper.feed(chunk)
        terminal.feed(plain)
        # A file has no times; the pace comes from the bars themselves.
        parser.feed(plain, None)
        head = head or plain[:PACE_BYTES]
        tail = (tail + plain)[-PACE_BYTES:]
    terminal.feed(unwrapper.flush())
    parser.finish()
    if is_binary(head) or is_binary(tail):
        raise NotALog("This is no log: it holds binary data, not text.")
    if not tail.strip(b"\0 \r\n\t") and not ended.is_known:
        raise NotALog("The log is empty: it cannot tell anything. With --exit-code there would be a little to say.")
    if parser.resume_state and (offset := resumed_step(_states(parser.resume_state, output), parser.progress)):
        parser.resume_from(offset)
    lora_count = None if output is None else count_loras(output)
    verdict = _judge(terminal.lines, ended, lora_count, tuple(parser.alarms))
    return _report(verdict, parser.progress, printed_pace(tail) or parser.progress.seconds_per_step, lora_count)


def read_ended(path: Path) -> Ended:
    """What the supervisor of a job wrote down beside its log; nothing when there is no such file."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return Ended()
    code = values.get("exit_code") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(code, int | None):
        return Ended()
    return Ended(
        exit_code=code,
        cancelled=values.get("cancelled") is True,
        timed_out=values.get("timed_out") is True,
        start_error=str(values.get("start_error") or ""),
    )


def count_loras(output: Path) -> int:
    """How many whole LoRA files are below a folder, by content; a ``*-state`` folder holds none, although it looks so.

    Raises:
        OSError: One of them cannot be read.
    """
    named = (path for path in output.rglob("*") if path.is_file())
    return sum(
        describe_file(path.relative_to(output).as_posix()).kind in LORA_KINDS and is_lora_file(path) for path in named
    )


def printed_pace(tail: bytes) -> float | None:
    """Seconds per step: the median of the rates that the last frames of the training bar print."""
    seconds = []
    for frame in re.split(rb"[\r\n]", tail):
        bar = parse_frame(frame) if b"loss" in frame and b"%" in frame else None
        if bar and (value := bar.seconds_per_step):
            seconds.append(value)
    return median(seconds[-PACE_FRAMES:]) if seconds else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lib.jobs.explain", description="Explains the log of a LoRA training as one JSON object."
    )
    parser.add_argument("log", metavar="LOG", help="the log file, or the folder of a job's attempt; - reads the input")
    parser.add_argument(
        "--exit-code", type=int, metavar="N", help="how the trainer ended; -N is signal N (default: exit.json's)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="the folder the trainer wrote to")
    return parser


def _explain_named(name: str, exit_code: int | None, output: Path | None) -> dict[str, Any]:
    if output is not None and not output.is_dir():
        raise NotALog(f"{output} cannot be looked through: there is no such folder.")
    given = Ended(exit_code=exit_code)
    if name == "-":
        return explain_log(sys.stdin.buffer, given, output)
    path = Path(name)
    if path.is_dir():
        path /= LOG_NAME
        if not path.is_file():
            raise NotALog(f"The folder {name} holds no log: there is no file named {LOG_NAME!r} in it.")
    if not path.exists():
        raise NotALog(f"{name} cannot be read: there is no such file.")
    ended = given if given.is_known else read_ended(path.with_name(EXIT_NAME))
    try:
        with path.open("rb") as log:
            return explain_log(log, ended, output)
    except NotALog as error:
        raise NotALog(f"{name}: {error}") from None


def _judge(lines: Sequence[str], ended: Ended, lora_count: int | None, alarms: Sequence[str]) -> Verdict:
    if not ended.is_known:
        return judge_by_log(lines, lora_count=lora_count, alarms=alarms, is_whole=True)
    if ended.start_error:
        message = f"The trainer could not be started: {ended.start_error}."
        hint = HINTS[Cause.MISSING_TRAINER]
        failure = Failure(cause=Cause.MISSING_TRAINER, message=message, hint=hint, evidence=tuple(lines[-3:]))
        return Verdict(status=JobStatus.FAILED, failure=failure)
    return judge(
        lines,
        exit_code=ended.exit_code,
        lora_count=lora_count,
        cancelled=ended.cancelled,
        timed_out=ended.timed_out,
        alarms=alarms,
    )


def _chunks(log: BinaryIO) -> Iterator[bytes]:
    while chunk := log.read(CHUNK_BYTES):
        yield chunk
    yield b"\n"  # a last line without an end is a line, too


def _states(resume_state: str, output: Path | None) -> Iterator[str]:
    """What the state of a resumed run says, here or, as the log may be from another machine, in the output folder."""
    state = Path(resume_state)
    for folder in [state, *([output / state.name] if output else [])]:
        with contextlib.suppress(OSError):
            yield (folder / STATE_FILE).read_text(encoding="utf-8", errors="replace")


def _report(
    verdict: Verdict, progress: Progress, seconds_per_step: float | None, lora_count: int | None
) -> dict[str, Any]:
    failure = verdict.failure or (_CANCELLED if verdict.status is JobStatus.CANCELLED else None)
    was_interrupted = failure is not None and failure.cause == Cause.INTERRUPTED
    status = JobStatus.CANCELLED if was_interrupted else verdict.status
    stage = Stage.FINISHED if status is JobStatus.SUCCEEDED else progress.stage or Stage.QUEUED
    return {
        "status": status.value,
        "stage": str(stage),
        "step": progress.step,
        "total_steps": progress.total_steps,
        "epoch": progress.epoch,
        "total_epochs": progress.total_epochs,
        "loss": _json_number(progress.loss),
        "learning_rate": _json_number(progress.learning_rate),
        "seconds_per_step": None if seconds_per_step is None else round(seconds_per_step, 6),
        "cause": str(failure.cause) if failure else None,
        "message": failure.message if failure else _good_message(status, lora_count),
        "hint": failure.hint if failure else "",
        "confidence": (failure.confidence or None) if failure else None,
        "phase": (failure.phase or None) if failure else None,
        "raised_by": (failure.raised_by or None) if failure else None,
        "evidence": list(failure.evidence) if failure else [],
        "alarms": list(verdict.alarms),
    }


def _good_message(status: JobStatus, lora_count: int | None) -> str:
    if status is JobStatus.RUNNING:
        return "Nothing in the log says that the training has ended."
    files = "" if not lora_count else f" and wrote {count_text(lora_count, 'LoRA file', 'LoRA files')}"
    return f"The training succeeded{files}."


def _json_number(value: float | None) -> float | str | None:
    """JSON has no NaN and no infinity: they become words."""
    return value if value is None or math.isfinite(value) else str(value)


if __name__ == "__main__":
    sys.exit(main())
