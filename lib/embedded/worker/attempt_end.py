"""How an attempt ended: the verdict on its log, plus what only its supervisor and the disk know."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lib.artifacts.lora.file import read_local
from lib.artifacts.lora.header import BrokenFile
from lib.embedded.files.attempt_folder import AttemptFolder, Exit
from lib.embedded.files.availability import FolderUnavailable
from lib.embedded.files.disk_space import free_bytes
from lib.embedded.trainers.recipe import FoundFile
from lib.errors import ArtifactError, DashboardError, DatasetError
from lib.jobs.artifact_names import LORA_KINDS, WEIGHTS
from lib.jobs.failures.causes import HINTS, Cause
from lib.jobs.failures.judge import NAN_PRINTED, Verdict, judge
from lib.jobs.job import ArtifactKind, Failure, JobStatus, RunPlace
from lib.jobs.logs.normalise import unwrapped
from lib.jobs.logs.terminal import plain_lines
from lib.jobs.training_settings import SETTINGS

NAN_WEIGHTS = "nan_weights"
_NAN_ALARMS = frozenset({"nan_loss", "inf_loss", "loss_diverged"})
# What a machine that shuts down, or one that is switched off, makes of a training.
_OF_A_SHUTDOWN = frozenset(
    {Cause.KILLED, Cause.INTERRUPTED, Cause.UNKNOWN, Cause.NO_OUTPUT, Cause.DISTRIBUTED, Cause.WORKER_LOST}
)
_TOLD = "The trainer and its supervisor were told to end, likely because the machine was shut down."
_RESTARTED = "The trainer vanished, and nobody saw how it ended, likely because the machine was restarted."
JUDGED_TAIL_BYTES = 512 << 10
JUDGED_LINES = 2_000
FULL_DISK_BYTES = 1 << 20
_WAS_AWAY = "The data folder was away for a while during the training. If that is the reason, retry the training."
# A full disk often keeps a trainer from saying why it died.
_CAUSES_OF_SILENCE = frozenset({Cause.UNKNOWN, Cause.NO_OUTPUT, Cause.WORKER_LOST})


def checked_files(output: Path, files: Sequence[FoundFile], alarms: Sequence[str]) -> list[FoundFile]:
    """The same files; weights that are damaged, not a LoRA or full of NaN are marked as such, judged by their content.

    Reading all weights takes a while, so without an alarm about the loss only the newest file is read.
    """
    checked = [replace(file, kind=_kind_by_content(output, file)) for file in files]
    loras = sorted((file for file in checked if file.kind in LORA_KINDS), key=lambda file: file.modified_at)
    read = {file.path for file in (loras if _NAN_ALARMS.intersection(alarms) else loras[-1:])}
    return [replace(file, holds_nan=file.path in read and _holds_nan(output / file.path)) for file in checked]


def _holds_nan(path: Path) -> bool:
    from lib.artifacts.lora.finite import holds_nan  # numpy, which a worker that ends no job does not need

    try:
        return holds_nan(path)
    except (OSError, ArtifactError):
        return False  # unknown now


def _kind_by_content(output: Path, file: FoundFile) -> ArtifactKind:
    if file.kind not in LORA_KINDS:
        return file.kind
    try:
        return file.kind if read_local(output / file.path).is_lora else ArtifactKind.OTHER
    except BrokenFile:
        return ArtifactKind.INCOMPLETE if file.path.lower().endswith(".safetensors") else ArtifactKind.OTHER
    except (OSError, ArtifactError):
        return file.kind  # unknown now


def judge_end(folder: AttemptFolder, exit_: Exit, files: Sequence[FoundFile], alarms: Sequence[str]) -> Verdict:
    """Status, failure and alarms of an attempt whose processes have ended."""
    if exit_.start_error:
        cause = Cause.DISK_FULL if _disk_was_full(folder, exit_) else Cause.MISSING_TRAINER
        return failed(cause, f"The trainer could not be started: {exit_.start_error}.")
    lines = plain_lines(unwrapped(folder.log_end(JUDGED_TAIL_BYTES)))[-JUDGED_LINES:]
    if exit_.cause:
        evidence = tuple(line for line in lines if line.strip())[-3:]
        verdict = failed(Cause(exit_.cause), exit_.message, evidence)
        is_unknown = exit_.cause == Cause.CLUSTER_LOST
        return replace(verdict, status=JobStatus.LOST) if is_unknown else verdict
    if exit_.stopped_for == Cause.NAN_LOSS:
        return _stopped_on_nan(folder, lines)
    is_output_unknown = folder.place != RunPlace() and not folder.place.output
    verdict = judge(
        lines,
        exit_code=exit_.exit_code,
        lora_count=None if is_output_unknown else sum(file.kind in LORA_KINDS for file in files),
        cancelled=exit_.cancelled,
        timed_out=exit_.timed_out,
        alarms=(*alarms, *([NAN_WEIGHTS] if any(file.holds_nan for file in files) else [])),
    )
    if (exit_.was_told or exit_.was_restarted) and verdict.failure and verdict.failure.cause in _OF_A_SHUTDOWN:
        return _shut_down(verdict, _TOLD if exit_.was_told else _RESTARTED)
    if verdict.failure and verdict.failure.cause in _CAUSES_OF_SILENCE and _disk_was_full(folder, exit_):
        return failed(Cause.DISK_FULL, "The disk was full when the trainer ended.", verdict.failure.evidence)
    if verdict.failure and verdict.failure.cause == Cause.NO_OUTPUT and (message := _what_is_there_instead(files)):
        return failed(Cause.NO_OUTPUT, message, verdict.failure.evidence)
    if exit_.was_away and verdict.failure and not exit_.timed_out:
        hint = f"{_WAS_AWAY} {verdict.failure.hint}".rstrip()
        return replace(verdict, failure=replace(verdict.failure, hint=hint))
    return verdict


def _stopped_on_nan(folder: AttemptFolder, lines: Sequence[str]) -> Verdict:
    message = (
        f"The loss was NaN or infinite for many steps in a row, so the dashboard ended the training at step "
        f"{folder.stop_requested()[1]:,}."
    )
    hint = f'{HINTS[Cause.NAN_LOSS]} To train on regardless, set "{SETTINGS["stop_on_nan"].label}" to 0.'
    proof = [line for line in lines if NAN_PRINTED.search(line)][-1:]
    return failed(Cause.NAN_LOSS, message, tuple(proof), hint)


def _shut_down(verdict: Verdict, message: str) -> Verdict:
    evidence = verdict.failure.evidence if verdict.failure else ()
    cause = Cause.WORKER_LOST
    failure = Failure(cause=cause.value, message=message, hint=HINTS[cause], evidence=evidence)
    return replace(verdict, status=JobStatus.LOST, failure=failure)


def _what_is_there_instead(files: Sequence[FoundFile]) -> str:
    """Why the files of an attempt that ended well hold no LoRA; empty when there is nothing like one."""
    incomplete = [file.path for file in files if file.kind is ArtifactKind.INCOMPLETE]
    if incomplete:
        return f"The trainer ended without an error, but {incomplete[-1]} is not a complete LoRA file."
    others = [file.path for file in files if file.kind is ArtifactKind.OTHER and Path(file.path).suffix in WEIGHTS]
    if not others:
        return ""
    if others[-1].endswith(".safetensors"):
        return f"The trainer ended without an error, but wrote no LoRA: {others[-1]} is something else."
    return (
        f"The trainer ended without an error, but {others[-1]} is no safetensors file, and other files are never "
        "opened. Let the trainer save safetensors."
    )


class NotRunnable(DashboardError):
    """A job's settings are not, or no longer, what this machine runs."""

    def __init__(self, problems: Sequence[str]) -> None:
        hint = " ".join(problems[1:]) or "Change it in the configuration and start a new job."
        super().__init__(problems[0], hint=hint)


