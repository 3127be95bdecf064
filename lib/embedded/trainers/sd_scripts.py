"""The recipe of kohya's sd-scripts: LoRA for Stable Diffusion 1.5 and SDXL."""

import contextlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from lib.embedded.files.attempt_folder import EVENTS_FOLDER
from lib.embedded.trainers.kohya_files import PROMPTS_FILE, collect_kohya, file_stem, prompt_lines, write_prompts
from lib.embedded.trainers.model_files import ModelFiles, expanded
from lib.embedded.trainers.recipe import FoundFile, Recipe, TrainingRun, dataset_problems
from lib.embedded.trainers.sd_scripts_options import RULES, known_options, prompt_problem
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import TrainingSettings

SCRIPTS = {"sd15": "train_network.py", "sdxl": "sdxl_train_network.py"}
BYTES_PER_RANK = {"sd15": 1_200_000, "sdxl": 7_200_000}  # a 16 bit file of rank 128 has 151 MB and 912 MB
BYTES_PER_SAMPLE = {"sd15": 500_000, "sdxl": 2_000_000}
DATASET_FILE = "dataset.toml"
OWN_KEYS = frozenset({"architecture", "mixed_precision"})


class SdScriptsRecipe(Recipe):
    """Runs ``accelerate launch train_network.py``.

    Args:
        checkout: Folder of sd-scripts, as SD_SCRIPTS_DIR names it; None when there is none.
        models: Which models may be opened, and whether options are checked.
    """

    name = "sd-scripts"
    label = "sd-scripts (Stable Diffusion 1.5, SDXL)"

    def __init__(self, checkout: Path | None, models: ModelFiles | None = None) -> None:
        self._checkout = checkout
        self._models = models or ModelFiles()

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """What is missing (checkout, script, accelerate, base model, images), and what may not be passed on."""
        unchecked = self._models.rules.allow_any_option
        return [
            *_checkout_problems(settings, self._checkout),
            *self._model_problems(settings.base_model),
            *_architecture_problems(settings.extra),
            *filter(None, (RULES.always_refused(*item) for item in settings.extra.items())),
            *([] if unchecked else self._option_problems(settings).values()),
            *dataset_problems(dataset),
        ]

    def warnings(self, settings: TrainingSettings) -> Sequence[str]:
        """Which options nobody checked, where LORA_ALLOW_ANY_OPTION lifts the checks."""
        if not self._models.rules.allow_any_option or not (found := self._option_problems(settings)):
            return ()
        named = ", ".join(name[:40] for name in sorted(found)[:5]) + (", …" if len(found) > 5 else "")
        return (f"LORA_ALLOW_ANY_OPTION is set, so the trainer gets without a check: {named}.",)

    def _model_problems(self, base_model: str) -> list[str]:
        if not base_model.strip():
            return ["No base model is set. Give its path, or its name on the Hugging Face hub."]
        problem = self._models.problem(base_model, "The base model")
        return [problem] if problem else []

    def _option_problems(self, settings: TrainingSettings) -> dict[str, str]:
        """Option or prompt -> why it is not passed on; what is always refused is not among them."""
        known = known_options(self._checkout, SCRIPTS[architecture(settings)])
        extra = {name: value for name, value in settings.extra.items() if not RULES.always_refused(name, value)}
        extra.pop("architecture", None)
        found = {
            name: RULES.problem(name, value, known) or self._file_problem(name, value) for name, value in extra.items()
        }
        found |= {line: prompt_problem(line) for line in prompt_lines(settings)}
        return {name: problem for name, problem in found.items() if problem}

    def _file_problem(self, name: str, value: Any) -> str:
        if name not in RULES.files:
            return ""
        files = value if isinstance(value, list | tuple) else [value]
        problems = (self._models.problem(str(each), f"The option {name}", may_be_hub=name == "vae") for each in files)
        return next(filter(None, problems), "")

    def command(self, run: TrainingRun) -> list[str]:
        """The argv of ``accelerate launch``."""
        settings = run.settings
        kind = architecture(settings)
        script = str(self._checkout / SCRIPTS[kind]) if self._checkout else SCRIPTS[kind]
        precision = settings.extra.get("mixed_precision") or ("bf16" if kind == "sdxl" else "fp16")
        return [
            *launcher(self._checkout),
            f"--num_processes={run.gpu_count}",
            "--num_cpu_threads_per_process=1",
            script,
            f"--pretrained_model_name_or_path={_whole_path(settings.base_model)}",
            f"--dataset_config={run.attempt_dir / DATASET_FILE}",
            f"--output_dir={run.output_dir}",
            f"--output_name={file_stem(run.name)}",
            "--save_model_as=safetensors",
            "--save_precision=fp16",
            "--network_module=networks.lora",
            f"--network_dim={settings.network_dim}",
            f"--network_alpha={settings.network_alpha}",
            f"--learning_rate={settings.learning_rate:g}",
            f"--max_train_epochs={settings.epochs}",
            "--save_every_n_epochs=1",
            f"--seed={settings.seed}",
            f"--mixed_precision={precision}",
            "--gradient_checkpointing",
            "--cache_latents",
            "--sdpa",
            *(["--no_half_vae"] if kind == "sdxl" else []),
            f"--logging_dir={run.attempt_dir / EVENTS_FOLDER}",
            "--log_with=tensorboard",
            *_sample_arguments(run),
            *_extra_arguments(settings.extra),
        ]

    def prepare(self, run: TrainingRun) -> None:
        """Write the dataset file and the prompt file."""
        run.attempt_dir.mkdir(parents=True, exist_ok=True)
        (run.attempt_dir / DATASET_FILE).write_text(dataset_toml(run), encoding="utf-8")
        write_prompts(run, [_with_options(line, run.settings) for line in prompt_lines(run.settings)])

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far."""
        return collect_kohya(output_dir)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """One file and one image per prompt and epoch."""
        kind = architecture(settings)
        samples = len(settings.sample_prompts) * BYTES_PER_SAMPLE[kind]
        return settings.epochs * (settings.network_dim * BYTES_PER_RANK[kind] + samples)


def architecture(settings: TrainingSettings) -> str:
    """``sdxl`` or ``sd15``: what the settings say, or else the base model's name."""
    said = str(settings.extra.get("architecture", "")).lower()
    if said in SCRIPTS:
        return said
    return "sdxl" if re.search(r"xl(?![a-z])", settings.base_model, re.IGNORECASE) else "sd15"


