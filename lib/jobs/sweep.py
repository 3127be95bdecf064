"""Sweeps: one job for each combination of the values that settings may have."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import isnan, prod
from types import MappingProxyType
from typing import Any

from lib.errors import InvalidRequest
from lib.jobs.job import Job, JobStatus
from lib.jobs.job_request import JobRequest
from lib.jobs.setting_kinds import Choice, Number, value_text
from lib.jobs.training_settings import CLUSTER, ENTERED, RUN, SETTINGS
from lib.jobs.words import within_sentence

MAX_SWEEP_JOBS = 32
SEPARATOR = ","
_NAME_END = ": "
SWEEPABLE = tuple(each for each in ENTERED if isinstance(each, Number | Choice) and each.group not in (RUN, CLUSTER))
_SHORT = {
    "learning_rate": "LR",
    "unet_lr": "U-Net LR",
    "text_encoder_lr": "TE LR",
    "network_dim": "rank",
    "network_alpha": "alpha",
}
SweepValues = Mapping[str, tuple[Any, ...]]
"""Setting -> the values it is to have, each once."""
NO_SWEEP: SweepValues = MappingProxyType({})


def values_from(name: str, text: str) -> tuple[Any, ...]:
    """The values that a text such as ``1e-4, 2e-4`` means, each once. Raises ValueError, which names the bad one."""
    setting = SETTINGS[name]
    found: dict[Any, None] = {}
    for word in filter(None, map(str.strip, text.split(SEPARATOR))):
        try:
            value = setting.parse(word)
        except ValueError as error:
            raise ValueError(f"{word[:40]}: {within_sentence(str(error))}") from error
        if problem := setting.note(value):
            raise ValueError(f"{word[:40]}: {within_sentence(problem)}")
        found[value] = None
    if not found:
        raise ValueError("Enter at least one value.")
    return tuple(found)


def values_text(values: Sequence[Any]) -> str:
    """``0.0001, 0.0002``, as ``values_from`` reads it."""
    return f"{SEPARATOR} ".join(map(value_text, values))


def job_count(values: SweepValues) -> int:
    """How many combinations there are."""
    return prod(map(len, values.values()))


def count_problem(values: SweepValues) -> str:
    """What is wrong with the number of combinations; empty when it is fine."""
    count = job_count(values)
    return f"These values make {count:,} jobs; at most {MAX_SWEEP_JOBS} at once." if count > MAX_SWEEP_JOBS else ""


def sweep_requests(request: JobRequest, values: SweepValues) -> tuple[JobRequest, ...]:
    """A request per combination, the last setting changing fastest, named by what differs. Raises InvalidRequest."""
    unknown = values.keys() - {each.name for each in SWEEPABLE}
    problem = count_problem(values) or ("A text cannot have several values." if unknown else "")
    if problem or not all(values.values()):
        raise InvalidRequest(f"No job was created. {problem or 'A setting has no value.'}")
    names = [each.name for each in SWEEPABLE if each.name in values]
    differing = [name for name in names if len(values[name]) > 1]
    requests = []
    for number, combination in enumerate(product(*(values[name] for name in names)), 1):
        chosen = dict(zip(names, combination, strict=True))
        told = ", ".join(f"{_short(name)} {value_text(chosen[name])}" for name in differing)
        requests.append(
            replace(
                request,
                name=f"{request.name.strip()}{_NAME_END}{told}" if told else request.name,
                settings=replace(request.settings, **chosen),
                submission_id=f"{request.submission_id}/{number}",
            )
        )
    return tuple(requests)


def best_jobs(jobs: Sequence[Job], most: int) -> list[Job]:
    """Those ``most`` jobs that have the smallest last losses, the smallest first; what has none comes last."""

    def rank(job: Job) -> tuple[bool, float]:
        loss = job.progress.loss
        is_unknown = loss is None or isnan(loss) or job.status in (JobStatus.FAILED, JobStatus.LOST)
        return is_unknown, 0.0 if loss is None or isnan(loss) else loss

    return sorted(jobs, key=rank)[:most]


def name_within(job: Job) -> str:
    """The name of a job beside others of its sweep: only what differs."""
    return job.name.removeprefix(f"{job.sweep.name}{_NAME_END}") if job.sweep else job.name


def _short(name: str) -> str:
    """What a setting is called in a job's name: ``LR``, ``batch size``."""
    return _SHORT.get(name) or within_sentence(SETTINGS[name].label.partition(" (")[0])
