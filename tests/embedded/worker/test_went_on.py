"""Trainers that are told only the rest of a training, or whose files count from 0 again after a resume."""

from datetime import UTC, datetime

import pytest

from lib.embedded.trainers.recipe import FoundFile
from lib.embedded.worker.attempt_follower import went_on_files
from lib.jobs.job import ArtifactKind, Progress
from lib.jobs.logs.resume import went_on
from lib.jobs.resume import Start

START = Start(attempt=1, path="v1-000002-state", step=24, epoch=2, epochs=5)


def test_the_rest_of_a_training_is_put_behind_what_was_before() -> None:
    rest = Progress(step=12, total_steps=36, fraction=1 / 3, epoch=1, total_epochs=3, loss=0.5)
    now = went_on(rest, START)
    assert (now.step, now.total_steps, now.epoch, now.total_epochs, now.loss) == (36, 60, 3, 5, 0.5)
    assert now.fraction == 0.6
    assert went_on(Progress(stage="loading model"), START) == Progress(stage="loading model")


@pytest.mark.parametrize(
    ("counts_anew", "expected"), [((), (4, 1)), (("step",), (28, 1)), (("step", "epoch"), (28, 3))]
)
def test_files_get_the_steps_and_epochs_of_the_whole_training(
    counts_anew: tuple[str, ...], expected: tuple[int, int]
) -> None:
    file = FoundFile(
        path="v1-000001.safetensors",
        kind=ArtifactKind.CHECKPOINT,
        size_bytes=1,
        modified_at=datetime.now(UTC),
        epoch=1,
        step=4,
    )
    (found,) = went_on_files([file], START, counts_anew)
    assert (found.step, found.epoch) == expected
