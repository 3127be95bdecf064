from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.datasets.sample import SAMPLE_NAME, STARTER, prepare
from lib.embedded.trainers.recipe import unused_problems
from lib.embedded.trainers.registry import recipes
from lib.errors import InvalidRequest, StoreError
from lib.jobs.training_settings import TrainingConfig, name_problem, setting_problems
from lib.settings import Settings

SAMPLE_COUNT = 16


class Configs:
    """Keeps configurations by name; may break after some."""

    def __init__(self, breaks_after: int = 99) -> None:
        self.saved: dict[str, TrainingConfig] = {}
        self.breaks_after = breaks_after

    def save(self, config: TrainingConfig) -> TrainingConfig:
        if config.name in self.saved:
            raise InvalidRequest("The name is taken.", fields={"name": "taken"})
        if len(self.saved) >= self.breaks_after:
            raise KeyboardInterrupt
        self.saved[config.name] = replace(config, id=config.name)
        return self.saved[config.name]


@pytest.fixture
def datasets(tmp_path: Path) -> DatasetFolder:
    return DatasetFolder(tmp_path / "datasets")


def test_a_new_installation_has_a_dataset_and_three_configurations(datasets: DatasetFolder) -> None:
    configs = Configs()
    prepare(datasets, configs.save)
    (dataset,) = datasets.list()
    assert (dataset.name, dataset.image_count, dataset.caption_count) == (SAMPLE_NAME, SAMPLE_COUNT, SAMPLE_COUNT)
    assert datasets.scan(dataset.id, 60) == 1.0
    assert datasets.get(dataset.id).duplicates == ()
    saved = list(configs.saved.values())
    assert [config.settings.trainer for config in saved] == ["tiny", "sd-scripts", "sd-scripts"]
    assert [config.is_default for config in saved] == [True, False, False]
    assert all(not setting_problems(each.settings) and not name_problem(each.name) for each in saved)
    assert all("SD_SCRIPTS_DIR" in config.description for config in saved[1:])
    assert "not a LoRA for an image model" in saved[0].description
    assert set(saved[0].settings.sample_prompts) <= {image.caption for image in datasets.images(dataset.id)}


def test_a_trainer_brings_its_configurations_once_its_folder_is_set(datasets: DatasetFolder) -> None:
    configs, known = Configs(), {recipe.name: recipe for recipe in recipes(Settings())}
    prepare(datasets, configs.save)
    assert len(configs.saved) == 3
    prepare(datasets, configs.save, {"MUSUBI_TUNER_DIR", "DIFFUSERS_DIR", "AI_TOOLKIT_DIR", "MUSUBI_TUNER_PYTHON"})
    more = list(configs.saved.values())[3:]
    assert [config.settings.trainer for config in more] == ["ai-toolkit", "diffusers", "musubi-tuner", "musubi-tuner"]
    sample = datasets.list()[0]
    for config in more:
        settings, recipe = config.settings, known[config.settings.trainer]
        assert not config.is_default
        assert not setting_problems(settings)
        assert unused_problems(recipe, settings) == []
        asked = [problem for problem in recipe.problems(settings, sample) if "is not set up" not in problem]
        # Only what nobody can know: where three files of this machine are.
        assert [problem.partition(" needs:")[0] for problem in asked] == (
            [] if settings.base_model else [config.name]
        ), asked


def test_what_was_deleted_does_not_come_back(datasets: DatasetFolder) -> None:
    configs = Configs()
    prepare(datasets, configs.save)
    datasets.delete(datasets.list()[0].id)
    configs.saved.clear()
    prepare(datasets, configs.save)
    assert (datasets.list(), configs.saved) == ((), {})


@pytest.mark.parametrize("breaks_after", [0, 1, 2])
def test_a_start_that_was_killed_is_completed(datasets: DatasetFolder, breaks_after: int) -> None:
    configs = Configs(breaks_after)
    with pytest.raises(KeyboardInterrupt):
        prepare(datasets, configs.save)
    (datasets.root / ".first-start.json").unlink()  # killed before the marker was written, too
    half = datasets.list()[0]
    datasets.delete_image(half.id, "sample-09.png")
    configs.breaks_after = 99
    prepare(datasets, configs.save)
    assert [dataset.image_count for dataset in datasets.list()] == [SAMPLE_COUNT]
    assert len(configs.saved) == 3


def test_other_refusals_are_not_swallowed(datasets: DatasetFolder) -> None:
    def refuse(config: TrainingConfig) -> TrainingConfig:
        raise InvalidRequest("No.", fields={"epochs": "wrong"})

    keep: Callable[[TrainingConfig], TrainingConfig] = refuse
    with pytest.raises(InvalidRequest):
        prepare(datasets, keep)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "datasets").write_bytes(b"a file")
    with pytest.raises(StoreError, match="datasets") as caught:
        prepare(DatasetFolder(tmp_path / "datasets"), Configs().save)
    assert caught.value.hint


def test_every_sample_image_and_caption_is_another_one() -> None:
    files = list((STARTER / "dataset").iterdir())
    assert len({file.read_bytes() for file in files}) == len(files) == 2 * SAMPLE_COUNT
