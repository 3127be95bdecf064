"""A folder that is no trainer, or only a part of one: every recipe says so in a sentence, and waits for nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.embedded.trainers.ai_toolkit import AiToolkitRecipe
from lib.embedded.trainers.diffusers import DiffusersRecipe
from lib.embedded.trainers.installed_trainer import InstalledTrainer
from lib.embedded.trainers.musubi import MusubiRecipe
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.training_settings import TrainingSettings
from tests.embedded.trainers.test_recipes import READY

MUSUBI = ("zimage_cache_latents", "zimage_cache_text_encoder_outputs", "zimage_train_network")
# Recipe -> architecture and the files that it reads.
TRAINERS: dict[type[InstalledTrainer], tuple[str, tuple[str, ...]]] = {
    SdScriptsRecipe: ("sdxl", ("sdxl_train_network.py",)),
    MusubiRecipe: ("z-image", tuple(f"src/musubi_tuner/{name}.py" for name in MUSUBI)),
    DiffusersRecipe: ("sdxl", ("examples/dreambooth/train_dreambooth_lora_sdxl.py",)),
    AiToolkitRecipe: ("sdxl", ("run.py", "toolkit/config_modules.py")),
}
PARSER = "def setup_parser():\n    {}\ndef main():\n    setup_parser()\ndef parse_args():\n    setup_parser()\n"
SOURCES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.touch(),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\0((("),
    "50 GB": lambda path: (path.touch(), os.truncate(path, 50 << 30)),
    "nested": lambda path: path.write_text(f"x = {'(' * 5_000}{')' * 5_000}"),
    "nested too deeply for a parser": lambda path: path.write_text(f"x = {'-' * 100_000}1"),
    "calls itself": lambda path: path.write_text(PARSER.format("setup_parser()")),
    "odd arguments": lambda path: path.write_text(PARSER.format("p.add_argument('--x', choices=5, type=f(), *a, **k)")),
}


@pytest.fixture(autouse=True)
def no_accelerate_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def recipe_of(kind: type[InstalledTrainer], folder: Path) -> InstalledTrainer:
    if kind is SdScriptsRecipe:
        return SdScriptsRecipe(folder)
    return kind(TrainerFolder(name=kind.name, setting="X", path=folder))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", TRAINERS, ids=lambda each: each.name)
def test_sources_of_every_kind_are_answered_in_a_sentence(
    kind: type[InstalledTrainer], source: str, tmp_path: Path
) -> None:
    architecture, files = TRAINERS[kind]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        SOURCES[source](tmp_path / file)
    settings = TrainingSettings(trainer=kind.name, base_model="owner/model", architecture=architecture, extra={"x": 1})
    problems = recipe_of(kind, tmp_path).problems(settings, READY)
    assert problems[0].startswith(("There is no", "The options of", "The keys of")), problems
    assert all(each.endswith((".", "?")) for each in problems)


@pytest.mark.parametrize("kind", TRAINERS, ids=lambda each: each.name)
def test_a_python_that_is_none_is_no_environment(kind: type[InstalledTrainer], tmp_path: Path) -> None:
    architecture, files = TRAINERS[kind]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "venv" / "bin" / "python").mkdir(parents=True)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to("/nowhere/python")
    settings = TrainingSettings(trainer=kind.name, base_model="owner/model", architecture=architecture)
    assert recipe_of(kind, tmp_path).problems(settings, READY)[0].startswith("There is no Python environment in ")
