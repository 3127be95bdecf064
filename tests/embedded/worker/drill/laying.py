"""The tiny trainer's recipe for workers that are killed while they lay an attempt's folder."""

import time
from pathlib import Path

from lib.embedded.trainers.recipe import Recipe, TrainingRun
from lib.embedded.trainers.tiny import TinyRecipe
from lib.settings import Settings

REFERENCE = f"{__name__}:recipes"
HOLD, LAYING = "hold", "laying"


class HeldRecipe(TinyRecipe):
    """Stops half-way while the data folder has a file ``hold``, and says so with the file ``laying``."""

    def prepare(self, run: TrainingRun) -> None:
        """Write a part, wait, and write the rest."""
        data_dir: Path = run.attempt_dir.parents[2]
        if (data_dir / HOLD).exists():
            (run.output_dir / "sample").mkdir()
            (data_dir / LAYING).touch()
            while (data_dir / HOLD).exists():
                time.sleep(0.01)
        super().prepare(run)


def recipes(_settings: Settings) -> tuple[Recipe, ...]:
    """What the worker builds."""
    return (HeldRecipe(),)
