"""Finds the trainer recipes by name, so that the worker process has the same ones as the dashboard."""

import importlib
from collections.abc import Mapping

from lib.embedded.trainers.recipe import Recipe

DEFAULT_RECIPES = "lib.embedded.trainers:RECIPES"


def load_recipes(reference: str) -> Mapping[str, Recipe]:
    """The recipes that ``module:attribute`` names."""
    module, _, attribute = reference.partition(":")
    recipes: Mapping[str, Recipe] = getattr(importlib.import_module(module), attribute)
    return recipes
