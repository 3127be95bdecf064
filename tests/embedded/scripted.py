"""A trainer that is a few lines of Python, given in the job's settings: for tests of supervisor and worker."""

import json
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from lib.embedded.trainers.kohya_files import collect_kohya
from lib.embedded.trainers.recipe import FoundFile, Recipe, TrainingRun
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import TrainingSettings
from lib.settings import Settings


def safetensors(name: str, *tensors: str) -> bytes:
    """A whole safetensors file with tensors of one value, told apart by its metadata."""
    entries = {
        tensor: {"dtype": "F32", "shape": [1, 1], "data_offsets": [4 * place, 4 * place + 4]}
        for place, tensor in enumerate(tensors)
    }
    header = json.dumps({"__metadata__": {"n": name}, **entries}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * len(tensors))


PAIR = ("lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight")
FIRST, WEIGHTS = safetensors("first", *PAIR), safetensors("last", *PAIR)
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


class ScriptedRecipe(Recipe):
    """Runs ``settings.extra["script"]``; ``argv`` there replaces the whole command line."""

    name = "scripted"
    label = "scripted"

    def __init__(self, environ: Mapping[str, str] = MappingProxyType({})) -> None:
        self._environ = environ

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
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
        """One variable of the job and those given, to see that they arrive."""
        return {"SCRIPTED_JOB": run.job_id, **self._environ}

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


def recipes(settings: Settings) -> tuple[Recipe, ...]:
    """What worker and dashboard build."""
    paths = {name: str(path) for name, path in settings.trainer_paths.items()}
    return (ScriptedRecipe({**paths, "RULES": str(settings.rules)}),)


REFERENCE = f"{__name__}:recipes"