def _whole_path(model: str) -> str:
    with contextlib.suppress(RuntimeError):  # there is no such user
        return str(expanded(model)) if model.startswith("~") else model
    return model


def launcher(checkout: Path | None) -> list[str]:
    """How to call ``accelerate launch``: with the checkout's own environment if there is one."""
    for name in ("venv", ".venv") if checkout else ():
        for python in (Path("bin", "python"), Path("Scripts", "python.exe")):
            if checkout and (checkout / name / python).exists():
                return [str(checkout / name / python), "-m", "accelerate.commands.launch"]
    return ["accelerate", "launch"]


def dataset_toml(run: TrainingRun) -> str:
    """The dataset as sd-scripts' ``--dataset_config`` wants it."""
    settings = run.settings
    subset = {"image_dir": str(run.dataset_path), "num_repeats": settings.repeats}
    dataset = {"resolution": settings.resolution, "batch_size": settings.batch_size, "subsets": [subset]}
    return tomli_w.dumps({"general": {"caption_extension": ".txt", "enable_bucket": True}, "datasets": [dataset]})


def _sample_arguments(run: TrainingRun) -> list[str]:
    if not prompt_lines(run.settings):
        return []
    prompts = f"--sample_prompts={run.output_dir / PROMPTS_FILE}"
    return [prompts, "--sample_every_n_epochs=1", "--sample_sampler=euler_a"]


def _with_options(line: str, settings: TrainingSettings) -> str:
    side = max(64, settings.resolution // 64 * 64)
    wanted = {"--w": side, "--h": side, "--d": settings.seed}
    return " ".join([line, *(f"{key} {value}" for key, value in wanted.items() if f" {key} " not in line)])


def _extra_arguments(extra: Mapping[str, Any]) -> list[str]:
    arguments = []
    for key, value in extra.items():
        if key in OWN_KEYS or value is None or value is False:
            continue
        if key in RULES.files:
            value = (
                [_whole_path(str(each)) for each in value]
                if isinstance(value, list | tuple)
                else _whole_path(str(value))
            )
        if value is True:
            arguments.append(f"--{key}")
        elif isinstance(value, list | tuple):
            arguments += [f"--{key}", *map(str, value)]
        else:
            arguments.append(f"--{key}={value}")
    return arguments


def _checkout_problems(settings: TrainingSettings, checkout: Path | None) -> list[str]:
    if checkout is None:
        return ["sd-scripts is not set up. Set SD_SCRIPTS_DIR to the folder of a checkout of kohya's sd-scripts."]
    script = checkout / SCRIPTS[architecture(settings)]
    if not script.is_file():
        return [f"There is no {script.name} in {checkout}. Set SD_SCRIPTS_DIR to a checkout of sd-scripts."]
    if launcher(checkout)[0] == "accelerate" and shutil.which("accelerate") is None:
        return [f"accelerate was not found. Install sd-scripts' requirements in {checkout / 'venv'}."]
    return []


def _architecture_problems(extra: Mapping[str, Any]) -> list[str]:
    said = extra.get("architecture")
    if said is not None and str(said).lower() not in SCRIPTS:
        return [f"The architecture {str(said)[:40]!r} is not known. Use sd15 or sdxl."]
    return []
