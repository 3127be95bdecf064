"""Jobs with several datasets: what each trainer is told of them, how it counts, and what it cannot do."""

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib.embedded.trainers.ai_toolkit import AiToolkitRecipe
from lib.embedded.trainers.command import command_recipes
from lib.embedded.trainers.diffusers import DiffusersRecipe
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.musubi import MusubiRecipe
from lib.embedded.trainers.recipe import MoreFolder, Recipe, further_problems
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe
from lib.embedded.trainers.tiny import TinyRecipe
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.dataset import Dataset
from lib.jobs.more_data import MoreData
from lib.jobs.training_settings import TrainingSettings
from tests.embedded.trainers.test_recipes import READY, make_run

NOWHERE = TrainerFolder(name="x", setting="X")
SD, TINY = SdScriptsRecipe(None), TinyRecipe()
MUSUBI, TOOLKIT, DIFFUSERS = MusubiRecipe(NOWHERE), AiToolkitRecipe(NOWHERE), DiffusersRecipe(NOWHERE)
SETTINGS = TrainingSettings(base_model="m/x", architecture="sdxl", repeats=10, class_tokens="sks fox", epochs=1)


def folder(path: Path = Path("/data/dog"), images: int = 3, **said: Any) -> MoreFolder:
    """A further dataset of images that are all alike."""
    dataset = Dataset(id=path.name, name=path.name.title(), image_count=images, sizes={(512, 512): images})
    return MoreFolder(said=MoreData(dataset_id=path.name, **said), dataset=dataset, path=path)


DOG = folder(repeats=5, class_tokens="a dog")
CAT = folder(Path("/data/cat"))
PREFIXED = folder(Path("/data/cat"), caption_prefix="a cat, ")
PERSON = folder(Path("/data/person"), 4, class_tokens="a person", is_regularisation=True)


def with_images(path: Path, *names: str) -> Path:
    path.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (16, 16)).save(path / name)
    return path


def test_sd_scripts_gets_a_subset_for_each_folder(tmp_path: Path) -> None:
    settings = replace(SETTINGS, caption_prefix="sks, ")
    SD.prepare(make_run(tmp_path, settings, more=(DOG, PREFIXED, PERSON)))
    content = tomllib.loads((tmp_path / "attempt" / "dataset.toml").read_text("utf-8"))
    (dataset,) = content["datasets"]
    assert dataset["subsets"] == [
        {"image_dir": str(tmp_path / 'a "folder"\\x'), "num_repeats": 10, "class_tokens": "sks fox"},
        {"image_dir": "/data/dog", "num_repeats": 5, "class_tokens": "a dog"},
        {"image_dir": "/data/cat", "num_repeats": 1, "caption_prefix": "a cat, "},
        {"image_dir": "/data/person", "num_repeats": 1, "class_tokens": "a person", "is_reg": True,
         "caption_prefix": ""},
    ]  # fmt: skip
    assert content["general"]["caption_prefix"] == "sks, "
    assert "class_tokens" not in content["general"], "the words of one folder are not those of the others"
    assert further_problems(SD, settings, (DOG, PREFIXED, PERSON)) == []


@pytest.mark.parametrize("recipe", [TINY, MUSUBI, TOOLKIT])
def test_a_prefix_of_its_own_is_refused_where_the_trainer_has_one_for_all(recipe: Recipe) -> None:
    assert further_problems(recipe, SETTINGS, (CAT,)) == further_problems(recipe, SETTINGS, ()) == []
    assert further_problems(recipe, SETTINGS, (PREFIXED,)) == [
        f"{recipe.name} has one caption prefix for all datasets. Empty those of the further ones."
    ]


@pytest.mark.parametrize(
    ("more", "changes", "steps"),
    [
        ((), {}, 30),
        ((DOG,), {}, 45),
        ((PERSON,), {}, 60),  # as many of them as of the others
        ((DOG, PERSON), {}, 90),
        ((DOG, PERSON), {"batch_size": 4}, 23),
        ((DOG, PERSON), {"batch_size": 4, "epochs": 3, "gradient_accumulation": 2}, 36),
        ((DOG, PERSON), {"buckets": False}, 90),
        ((DOG, PERSON), {"max_steps": 7}, 7),
        ((folder(Path("/data/many"), 100, is_regularisation=True),), {}, 60),
        ((replace(DOG, dataset=replace(DOG.dataset, sizes={})), PERSON), {"batch_size": 4}, 23),
        # Two buckets, of 75 and 15 images.
        ((replace(DOG, dataset=replace(DOG.dataset, sizes={(768, 512): 3})), PERSON), {"batch_size": 7}, 14),
    ],
)
def test_sd_scripts_counts_all_folders_together(
    more: tuple[MoreFolder, ...], changes: dict[str, Any], steps: int
) -> None:
    dataset = replace(READY, sizes={(512, 512): 3})
    assert SD.steps(replace(SETTINGS, **changes), dataset, more) == steps


