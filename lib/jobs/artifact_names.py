"""What the name of a trained file tells: kind, epoch, step, sample prompt; names as sd-scripts writes them."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from lib.jobs.job import ArtifactKind

WEIGHTS = frozenset({".safetensors", ".pt", ".ckpt", ".bin"})
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
LOGS = frozenset({".log", ".jsonl"})
# What accelerate and transformers write beside the weights of a checkpoint, to resume from: optimizer.bin,
# sampler_1.bin. None of it is ever a safetensors file, and a LoRA may be called "sampler girl".
_STATE = re.compile(r"(?:optimizer|scheduler|random_states|sampler|scaler|training_args)(?:_\d+)?\.(?:bin|pt|ckpt)")
LORA_KINDS = frozenset({ArtifactKind.LORA, ArtifactKind.CHECKPOINT})
_EPOCH = re.compile(r"-(\d{6})$")
_STEP = re.compile(r"-step(\d{8})$")
# {name}_e{epoch:06d}_{prompt:02d}_{time}_{seed}.png, or {name}_{step:06d}_… when sampled by steps; the name is left
# out when there is none
_SAMPLE = re.compile(r"(?:^|_)(?P<is_epoch>e?)(?P<count>\d{6})_(?P<prompt>\d{2,})_\d{14}(?:_-?\d+)?$")


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
    if any(part.endswith("-state") for part in path.parts[:-1]) or _STATE.fullmatch(path.name):
        return FileFacts(kind=ArtifactKind.STATE)
    if suffix in WEIGHTS:
        epoch, step = _number(_EPOCH, stem), _number(_STEP, stem)
        is_partial = epoch is not None or step is not None or "checkpoint" in str(path.parent)
        kind = ArtifactKind.CHECKPOINT if is_partial else ArtifactKind.LORA
        return FileFacts(kind=kind, epoch=epoch, step=step)
    if suffix in IMAGES:
        return _sample(stem)
    is_log = suffix in LOGS or path.name == "log" or "logs" in path.parts[:-1]
    return FileFacts(kind=ArtifactKind.LOG if is_log else ArtifactKind.OTHER)


def _sample(stem: str) -> FileFacts:
    found = _SAMPLE.search(stem)
    if found is None:
        return FileFacts(kind=ArtifactKind.SAMPLE)
    count = int(found["count"])
    return FileFacts(
        kind=ArtifactKind.SAMPLE,
        epoch=count if found["is_epoch"] else None,
        step=None if found["is_epoch"] else count,
        prompt_index=int(found["prompt"]),
    )


def _number(pattern: re.Pattern[str], stem: str) -> int | None:
    found = pattern.search(stem)
    return int(found.group(1)) if found else None
