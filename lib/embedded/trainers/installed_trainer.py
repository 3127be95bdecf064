"""What the recipes have in common whose trainer is installed in a folder of this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from lib.embedded.trainers.base_model import BaseModel
from lib.embedded.trainers.kohya_files import collect_kohya
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.option_rules import unchecked_warnings
from lib.embedded.trainers.recipe import FoundFile, Recipe
from lib.embedded.trainers.trainer_folder import Installation, TrainerFolder
from lib.jobs.training_settings import TrainingSettings

Kind = TypeVar("Kind")
NO_BASE_MODEL = "No base model is set. Give its path, or its name on the Hugging Face hub."
NO_ARCHITECTURE = "No architecture is chosen. Choose under Model parts which one the base model has."


class InstalledTrainer(Recipe):
    """Runs a script of a checkout and opens models. Subclasses name the script, and the packages that it needs.

    Args:
        folder: Where the trainer is installed.
        models: Which models may be opened, and whether options are checked.
    """

    packages: tuple[str, ...] = ("torch", "accelerate")

    def __init__(self, folder: TrainerFolder, models: ModelFiles | None = None) -> None:
        self._folder = folder
        self._models = models or ModelFiles()

    def script(self, settings: TrainingSettings) -> str:
        """The script that trains, from the checkout."""
        raise NotImplementedError

    def installation(self, settings: TrainingSettings) -> Installation:
        """The script that trains, and what it needs."""
        return Installation(folder=self._folder, script=self.script(settings), packages=self.packages)

    def warnings(self, settings: TrainingSettings) -> Sequence[str]:
        """That options are not checked, where LORA_ALLOW_ANY_OPTION lifts the checks."""
        return unchecked_warnings(settings.extra, self._models)

    def base_model(self, settings: TrainingSettings) -> BaseModel | None:
        """What its header tells."""
        return self._models.base_model(settings.base_model)

    def told(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with the architecture by the base model's header where they name none.

        Nothing is guessed: what the header does not tell for certain, or the trainer does not train, stays empty.
        """
        base = None if settings.architecture else self.base_model(settings)
        known = self.parameters["architecture"].choices
        return replace(settings, architecture=base.architecture) if base and base.architecture in known else settings

    def _scaled_problems(self, settings: TrainingSettings) -> list[str]:
        base = self.base_model(settings)
        return [
            f"The base model is in scaled fp8: {self.name} would read its weights without the factors that belong to "
            "them. Give the model in fp16 or bf16."
        ] if base and base.is_scaled else []  # fmt: skip

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far, by the names that sd-scripts gives them, too."""
        return collect_kohya(output_dir)

    def _refused_models(self, named: Mapping[str, str], *, may_be_hub: bool = True) -> list[str]:
        """Why some models may not be opened.

        Args:
            named: What a sentence calls the model -> its name or path; an empty one is none.
        """
        found = (self._models.problem(model, what, may_be_hub=may_be_hub) for what, model in named.items() if model)
        return [problem for problem in found if problem]


def chosen(architectures: Mapping[str, Kind], settings: TrainingSettings) -> Kind:
    """The architecture that is chosen; while none is, a preview shows the first one."""
    return architectures.get(settings.architecture) or next(iter(architectures.values()))