def test_musubi_gets_a_dataset_and_a_cache_for_each_folder(tmp_path: Path) -> None:
    run = make_run(tmp_path, replace(SETTINGS, architecture="qwen-image"), more=(CAT, folder(repeats=5)))
    MUSUBI.prepare(run)
    content = tomllib.loads((tmp_path / "attempt" / "dataset.toml").read_text("utf-8"))
    assert [(each["image_directory"], each["num_repeats"]) for each in content["datasets"]] == [
        (str(run.dataset_path), 10), ("/data/cat", 1), ("/data/dog", 5),
    ]  # fmt: skip
    caches = [Path(each["cache_directory"]) for each in content["datasets"]]
    assert len(set(caches)) == 3, "it ends where two datasets share one"
    assert all(cache.is_dir() for cache in caches)


def test_musubi_cuts_batches_from_each_dataset() -> None:
    settings = replace(SETTINGS, architecture="qwen-image", batch_size=4, repeats=1)
    dataset = replace(READY, sizes={(512, 512): 3})
    assert MUSUBI.steps(settings, dataset, (CAT, folder(repeats=2))) == 1 + 1 + 2
    assert MUSUBI.steps(settings, READY, (CAT, folder(repeats=2))) == 3, "sizes are not known: one bucket"


@pytest.mark.parametrize(
    ("recipe", "more", "words"),
    [
        (MUSUBI, (PERSON,), "musubi-tuner has no regularisation images."),
        (MUSUBI, (DOG,), "musubi-tuner takes no words instead of a caption."),
        (TINY, (PERSON,), "tiny has no regularisation images."),
        (TINY, (DOG,), "tiny takes no words instead of a caption."),
        (DIFFUSERS, (CAT,), "diffusers trains on one dataset, and beside it on one of regularisation images"),
        (DIFFUSERS, (PERSON, replace(PERSON, path=Path("/b"))), "diffusers trains on one dataset"),
        (DIFFUSERS, (folder(is_regularisation=True),), "shows all regularisation images with one text"),
        (
            DIFFUSERS,
            (folder(is_regularisation=True, class_tokens="a dog", repeats=2),),
            "Set their repeats to 1.",
        ),
        *((each, (folder(images=0),), "Further dataset 'Dog': The dataset has no images.")
          for each in (SD, MUSUBI, TOOLKIT, TINY)),
    ],
)  # fmt: skip
def test_what_a_trainer_cannot_do_is_said_before_anything_is_queued(
    recipe: Recipe, more: tuple[MoreFolder, ...], words: str
) -> None:
    problems = recipe.more_problems(SETTINGS, more)
    assert any(words in each for each in problems), problems
    assert all(each.endswith(".") for each in problems)


def test_images_without_a_caption_need_one_or_words_where_the_trainer_would_leave_them_out() -> None:
    bare = replace(CAT, dataset=replace(CAT.dataset, uncaptioned=("a.png",)))
    for recipe in (MUSUBI, TOOLKIT):
        (problem,) = recipe.more_problems(SETTINGS, (bare,))
        assert problem.startswith("Further dataset 'Cat': 1 of the dataset's images have no caption")
    worded = replace(bare, said=replace(bare.said, class_tokens="a cat"))
    assert TOOLKIT.more_problems(SETTINGS, (worded,)) == []
    assert SD.more_problems(SETTINGS, (bare,)) == [], "it trains on them without a caption"


