"""The recipe of ``tiny``: a real training on the CPU that checks the whole way, but trains no image model."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from lib.embedded.trainers.kohya_files import PROMPTS_FILE, collect_kohya, file_stem, prompt_lines, write_prompts
from lib.embedded.trainers.kohya_states import kohya_states, start_arguments
from lib.embedded.trainers.recipe import (
    EndedRun,
    FoundFile,
    FoundState,
    MoreFolder,
    Recipe,
    TrainingRun,
    dataset_problems,
    dataset_problems_of,
)
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import Parameter, TrainingSettings
from lib.settings import ROOT

BYTES_PER_RANK = 14_700  # both matrices of all layers in 32 bit; see lib.tiny_trainer.network
BYTES_PER_SAMPLE = 200_000
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class TinyRecipe(Recipe):
    """Runs ``python -m lib.tiny_trainer``, which fits low-rank adapters of a very small patch denoiser on the CPU."""

    name = "tiny"
    label = "tiny (CPU check, not an image model)"
    uses_gpu = False
    takes_weights = True
    parameters: Mapping[str, Parameter] = MappingProxyType({"save_state": Parameter(name="save_state")})

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """A dataset that cannot be used, or options that would be ignored silently."""
        return [*dataset_problems(dataset), *_option_problems(settings.extra)]

    def more_problems(self, settings: TrainingSettings, more: Sequence[MoreFolder]) -> Sequence[str]:
        """What it does not have: regularisation, and words for images without a caption."""
        faults = {
            "tiny has no regularisation images. Take them out, or choose another trainer.": any(
                each.said.is_regularisation for each in more
            ),
            "tiny takes no words instead of a caption. Empty them beside the further datasets.": any(
                each.said.class_tokens for each in more
            ),
        }
        return [*(problem for problem, is_there in faults.items() if is_there), *dataset_problems_of(more)]

    def command(self, run: TrainingRun) -> list[str]:
        """The argv, with sd-scripts' argument names."""
        settings = run.settings
        return [
            sys.executable,
            "-m",
            "lib.tiny_trainer",
            f"--train_data_dir={run.dataset_path}",
            f"--output_dir={run.output_dir}",
            f"--output_name={file_stem(run.name)}",
            f"--network_dim={settings.network_dim}",
            f"--network_alpha={settings.network_alpha}",
            f"--learning_rate={settings.learning_rate:g}",
            f"--max_train_epochs={settings.epochs}",
            f"--train_batch_size={settings.batch_size}",
            f"--resolution={settings.resolution}",
            f"--dataset_repeats={settings.repeats}",
            *(f"--more_data={each.said.repeats}:{each.path}" for each in run.more),
            f"--seed={settings.seed}",
            *([f"--sample_prompts={run.output_dir / PROMPTS_FILE}"] if prompt_lines(settings) else []),
            *(["--save_state"] if settings.save_state else []),
            *start_arguments(run),
        ]

    def prepare(self, run: TrainingRun) -> None:
        """Write the prompt file."""
        write_prompts(run, prompt_lines(run.settings))

    def environ(self, run: TrainingRun) -> Mapping[str, str]:
        """Find this code from any folder; one thread, so that the dashboard keeps a core."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", **dict.fromkeys(BLAS_THREADS, "1")}

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far."""
        return collect_kohya(output_dir)

    def states(self, ended: EndedRun) -> Sequence[FoundState]:
        """Its newest state."""
        return kohya_states(ended, needed=("optimizer.npz",))

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """One file and one image per prompt and epoch, and two states: Adam keeps two values for each weight."""
        samples, file_bytes = len(settings.sample_prompts) * BYTES_PER_SAMPLE, settings.network_dim * BYTES_PER_RANK
        return settings.epochs * (file_bytes + samples) + 6 * settings.save_state * file_bytes


def _option_problems(extra: Mapping[str, object]) -> list[str]:
    if not extra:
        return []
    named = ", ".join(name[:40] for name in sorted(extra)[:5]) + (", …" if len(extra) > 5 else "")
    return [f"This trainer knows no further options: {named}. Take them out of the settings, or choose sd-scripts."]
