"""Which files of a job are listed, in which order, and what is said of each."""

from collections.abc import Sequence

from lib.jobs.job import Artifact, ArtifactKind, Attempt
from lib.jobs.words import size_text

KINDS = {
    ArtifactKind.LORA: "LoRA",
    ArtifactKind.CHECKPOINT: "Checkpoint",
    ArtifactKind.SAMPLE: "Sample",
    ArtifactKind.STATE: "Training state",
    ArtifactKind.LOG: "Log",
    ArtifactKind.OTHER: "File",
    ArtifactKind.INCOMPLETE: "Incomplete file, its training ended while it was written",
}
_ORDER = tuple(KINDS)


def listed_files(artifacts: Sequence[Artifact], attempt: Attempt | None = None, *, best: str = "") -> list[Artifact]:
    """The files of an attempt (None: of all): the picked one, then most important kind first, then newest first.

    Samples are left out: they are shown as pictures.
    """
    of_attempt = [file for file in artifacts if attempt is None or file.attempt == attempt.number]
    files = [file for file in of_attempt if file.kind is not ArtifactKind.SAMPLE]
    return sorted(files, key=lambda file: (file.id != best, *_rank(file)))


def file_text(artifact: Artifact) -> str:
    """``Checkpoint · 500 MB · epoch 3 · step 1,200``."""
    parts = [KINDS[artifact.kind], size_text(artifact.size_bytes) if artifact.size_bytes is not None else ""]
    parts.append(f"epoch {artifact.epoch}" if artifact.epoch is not None else "")
    parts.append(f"step {artifact.step:,}" if artifact.step is not None else "")
    return " · ".join(part for part in parts if part)


def _rank(file: Artifact) -> tuple[int, int, float, str]:
    return (_ORDER.index(file.kind), -file.attempt, -_age_rank(file), file.name)


def _age_rank(file: Artifact) -> float:
    """Higher is newer. The final file has no epoch in its name and is the newest."""
    return float("inf") if file.epoch is None and file.step is None else float(file.epoch or 0) * 1e9 + (file.step or 0)
