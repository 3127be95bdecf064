"""The two files of a job that a card shows: its newest sample and its trained LoRA."""

from collections.abc import Iterable
from dataclasses import dataclass

from lib.jobs.artifact_names import is_video
from lib.jobs.job import Artifact, ArtifactKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Highlights:
    """A job's newest sample picture (the first prompt's) and its LoRA (the picked one, else the final one), or None."""

    sample: Artifact | None = None
    lora: Artifact | None = None


def highlights_of(artifacts: Iterable[Artifact], best: str = "") -> Highlights:
    """The highlights among those of a job's files that can be had; ``best`` is the id of the picked one."""
    files = [file for file in artifacts if not file.unavailable]
    samples = [file for file in files if file.kind is ArtifactKind.SAMPLE and not is_video(file.name)]
    loras = [file for file in files if file.kind in (ArtifactKind.LORA, ArtifactKind.CHECKPOINT)]
    return Highlights(
        sample=min(samples, key=_sample_rank, default=None),
        lora=min(loras, key=lambda file: (file.id != best, *_lora_rank(file)), default=None),
    )


def _sample_rank(file: Artifact) -> tuple[object, ...]:
    prompt = -1 if file.prompt_index is None else file.prompt_index
    return (-file.attempt, _latest(file.epoch), _latest(file.step), prompt, file.name)


def _lora_rank(file: Artifact) -> tuple[object, ...]:
    has_moment = file.epoch is not None or file.step is not None  # the final file's name has none
    is_partial = file.kind is not ArtifactKind.LORA
    return (is_partial, -file.attempt, has_moment, _latest(file.epoch), _latest(file.step), file.name)


def _latest(number: int | None) -> int:
    return 1 if number is None else -number
