"""The recipe of the drills' trainer, given to worker and dashboard by its name, ``RECIPES``."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.embedded.trainers.recipe import FoundFile, Recipe, TrainingRun, collect_kohya
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import TrainingSettings

NAME = "drill"
REFERENCE = f"{__name__}:RECIPES"
PROOF_NAME = "proof"


class DrillRecipe:
    """Runs ``trainer.py``; ``extra`` may say ``mode``, ``seconds`` and ``proof`` (a folder)."""

    name = NAME
    label = "drill"
    description = "Trains nothing."

    def problems(self, settings: TrainingSettings, dataset: Dataset, *, sd_scripts_dir: Path | None) -> Sequence[str]:
        """Nothing stands against it."""
        return ()

    def command(self, run: TrainingRun) -> list[str]:
        """The argv."""
        extra = run.settings.extra
        return [
            *(sys.executable, "-I", "-S", str(Path(__file__).parent / "trainer.py")),
            *(str(extra.get("mode", "train")), str(run.output_dir), str(extra["proof"])),
            *(run.job_id, run.attempt_dir.name, str(extra.get("seconds", 1.0))),
        ]

    def prepare(self, run: TrainingRun) -> None:
        """Nothing is needed."""

    def environ(self, run: TrainingRun) -> Mapping[str, str]:
        """Nothing is needed."""
        return {}

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far."""
        return collect_kohya(output_dir)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """Next to nothing."""
        return 1_000


RECIPES: dict[str, Recipe] = {NAME: DrillRecipe()}