def test_ai_toolkit_gets_a_list_of_datasets(tmp_path: Path) -> None:
    main = with_images(tmp_path / "main", "a.png")
    person = with_images(tmp_path / "person", "b.png")
    (person / "b.txt").write_text("a man")
    more = (folder(tmp_path / "person", 1, repeats=2, is_regularisation=True),)
    run = make_run(tmp_path, replace(SETTINGS, flip_images=True), dataset_path=main, more=more)
    TOOLKIT.prepare(run)
    (process,) = json.loads((run.attempt_dir / "config.json").read_text())["config"]["process"]
    first, second = process["datasets"]
    assert (first["default_caption"], "is_reg" in first, first["num_repeats"]) == ("sks fox", False, 10)
    assert (second["is_reg"], second["num_repeats"], "default_caption" in second) == (True, 2, False)
    assert first["flip_x"] == second["flip_x"] is True
    assert first["folder_path"] != second["folder_path"]
    assert (Path(second["folder_path"]) / "000000.txt").read_text() == "a man"
    assert (Path(second["folder_path"]) / "000000.png").resolve() == person / "b.png"


def test_ai_toolkit_trains_on_regularisation_images_in_every_second_step() -> None:
    assert TOOLKIT.steps(SETTINGS, READY, (CAT,)) == 33
    assert TOOLKIT.steps(SETTINGS, READY, (CAT, PERSON)) == 66
    assert TOOLKIT.steps(replace(SETTINGS, max_steps=7), READY, (PERSON,)) == 7


def test_diffusers_gets_regularisation_images_as_class_images(tmp_path: Path) -> None:
    main = with_images(tmp_path / "main", "a.png")
    person = with_images(tmp_path / "person", "b.png", "c.png")
    (person / "b.txt").write_text("a man")
    more = (folder(person, 2, class_tokens="a person", is_regularisation=True),)
    run = make_run(tmp_path, SETTINGS, dataset_path=main, more=more)
    DIFFUSERS.prepare(run)
    images = run.attempt_dir / "class-images"
    assert {
        "--with_prior_preservation", f"--class_data_dir={images}", "--class_prompt=a person", "--num_class_images=2",
    } <= set(DIFFUSERS.command(run))  # fmt: skip
    # The script opens every file that it finds there as an image.
    assert sorted(each.name for each in images.iterdir()) == ["000000.png", "000001.png"]
    assert DIFFUSERS.more_problems(SETTINGS, more) == []
    extra = replace(SETTINGS, extra={"num_class_images": 100})
    assert "The further option num_class_images belongs" in DIFFUSERS.more_problems(extra, more)[0]
    assert DIFFUSERS.steps(SETTINGS, READY, more) == 30
    assert DIFFUSERS.steps(SETTINGS, READY, (folder(person, 100, is_regularisation=True),)) == 100


def test_a_command_gets_the_folders_only_where_it_names_them(tmp_path: Path) -> None:
    def recipe_of(argument: str) -> Recipe:
        path = tmp_path / "commands.toml"
        path.write_text(f'[mine]\nargv = [{sys.executable!r}, "{{dataset}}", {argument!r}]\n')
        (recipe,) = command_recipes(path, ModelFiles())
        return recipe

    run = make_run(tmp_path, SETTINGS, more=(CAT, folder()))
    recipe = recipe_of("{more_datasets}")
    assert recipe.command(run)[1:] == [str(run.dataset_path), "/data/cat", "/data/dog"]
    assert recipe.command(replace(run, more=()))[1:] == [str(run.dataset_path)]
    assert recipe.more_problems(SETTINGS, run.more) == []
    assert "takes the folders of further datasets only" in recipe.more_problems(SETTINGS, (DOG,))[0]
    assert recipe_of("x").more_problems(SETTINGS, run.more) == [
        "mine trains on one dataset. Take the further ones out, or choose another trainer."
    ]
    (problem,) = recipe_of("--more={more_datasets}").problems(SETTINGS, READY)
    assert "must be a whole argument" in problem


@pytest.mark.slow
def test_tiny_trains_on_all_folders(tmp_path: Path) -> None:
    main = with_images(tmp_path / "main", "a.png", "b.png")
    more = (folder(with_images(tmp_path / "more:data", "c.png"), 1, repeats=3),)
    settings = TrainingSettings(epochs=2, resolution=16, network_dim=1, batch_size=2)
    run = make_run(tmp_path, settings, dataset=replace(READY, image_count=2), dataset_path=main, more=more)
    TINY.prepare(run)
    done = subprocess.run(
        TINY.command(run), env=dict(TINY.environ(run)), capture_output=True, text=True, check=True, timeout=60
    )
    assert "5 train images with repeats." in done.stdout
    assert "学習ステップ数: 6" in done.stdout
    assert TINY.steps(settings, run.dataset, more) == 6
