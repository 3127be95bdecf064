"""What an attempt is started with, without starting anything."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.store.runs import Claim
from lib.embedded.trainers.tiny import TinyRecipe
from lib.embedded.worker.attempt_end import NotRunnable, judge_failed_start
from lib.embedded.worker.attempt_start import AttemptStart
from lib.embedded.worker.gpus import Gpus
from lib.errors import DatasetError
from lib.jobs.more_data import MoreData
from tests.contract.houses import EmbeddedHouse
from tests.contract.test_changing import request_for


@pytest.fixture
def house(tmp_path: Path) -> Iterator[EmbeddedHouse]:
    built = EmbeddedHouse(tmp_path / "house")
    yield built
    built.close()


def begun(house: EmbeddedHouse) -> tuple[Claim, Any, Any]:
    """Claim the next job and start it: the claim, and what the executor gets."""
    store = house.source.store
    claim = store.runs.claim_next()
    assert claim is not None
    got: list[Any] = []
    executor = cast("Any", SimpleNamespace(start=lambda *values: got.extend(values)))
    start = AttemptStart(
        datasets=house.source.datasets, runs=store.runs, gpus=Gpus(()), stop_grace_s=1, points=lambda *_: ()
    )
    start.start(claim, AttemptFolder.of(house.source.data_dir, claim.job_id, claim.attempt), TinyRecipe(), executor)
    return claim, got[2], got[3]


def test_every_dataset_reaches_the_command_and_the_node(house: EmbeddedHouse) -> None:
    dog, cat = house.put_dataset("Dog"), house.put_dataset("Cat")
    house.source.create_job(
        request_for(house, more_data=(MoreData(dataset_id=dog, repeats=5), MoreData(dataset_id=cat)))
    )
    _, spec, need = begun(house)
    paths = [house.source.datasets.path(each) for each in (house.dataset_id, dog, cat)]
    assert [part for part in spec.argv if "data" in part.partition("=")[0]] == [
        f"--train_data_dir={paths[0]}", "--dataset_repeats=1", f"--more_data=5:{paths[1]}", f"--more_data=1:{paths[2]}",
    ]  # fmt: skip
    assert need.inputs == {"dataset": paths[0], "more-1": paths[1], "more-2": paths[2]}


def test_a_further_dataset_that_was_deleted_meanwhile_is_named(house: EmbeddedHouse) -> None:
    dog = house.put_dataset("Dog")
    house.source.create_job(request_for(house, more_data=(MoreData(dataset_id=dog),)))
    (house.source.datasets.path(dog) / "one.png").unlink()
    house.source.datasets.path(dog).rename(house.source.data_dir / "away")
    with pytest.raises(DatasetError) as raised:
        begun(house)
    failure = judge_failed_start(raised.value).failure
    assert failure is not None
    assert failure.cause == "missing_dataset"
    assert failure.message.startswith("The training could not be started: The further dataset 'Dog' cannot be used.")
    assert failure.hint


def test_a_further_dataset_that_was_emptied_meanwhile_is_named(house: EmbeddedHouse) -> None:
    dog = house.put_dataset("Dog")
    house.source.create_job(request_for(house, more_data=(MoreData(dataset_id=dog),)))
    (house.source.datasets.path(dog) / "one.png").unlink()
    with pytest.raises(NotRunnable, match="Further dataset 'Dog': The dataset has no images"):
        begun(house)
