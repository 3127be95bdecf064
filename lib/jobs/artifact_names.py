"""What the name of a trained file tells: kind, epoch, step, sample prompt; names as the known trainers write them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lib.jobs.job import ArtifactKind

WEIGHTS = frozenset({".safetensors", ".pt", ".ckpt", ".bin"})
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
VIDEOS = frozenset({".mp4"})
LOGS = frozenset({".log", ".jsonl"})
# What accelerate and transformers write beside the weights of a checkpoint, to resume from: optimizer.bin,
# sampler_1.bin. None of it is ever a safetensors file, and a LoRA may be called "sampler girl".
_STATE = re.compile(
    r"(?:optimizer|scheduler|random_states|sampler|scaler|training_args|train(?:ing|er)?_state)(?:_\d+)?"
    r"\.(?:bin|pt|ckpt|pkl|json)"
)
# Folders that hold nothing but a state: sd-scripts and musubi-tuner, DeepSpeed, OneTrainer's backups.
_STATE_FOLDER = re.compile(r".*-state|global_step\d+|.*-backup-\d+-\d+-\d+")
LORA_KINDS = frozenset({ArtifactKind.LORA, ArtifactKind.CHECKPOINT})
# How weights and states are named, or the folder they lie in, by: sd-scripts and musubi-tuner, ai-toolkit, OneTrainer,
# diffusers and SimpleTuner, diffusion-pipe.
_MOMENTS = tuple(
    map(
        re.compile,
        (
            r"-(?P<epoch>\d{6})(?:-state)?$",
            r"-step(?P<step>\d{8})(?:-state)?$",
            r"_(?P<step>\d{9})$",
            r"-(?:save|backup)-(?P<step>\d+)-(?P<epoch>\d+)-\d+$",
            r"^checkpoint-(?P<step>\d+)(?:-[\w-]+)?$",
            r"^(?:epoch(?P<epoch>\d+)|(?:global_)?step(?P<step>\d+))$",
        ),
    )
)
# Samples, by: sd-scripts and musubi-tuner ({name}_e{epoch:06d}_{prompt:02d}_{time}_{seed}, or {name}_{step:06d}_… when
# sampled by steps; the name is left out when there is none), ai-toolkit, OneTrainer, SimpleTuner.
_SAMPLES = tuple(
    map(
        re.compile,
        (
            r"(?:^|_)e(?P<epoch>\d{6})_(?P<prompt>\d{2,})_\d{14}(?:_-?\d+)?$",
            r"(?:^|_)(?P<step>\d{6})_(?P<prompt>\d{2,})_\d{14}(?:_-?\d+)?$",
            r"^\d+__(?P<step>\d{9})_(?P<prompt>\d+)$",
            r"-training-sample-(?P<step>\d+)-(?P<epoch>\d+)-\d+$",
            r"^step_(?P<step>\d+)_.*?(?P<prompt>\d+)_\d+x\d+$",
        ),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What the name of a file says about it."""

    kind: ArtifactKind
    epoch: int | None = None
    step: int | None = None
    prompt_index: int | None = None


def describe_file(name: str) -> FileFacts:
    """The facts in a file's name; folders before it count too (``samples/a.png``)."""
    path = PurePosixPath(name)
    stem, suffix = path.stem, path.suffix.lower()
    # The nearest name that tells a moment: the file's own, else that of a folder.
    names = (stem, *reversed(path.parts[:-1]))
    is_state = any(_STATE_FOLDER.fullmatch(part) for part in path.parts[:-1]) or _STATE.fullmatch(path.name)
    if is_state or suffix in WEIGHTS:
        told = _first_told(_MOMENTS, names)
        is_partial = bool(told) or "checkpoint" in str(path.parent)
        kind = ArtifactKind.CHECKPOINT if is_partial else ArtifactKind.LORA
        return FileFacts(kind=ArtifactKind.STATE if is_state else kind, epoch=told.get("epoch"), step=told.get("step"))
    if suffix in IMAGES | VIDEOS:
        told = _first_told(_SAMPLES, [stem])
        return FileFacts(
            kind=ArtifactKind.SAMPLE, epoch=told.get("epoch"), step=told.get("step"), prompt_index=told.get("prompt")
        )
    is_log = suffix in LOGS or path.name == "log" or "logs" in path.parts[:-1]
    return FileFacts(kind=ArtifactKind.LOG if is_log else ArtifactKind.OTHER)


def is_video(name: str) -> bool:
    """Whether a sample moves: no page shows a small picture of it."""
    return PurePosixPath(name).suffix.lower() in VIDEOS


def family_of(path: str) -> str:
    """What the files of one run have in common: ``aria`` for ``aria-000002.safetensors``, its states and samples."""
    parts = PurePosixPath(path).parts
    name = next((part for part in parts if part.endswith("-state")), PurePosixPath(path).stem)
    for pattern in (*_SAMPLES, *_MOMENTS):
        name = pattern.sub("", name, count=1)
    return name.removesuffix("-state")


def _first_told(patterns: Sequence[re.Pattern[str]], names: Sequence[str]) -> dict[str, int]:
    """The numbers of the first pattern that fits the first of some names; empty when none does."""
    for name in names:
        for pattern in patterns:
            if found := pattern.search(name):
                return {group: int(number) for group, number in found.groupdict().items() if number is not None}
    return {}
