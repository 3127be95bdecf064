"""The trainer recipes that ship with the dashboard. The worker process builds the same ones."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

from lib.embedded.trainers.ai_toolkit import AiToolkitRecipe
from lib.embedded.trainers.command import command_recipes
from lib.embedded.trainers.diffusers import DiffusersRecipe
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.musubi import MusubiRecipe
from lib.embedded.trainers.recipe import Recipe
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe
from lib.embedded.trainers.tiny import TinyRecipe
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.settings import Settings

DEFAULT_RECIPES = f"{__name__}:recipes"


def recipes(settings: Settings) -> tuple[Recipe, ...]:
    """Every recipe, built from the settings it needs, in the order people choose from."""
    paths = settings.trainer_paths
    models = ModelFiles(rules=settings.rules, data_dir=settings.data_dir)
    shipped: tuple[Recipe, ...] = (
        TinyRecipe(),
        SdScriptsRecipe(paths.get("SD_SCRIPTS_DIR"), models, paths.get("SD_SCRIPTS_PYTHON")),
        MusubiRecipe(_folder(paths, "musubi-tuner", "MUSUBI_TUNER"), models),
        DiffusersRecipe(_folder(paths, "diffusers", "DIFFUSERS"), models),
        AiToolkitRecipe(_folder(paths, "ai-toolkit", "AI_TOOLKIT"), models),
    )
    # A command cannot take the name of a trainer that is known.
    known = {recipe.name for recipe in shipped}
    commands = command_recipes(settings.trainer_paths.get("LORA_COMMANDS"), models)
    return (*shipped, *(each for each in commands if each.name not in known))


def _folder(paths: Mapping[str, Path], name: str, setting: str) -> TrainerFolder:
    return TrainerFolder(
        name=name, setting=setting, path=paths.get(f"{setting}_DIR"), given_python=paths.get(f"{setting}_PYTHON")
    )


def load_recipes(reference: str, settings: Settings) -> Mapping[str, Recipe]:
    """Name -> recipe, as the function that ``module:function`` names builds them."""
    module, _, function = reference.partition(":")
    build: Callable[[Settings], tuple[Recipe, ...]] = getattr(importlib.import_module(module), function)
    return {recipe.name: recipe for recipe in build(settings)}
