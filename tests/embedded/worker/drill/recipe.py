"""The recipe of the drills' trainer, given to worker and dashboard by the name of what builds it, ``recipes``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lib.embedded.trainers.kohya_files import collect_kohya
from lib.embedded.trainers.recipe import FoundFile, Recipe, TrainingRun
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import TrainingSettings
from lib.settings import Settings

NAME = "drill"
REFERENCE = f"{__name__}:recipes"
PROOF_NAME = "proof"


class DrillRecipe(Recipe):
    """Runs ``trainer.py``; ``extra`` may say ``mode``, ``seconds`` and ``proof`` (a folder)."""

    name = NAME
    label = "drill"

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
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

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far."""
        return collect_kohya(output_dir)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """Next to nothing."""
        return 1_000


def recipes(_settings: Settings) -> tuple[Recipe, ...]:
    """What worker and dashboard build."""
    return (DrillRecipe(),)
