"""What is missing in a trainer's folder is said in plain words."""

from pathlib import Path

import pytest

from lib.embedded.trainers.installed_trainer import InstalledTrainer
from lib.embedded.trainers.registry import recipes
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.training_settings import TrainingSettings
from lib.settings import Settings
from tests.embedded.trainers.test_recipes import READY


def folder(path: Path | None, python: Path | None = None) -> TrainerFolder:
    return TrainerFolder(name="some-tuner", setting="SOME_TUNER", path=path, given_python=python)


def make(path: Path, *names: str) -> None:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()


def test_each_thing_that_is_missing_is_said_until_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    def problem() -> str:
        return " ".join(folder(tmp_path).problems(["src/train.py"], ["torch", "accelerate"]))

    assert "Set SOME_TUNER_DIR to the folder" in folder(None).problems(["train.py"])[0]
    assert f"There is no src/train.py in {tmp_path}: it is no checkout of some-tuner, or one of another" in problem()
    make(tmp_path, "src/train.py")
    assert f"There is no Python environment in {tmp_path}" in problem()
    make(tmp_path, ".venv/bin/python", ".venv/lib/python3.12/site-packages/torch/__init__.py")
    assert "has no accelerate: it is not installed to the end" in problem()
    make(tmp_path, ".venv/lib/python3.12/site-packages/accelerate/__init__.py")
    assert problem() == ""
    assert folder(tmp_path).accelerate()[0] == str(tmp_path / ".venv/bin/python")


def test_a_package_that_is_installed_from_its_checkout_is_not_called_missing(tmp_path: Path) -> None:
    make(tmp_path, "train.py", "venv/bin/python", "venv/lib/python3.12/site-packages/diffusers-0.40.dist-info/METADATA")
    assert folder(tmp_path).problems(["train.py"], ["diffusers"]) == []


def test_what_an_environment_may_find_elsewhere_is_not_called_missing(tmp_path: Path) -> None:
    make(tmp_path, "train.py", "other/bin/python", "other/lib/python3.12/site-packages/x/__init__.py")
    given = folder(tmp_path, tmp_path / "other/bin/python")
    assert given.python == tmp_path / "other/bin/python"
    assert "has no torch" in given.problems(["train.py"], ["torch"])[0]
    (tmp_path / "other/pyvenv.cfg").write_text("include-system-site-packages = true\n")
    assert given.problems(["train.py"], ["torch"]) == []


def test_accelerate_on_the_path_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "train.py", "bin/accelerate")
    (tmp_path / "bin/accelerate").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert folder(tmp_path).problems(["train.py"]) == []
    assert folder(tmp_path).accelerate() == ["accelerate", "launch"]


def test_no_trainer_is_taken_for_installed_without_torch(tmp_path: Path) -> None:
    make(tmp_path, "train_network.py", "venv/bin/python", "venv/lib/python3.11/site-packages/accelerate/__init__.py")
    recipe = SdScriptsRecipe(tmp_path)
    settings = TrainingSettings(trainer="sd-scripts", base_model="owner/model")
    assert "has no torch: it is not installed to the end" in " ".join(recipe.problems(settings, READY))
    make(tmp_path, "venv/lib/python3.11/site-packages/torch/__init__.py")
    assert recipe.problems(settings, READY) == []
    assert all("torch" in each.packages for each in installed_trainers())


def installed_trainers() -> list[InstalledTrainer]:
    return [recipe for recipe in recipes(Settings()) if isinstance(recipe, InstalledTrainer)]
