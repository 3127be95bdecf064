"""Explains any trainer's log on the command line: ``python -m lib.jobs.explain LOG``, one JSON object.

How far it came, how it ended, why, and the lines that prove it. LOG may be of any size; ``-`` reads the standard input.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

from lib.jobs.causes import Cause
from lib.jobs.evidence import BAR
from lib.jobs.failure import Verdict, judge, judge_by_log
from lib.jobs.job import JobStatus, Progress, Stage
from lib.jobs.progress import ProgressParser
from lib.jobs.resume import resumed_step
from lib.jobs.terminal import Terminal

CHUNK_BYTES = 1 << 20
TAIL_LINES = 2_000
PACE_BYTES = 1 << 18
PACE_FRAMES = 50

_RATE = re.compile(r", *(?P<rate>\d+(?:\.\d+)?)(?P<unit>s/it|it/s)")
_WEIGHTS = frozenset({".safetensors", ".ckpt", ".pt"})
_NOT_WEIGHTS = ("optimizer", "scheduler", "random_states", "sampler")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0 when log and folder could be read, whatever they say, and 2 when not."""
    options = _parser().parse_args(arguments)
    if options.output is not None and not options.output.is_dir():
        print(f"{options.output}: there is no such folder", file=sys.stderr)
        return 2
    try:
        report = _explain_named(options.log, options.exit_code, options.output)
    except OSError as error:
        print(f"{options.log}: {error.strerror or error}", file=sys.stderr)
        return 2
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(report, ensure_ascii=not is_utf8, indent=2, allow_nan=False))
    return 0


def explain_log(log: BinaryIO, exit_code: int | None, output: Path | None) -> dict[str, Any]:
    """The report of a log as JSON values.

    Args:
        log: Raw bytes, read to the end.
        exit_code: As subprocess gives it; None: the log alone has to tell.
        output: Where the trainer wrote; None: unknown.
    """
    parser, terminal, tail = ProgressParser(), Terminal(keep_lines=TAIL_LINES), b""
    for chunk in _chunks(log):
        terminal.feed(chunk)
        # A file has no times; the pace comes from the bars themselves.
        parser.feed(chunk, 0.0)
        tail = (tail + chunk)[-PACE_BYTES:]
    if parser.resume_state and (offset := resumed_step(_state_folders(parser.resume_state, output), parser.progress)):
        parser.resume_from(offset)
    lora_count = None if output is None else count_loras(output)
    alarms = tuple(parser.alarms)
    if exit_code is None:
        verdict = judge_by_log(terminal.lines, lora_count=lora_count, alarms=alarms)
    else:
        verdict = judge(terminal.lines, exit_code=exit_code, lora_count=lora_count, alarms=alarms)
    return _report(verdict, parser.progress, printed_pace(tail), lora_count)


def count_loras(output: Path) -> int:
    """How many LoRA files are below a folder; a ``*-state`` folder holds none, although it looks so."""
    return sum(
        path.suffix in _WEIGHTS
        and not path.name.startswith(_NOT_WEIGHTS)
        and not any(part.endswith("-state") for part in path.relative_to(output).parts[:-1])
        and path.is_file()
        for path in output.rglob("*")
    )


def printed_pace(tail: bytes) -> float | None:
    """Seconds per step: the median of the rates that the last frames of the training bar print."""
    seconds = []
    for frame in re.split(rb"[\r\n]", tail):
        bar = BAR.search(frame.decode("utf-8", "replace")) if b"loss" in frame and b"%|" in frame else None
        rate = _RATE.search(bar["facts"] or "") if bar else None
        if rate and (value := float(rate["rate"])) > 0:
            seconds.append(value if rate["unit"] == "s/it" else 1 / value)
    return median(seconds[-PACE_FRAMES:]) if seconds else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lib.jobs.explain", description="Explains the log of a LoRA training as one JSON object."
    )
    parser.add_argument("log", metavar="LOG", help="the log file; - reads the standard input")
    parser.add_argument("--exit-code", type=int, metavar="N", help="how the trainer ended; -N is signal N")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the folder the trainer wrote to")
    return parser


def _explain_named(name: str, exit_code: int | None, output: Path | None) -> dict[str, Any]:
    if name == "-":
        return explain_log(sys.stdin.buffer, exit_code, output)
    with Path(name).open("rb") as log:
        return explain_log(log, exit_code, output)


def _chunks(log: BinaryIO) -> Iterator[bytes]:
    while chunk := log.read(CHUNK_BYTES):
        yield chunk
    yield b"\n"  # a last line without an end is a line, too


def _state_folders(resume_state: str, output: Path | None) -> list[Path]:
    """Where the state of a resumed run may be: the log may come from another machine."""
    state = Path(resume_state)
    return [state, *([output / state.name] if output else [])]


def _report(
    verdict: Verdict, progress: Progress, seconds_per_step: float | None, lora_count: int | None
) -> dict[str, Any]:
    failure = verdict.failure
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
        "seconds_per_step": None if seconds_per_step is None else round(seconds_per_step, 6),
        "cause": failure.cause if failure else None,
        "message": failure.message if failure else _good_message(status, lora_count),
        "hint": failure.hint if failure else "",
        "evidence": list(failure.evidence) if failure else [],
        "alarms": list(verdict.alarms),
    }


def _good_message(status: JobStatus, lora_count: int | None) -> str:
    if status is JobStatus.RUNNING:
        return "Nothing in the log says that the training has ended."
    files = "" if not lora_count else f" and wrote {lora_count} LoRA {'file' if lora_count == 1 else 'files'}"
    return f"The training succeeded{files}."


def _json_number(value: float | None) -> float | str | None:
    """JSON has no NaN and no infinity: they become words."""
    return value if value is None or math.isfinite(value) else str(value)


if __name__ == "__main__":
    sys.exit(main())
