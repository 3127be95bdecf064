"""One recipe per trainer."""

from lib.embedded.trainers.recipe import Recipe
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe
from lib.embedded.trainers.tiny import TinyRecipe

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (TinyRecipe(), SdScriptsRecipe())}
