"""A trainer that is a few lines of Python, given in the job's settings: for tests of supervisor and worker."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.embedded.trainers.recipe import FoundFile, Recipe, TrainingRun, collect_kohya
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import TrainingSettings

# The shortest whole safetensors files there are, told apart by their metadata.
FIRST = b"\x1e" + bytes(7) + b'{"__metadata__":{"n":"first"}}'
WEIGHTS = b"\x02" + bytes(7) + b"{}"
# Prints like sd-scripts; ``OUTPUT`` is the output folder.
TRAIN = f"""
print("running training / 学習開始", flush=True)
for step in range(1, 5):
    bar = f"{{step * 25}}%|##| {{step}}/4 [00:01<00:01, 1.00it/s, avr_loss=0.{{9 - step}}]"
    print(f"\\rsteps: {{bar}}", end="", flush=True)
print("\\nmodel saved.", flush=True)
(OUTPUT / "lora-000001.safetensors").write_bytes({FIRST!r})
(OUTPUT / "lora.safetensors").write_bytes({WEIGHTS!r})
"""


class ScriptedRecipe:
    """Runs ``settings.extra["script"]``; ``argv`` there replaces the whole command line."""

    name = "scripted"
    label = "scripted"
    description = "For tests."

    def problems(self, settings: TrainingSettings, dataset: Dataset, *, sd_scripts_dir: Path | None) -> Sequence[str]:
        """None."""
        return ()

    def command(self, run: TrainingRun) -> list[str]:
        """Python without site packages, which starts fast."""
        return list(run.settings.extra.get("argv", ())) or script_argv(run.settings.extra["script"], run.output_dir)

    def prepare(self, run: TrainingRun) -> None:
        """Fails when the settings say so."""
        if problem := run.settings.extra.get("unprepared"):
            raise RuntimeError(problem)

    def environ(self, run: TrainingRun) -> Mapping[str, str]:
        """One variable, to see that it arrives."""
        return {"SCRIPTED_JOB": run.job_id}

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far."""
        return collect_kohya(output_dir)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """Next to nothing."""
        return 1


def script_argv(script: str, output: Path) -> list[str]:
    """The command line that runs a script, with ``OUTPUT`` set."""
    head = "import os, signal, subprocess, sys, time; from pathlib import Path; OUTPUT = Path(sys.argv[1])\n"
    return [sys.executable, "-I", "-S", "-c", head + script, str(output)]


RECIPES: dict[str, Recipe] = {"scripted": ScriptedRecipe()}
REFERENCE = f"{__name__}:RECIPES"