def judge_failed_start(error: Exception) -> Verdict:
    """The verdict when no trainer was started."""
    if isinstance(error, NotRunnable):
        return failed(Cause.BAD_ARGUMENT, f"The training was not started. {error}", hint=error.hint)
    cause = Cause.MISSING_DATASET if isinstance(error, DatasetError | FolderUnavailable) else Cause.MISSING_TRAINER
    message = f"The training could not be started: {error}"
    return failed(cause, message, hint=error.hint if isinstance(error, DashboardError) else "")


def judge_gone(folder: AttemptFolder) -> Verdict:
    """The verdict when the folder was deleted, and with it every record of how the attempt ended."""
    message = f"The folder of the training, {folder.path}, is gone, so it is unknown how the training ended."
    failure = Failure(cause=Cause.WORKER_LOST.value, message=message, hint="Retry the training.")
    return Verdict(status=JobStatus.LOST, failure=failure)


def judge_out_of_reach(why: str) -> Verdict:
    """The verdict when what runs the attempt cannot be asked any more."""
    message = f"It is unknown whether the training still runs. {why}"
    hint = "Name it there again, and see whether the training still runs, before you retry it."
    failure = Failure(cause=Cause.CLUSTER_LOST.value, message=message, hint=hint)
    return Verdict(status=JobStatus.LOST, failure=failure)


def failed(cause: Cause, message: str, evidence: tuple[str, ...] = (), hint: str = "") -> Verdict:
    """A failed attempt with its cause."""
    failure = Failure(cause=cause.value, message=message, hint=hint or HINTS[cause], evidence=evidence)
    return Verdict(status=JobStatus.FAILED, failure=failure)


END_UNKNOWN = failed(Cause.UNKNOWN, "The training ended, but the worker could not tell how; worker.log has the error.")


def _disk_was_full(folder: AttemptFolder, exit_: Exit) -> bool:
    free = exit_.free_bytes
    if free is None and folder.path.exists():
        free = free_bytes(folder.path)
    return free is not None and free < FULL_DISK_BYTES
