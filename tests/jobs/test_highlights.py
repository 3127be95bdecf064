"""Which files of a job a card shows."""

import pytest

from lib.jobs.highlights import Highlights, highlights_of
from lib.jobs.job import Artifact, ArtifactKind

SAMPLE, LORA, CHECKPOINT = ArtifactKind.SAMPLE, ArtifactKind.LORA, ArtifactKind.CHECKPOINT


def made(name: str, kind: ArtifactKind, **values: int) -> Artifact:
    return Artifact(id=name, name=name, kind=kind, **values)  # type: ignore[arg-type]


# Each list begins with the one that is shown.
SAMPLES = {
    "the newest epoch, the first prompt": [
        made("e10-p0", SAMPLE, epoch=10, prompt_index=0),
        made("e10-p1", SAMPLE, epoch=10, prompt_index=1),
        made("e9-p0", SAMPLE, epoch=9, prompt_index=0),
    ],
    "steps where epochs are unknown": [made("s900", SAMPLE, step=900), made("s1000-is-none", SAMPLE)],
    "a picture, no video": [made("e1.png", SAMPLE, epoch=1), made("e2.mp4", SAMPLE, epoch=2)],
    "the newest attempt": [made("second", SAMPLE, attempt=2, epoch=1), made("first", SAMPLE, attempt=1, epoch=9)],
}
LORAS = {
    "the final file": [
        made("final", LORA),
        made("e9", CHECKPOINT, epoch=9),
        made("other", ArtifactKind.OTHER),
        made("half", ArtifactKind.INCOMPLETE),
    ],
    "a final file of a former attempt before a checkpoint": [
        made("final", LORA, attempt=1),
        made("e9", CHECKPOINT, attempt=2, epoch=9),
    ],
    "the last checkpoint": [made("e10", CHECKPOINT, epoch=10), made("e9", CHECKPOINT, epoch=9)],
    "a LoRA with its epoch in the name": [made("final", LORA), made("e9", LORA, epoch=9)],
}


@pytest.mark.parametrize("files", SAMPLES.values(), ids=SAMPLES)
def test_the_newest_sample(files: list[Artifact]) -> None:
    assert highlights_of(reversed(files)) == highlights_of(files) == Highlights(sample=files[0])


@pytest.mark.parametrize("files", LORAS.values(), ids=LORAS)
def test_the_lora(files: list[Artifact]) -> None:
    assert highlights_of(reversed(files)) == highlights_of(files) == Highlights(lora=files[0])


def test_a_job_without_files_has_none() -> None:
    assert highlights_of(()) == Highlights()
