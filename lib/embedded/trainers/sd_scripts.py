"""The recipe of kohya's sd-scripts: LoRA for Stable Diffusion, SDXL, FLUX.1, Lumina and Anima."""

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
from lib.embedded.trainers.sd_scripts_settings import (
    ARCHITECTURES,
    OPTIONS,
    PARAMETERS,
    dataset_values,
    ignored_problems,
    mode_arguments,
    network_arguments,
    plain_arguments,
    saving_arguments,
)
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import SETTINGS, TrainingSettings, set_names

BYTES_PER_SAMPLE = 2_000_000
# A rank beyond it means "full" to LyCORIS and makes no larger file.
MOST_RANK_COUNTED = 320
DATASET_FILE = "dataset.toml"
OWN_KEYS = frozenset({"architecture", "mixed_precision"})
_CAPTION_FILE = re.compile(r"\.[A-Za-z0-9]{1,10}")


class SdScriptsRecipe(Recipe):
    """Runs ``accelerate launch train_network.py``.

    Args:
        checkout: Folder of sd-scripts, as SD_SCRIPTS_DIR names it; None when there is none.
        models: Which models may be opened, and whether options are checked.
    """

    name = "sd-scripts"
    label = "sd-scripts (SD 1.5 to 3, SDXL, FLUX.1, Lumina, Anima)"
    parameters = PARAMETERS

    def __init__(self, checkout: Path | None, models: ModelFiles | None = None) -> None:
        self._checkout = checkout
        self._models = models or ModelFiles()

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """What is missing (checkout, script, accelerate, base model, images), and what may not be passed on."""
        unchecked = self._models.rules.allow_any_option
        return [
            *_checkout_problems(settings, self._checkout),
            *self._model_problems(settings),
            *_architecture_problems(settings.extra),
            *ignored_problems(settings, architecture(settings)),
            *_said_twice(settings),
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

    def _model_problems(self, settings: TrainingSettings) -> list[str]:
        if not settings.base_model.strip():
            return ["No base model is set. Give its path, or its name on the Hugging Face hub."]
        kind = ARCHITECTURES[architecture(settings)]
        missing = [SETTINGS[name].label for name in kind.needed if not getattr(settings, name).strip()]
        named = {"The base model": settings.base_model}
        named |= {f"The {SETTINGS[name].label}": getattr(settings, name) for name in kind.parts}
        named["The LoRA to start from"] = settings.network_weights
        problems = (self._models.problem(model, what) for what, model in named.items() if model)
        return [
            *([f"{kind.label} also needs: {', '.join(missing)}. Give their paths."] if missing else []),
            *filter(None, problems),
        ]

    def _option_problems(self, settings: TrainingSettings) -> dict[str, str]:
        """Option or prompt -> why it is not passed on; what is always refused is not among them."""
        known = known_options(self._checkout, ARCHITECTURES[architecture(settings)].script)
        extra = {name: value for name, value in settings.extra.items() if not RULES.always_refused(name, value)}
        extra.pop("architecture", None)
        found = {
            name: RULES.problem(name, value, known) or self._file_problem(name, value) for name, value in extra.items()
        }
        found |= {line: prompt_problem(line) for line in _prompts(settings)}
        listed = {name: list(getattr(settings, name)) for name in ("optimizer_args", "network_args")}
        found |= {name: RULES.problem(name, value, known) for name, value in listed.items() if value}
        if settings.caption_extension and not _CAPTION_FILE.fullmatch(settings.caption_extension):
            found["caption_extension"] = "The caption extension must be a dot and letters, such as .txt."
        return {name: problem for name, problem in found.items() if problem}

    def _file_problem(self, name: str, value: Any) -> str:
        if name not in RULES.files:
            return ""
        files = value if isinstance(value, list | tuple) else [value]
        problems = (self._models.problem(str(each), f"The option {name}", may_be_hub=name == "vae") for each in files)
        return next(filter(None, problems), "")

    def command(self, run: TrainingRun) -> list[str]:
        """The argv of ``accelerate launch``."""
        settings, name = run.settings, architecture(run.settings)
        kind = ARCHITECTURES[name]
        script = str(self._checkout / kind.script) if self._checkout else kind.script
        precision = settings.mixed_precision or settings.extra.get("mixed_precision") or kind.precision
        parts = {option: getattr(settings, setting) for setting, option in kind.parts.items()}
        return [
            *launcher(self._checkout),
            f"--num_processes={run.gpu_count}",
            "--num_machines=1",
            f"--mixed_precision={precision}",
            "--dynamo_backend=no",
            "--num_cpu_threads_per_process=1",
            script,
            f"--pretrained_model_name_or_path={_whole_path(settings.base_model)}",
            *(f"--{option}={_whole_path(path)}" for option, path in parts.items() if path),
            f"--dataset_config={run.attempt_dir / DATASET_FILE}",
            f"--output_dir={run.output_dir}",
            f"--output_name={file_stem(run.name)}",
            "--save_model_as=safetensors",
            f"--save_precision={settings.save_precision or 'fp16'}",
            *network_arguments(settings, kind.network),
            f"--learning_rate={settings.learning_rate:g}",
            _length_argument(settings),
            f"--seed={settings.seed}",
            f"--mixed_precision={precision}",
            *mode_arguments(settings),
            "--sdpa",
            *kind.flags,
            *plain_arguments(settings),
            *saving_arguments(settings),
            f"--logging_dir={run.attempt_dir / EVENTS_FOLDER}",
            "--log_with=tensorboard",
            *_sample_arguments(run),
            *_extra_arguments(settings.extra),
        ]

    def prepare(self, run: TrainingRun) -> None:
        """Write the dataset file and the prompt file."""
        run.attempt_dir.mkdir(parents=True, exist_ok=True)
        (run.attempt_dir / DATASET_FILE).write_text(dataset_toml(run), encoding="utf-8")
        write_prompts(run, _prompts(run.settings))

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far."""
        return collect_kohya(output_dir)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """One file and one image per prompt and epoch, and a state with the optimizer's memory of the network."""
        kind = ARCHITECTURES[architecture(settings)]
        file_bytes = min(settings.network_dim, MOST_RANK_COUNTED) * kind.bytes_per_rank
        saves = settings.epochs // settings.save_every_epochs if settings.save_every_epochs else 1
        kept = min(saves, settings.keep_last or saves)
        samples = len(settings.sample_prompts) * BYTES_PER_SAMPLE * settings.epochs
        return (kept + 6 * settings.save_state) * file_bytes + samples


def architecture(settings: TrainingSettings) -> str:
    """A key of ``ARCHITECTURES``: what the settings say, or else the base model's name."""
    said = (settings.architecture or str(settings.extra.get("architecture", ""))).lower()
    if said in ARCHITECTURES:
        return said
    if re.search(r"flux[._-]?1|(?<![a-z])flux(?![a-z._-]?2)", settings.base_model, re.IGNORECASE):
        return "flux"
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
    general = {"caption_extension": settings.caption_extension or ".txt", "enable_bucket": settings.buckets}
    subset = {"image_dir": str(run.dataset_path), "num_repeats": settings.repeats}
    height = settings.resolution_height
    size = [settings.resolution, height] if height else settings.resolution
    dataset = {"resolution": size, "batch_size": settings.batch_size, "subsets": [subset]}
    return tomli_w.dumps({"general": {**general, **dataset_values(settings)}, "datasets": [dataset]})


def _sample_arguments(run: TrainingRun) -> list[str]:
    settings = run.settings
    every = f"epochs={settings.sample_every_epochs}" if settings.sample_every_epochs else ""
    every = f"steps={settings.sample_every_steps}" if settings.sample_every_steps else every
    if not every or not prompt_lines(settings):
        return []
    prompts = f"--sample_prompts={run.output_dir / PROMPTS_FILE}"
    return [prompts, f"--sample_every_n_{every}", f"--sample_sampler={settings.sampler}"]


def _prompts(settings: TrainingSettings) -> list[str]:
    """The lines of the prompt file, with the options that every sample is made with and that a line does not have."""
    width, height = settings.resolution, settings.resolution_height or settings.resolution
    wanted = {
        "--w": max(64, width // 64 * 64),
        "--h": max(64, height // 64 * 64),
        "--d": settings.seed,
        "--s": settings.sample_steps,
        "--l": settings.sample_guidance,
        "--n": " ".join(settings.negative_prompt.split()) or None,
    }
    options = {key: _plain(value) for key, value in wanted.items() if value is not None}
    return [
        " ".join([line, *(f"{key} {said}" for key, said in options.items() if f" {key} " not in line)])
        for line in prompt_lines(settings)
    ]


def _plain(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _length_argument(settings: TrainingSettings) -> str:
    if settings.max_steps:
        return f"--max_train_steps={settings.max_steps}"
    return f"--max_train_epochs={settings.epochs}"


def _said_twice(settings: TrainingSettings) -> list[str]:
    """Fields whose option is also among the further options, where the last one would win."""
    twice = [name for name in set_names(settings) if OPTIONS.get(name) in settings.extra]
    return [
        f"{SETTINGS[name].label} is set, and so is the further option {OPTIONS[name]}. Remove one of them."
        for name in twice
    ]


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
    script = checkout / ARCHITECTURES[architecture(settings)].script
    if not script.is_file():
        return [f"There is no {script.name} in {checkout}. Set SD_SCRIPTS_DIR to a checkout of sd-scripts."]
    if launcher(checkout)[0] == "accelerate" and shutil.which("accelerate") is None:
        return [f"accelerate was not found. Install sd-scripts' requirements in {checkout / 'venv'}."]
    return []


def _architecture_problems(extra: Mapping[str, Any]) -> list[str]:
    said = extra.get("architecture")
    if said is not None and str(said).lower() not in ARCHITECTURES:
        return [f"The architecture {str(said)[:40]!r} is not known. Use one of: {', '.join(ARCHITECTURES)}."]
    return []
