"""Where an ended job can go on: the states its attempts left, and the weights of their files."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.trainers.recipe import EndedRun, Recipe
from lib.errors import DashboardError
from lib.jobs.artifact_names import LORA_KINDS
from lib.jobs.job import Artifact, Attempt, Job, JobStatus
from lib.jobs.resume import ResumePoint
from lib.jobs.training_settings import TrainingSettings, settings_from_payload
from lib.jobs.words import count_text


def image_count(datasets: DatasetFolder, job: Job) -> int | None:
    """How many images a job's datasets have now; None when one is gone or cannot be read."""
    ids = [job.dataset_id or "", *(each.dataset_id for each in job.more_data)]
    with contextlib.suppress(DashboardError):
        return sum_known(datasets.get(each).image_count for each in ids)
    return None


def sum_known(counts: Iterable[int | None]) -> int | None:
    """The sum; None when a part is not known."""
    found = list(counts)
    return None if None in found else sum(each or 0 for each in found)


def resume_points(
    job: Job, recipe: Recipe, folder_of: Callable[[int], AttemptFolder], images: int | None
) -> list[ResumePoint]:
    """Every state and every file with weights: what can be used first, states before weights, newest first.

    Args:
        job: With its attempts and artifacts.
        folder_of: Attempt -> its folder.
        images: How many images the job's datasets have now; None when unknown.
    """
    settings = settings_from_payload(job.settings)
    ended = [attempt for attempt in job.attempts if attempt.status.is_terminal]
    per_epoch = _steps_per_epoch(ended, settings)
    points: list[ResumePoint] = []
    for attempt in ended:
        points += _states(attempt, recipe, settings, folder_of(attempt.number).output, per_epoch)
    if recipe.takes_weights:
        points += (
            point
            for attempt in ended
            for file in job.artifacts
            if (point := _weights(file, attempt, folder_of, per_epoch)) is not None
        )
    if not settings.max_steps and "epoch" not in recipe.counts_anew:
        changed = {each.number: _images_problem(folder_of(each.number), images) for each in ended}
        points = [replace(each, problem=each.problem or changed[each.attempt]) for each in points]
    if settings.max_steps:
        points = [replace(each, note=recipe.steps_note) for each in points]
    newest_first = sorted(points, key=lambda point: (point.attempt, point.step), reverse=True)
    return sorted(newest_first, key=lambda point: (bool(point.problem), not point.is_state))


def _images_problem(folder: AttemptFolder, now: int | None) -> str:
    """Trainers tell epochs from steps: with another number of steps in an epoch they would go on at a wrong one."""
    then = folder.images()
    if then is None or now is None or then == now:
        return ""
    return (
        f"It was trained on {count_text(then, 'image', 'images')}, and its data has {now:,} now, so that an epoch has "
        "other steps. Put the images back as they were to continue."
    )


def steps_left(point: ResumePoint, settings: TrainingSettings, per_epoch: int | None) -> bool:
    """Whether a training with these settings has not ended at ``point``."""
    if settings.max_steps:
        return settings.max_steps > point.step
    if point.epoch is not None:
        return settings.epochs > point.epoch
    return per_epoch is None or settings.epochs * per_epoch > point.step


def steps_per_epoch(job: Job) -> int | None:
    """Optimisation steps of an epoch as the attempts of a job counted them; None when none tells."""
    return _steps_per_epoch(job.attempts, settings_from_payload(job.settings))


def _steps_per_epoch(attempts: Sequence[Attempt], settings: TrainingSettings) -> int | None:
    if settings.max_steps:  # the last epoch may be a part of one
        return None
    for attempt in attempts:
        total, epochs = attempt.progress.total_steps, attempt.progress.total_epochs
        if total and epochs and total % epochs == 0:
            return total // epochs
    return None


def _states(
    attempt: Attempt, recipe: Recipe, settings: TrainingSettings, output_dir: Path, per_epoch: int | None
) -> Iterator[ResumePoint]:
    start = attempt.start
    ended = EndedRun(
        output_dir=output_dir,
        settings=start.applied(settings) if start else settings,
        start=start,
        steps_per_epoch=per_epoch,
        last_step=attempt.progress.step if attempt.status is JobStatus.SUCCEEDED else None,
    )
    for state in recipe.states(ended):
        yield ResumePoint(
            attempt=attempt.number,
            path=state.path,
            is_state=True,
            step=state.step,
            epoch=state.epoch,
            at=state.modified_at,
            problem=state.problem,
        )


def _weights(
    file: Artifact, attempt: Attempt, folder_of: Callable[[int], AttemptFolder], per_epoch: int | None
) -> ResumePoint | None:
    """None for a file that is no LoRA of this attempt, is gone, or does not tell at which step it was saved."""
    if file.kind not in LORA_KINDS or file.attempt != attempt.number or file.holds_nan:
        return None
    step = file.epoch * per_epoch if file.epoch and per_epoch else file.step
    if step is None and file.epoch is None and attempt.status is JobStatus.SUCCEEDED:
        step = attempt.progress.step
    path = file.id.partition("/")[2]
    if not step or not (folder_of(attempt.number).output / path).is_file():
        return None
    epoch = file.epoch or (step // per_epoch if per_epoch and step % per_epoch == 0 else None)
    return ResumePoint(attempt=attempt.number, path=path, is_state=False, step=step, epoch=epoch, at=file.created_at)
