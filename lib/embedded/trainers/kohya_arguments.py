"""What the command lines of sd-scripts and musubi-tuner have in common: their parsers share these options."""

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

from lib.embedded.trainers.kohya_files import PROMPTS_FILE, prompt_lines
from lib.embedded.trainers.model_files import expanded
from lib.embedded.trainers.recipe import TrainingRun
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.training_settings import SETTINGS, USUAL, TrainingSettings, set_names

BYTES_PER_SAMPLE = 2_000_000
# A rank beyond it means "full" to LyCORIS and makes no larger file.
MOST_RANK_COUNTED = 320
# Setting -> what both call it, of those that they have a way of their own to pass on.
OWN_NAMES = {
    "epochs": "max_train_epochs",
    "learning_rate": "learning_rate",
    "batch_size": "batch_size",
    "resolution": "resolution",
    "resolution_height": "resolution",
    "network_dim": "network_dim",
    "network_alpha": "network_alpha",
    "repeats": "num_repeats",
    "seed": "seed",
    "sample_prompts": "sample_prompts",
    "extra": "",
    "max_steps": "max_train_steps",
    "buckets": "enable_bucket",
    "caption_extension": "caption_extension",
    "save_every_epochs": "save_every_n_epochs",
    "save_every_steps": "save_every_n_steps",
    "keep_last": "save_last_n_epochs, save_last_n_steps",
    "save_state": "save_state",
    "sample_every_epochs": "sample_every_n_epochs",
    "sample_every_steps": "sample_every_n_steps",
    "sample_steps": "--s",
    "negative_prompt": "--n",
}


def launch(folder: TrainerFolder, precision: str, cards: int) -> list[str]:
    """``accelerate launch`` up to the script. What is left out there is asked of the machine, with warnings."""
    return [
        *folder.accelerate(),
        f"--num_processes={cards}",
        "--num_machines=1",
        f"--mixed_precision={precision}",
        "--dynamo_backend=no",
        "--num_cpu_threads_per_process=1",
    ]


def plain_arguments(settings: TrainingSettings, options: Mapping[str, str]) -> list[str]:
    """The options whose values are passed on as they are; none for what is off.

    Args:
        options: Setting -> option.
    """
    arguments: list[str] = []
    for setting, option in options.items():
        value = getattr(settings, setting)
        if value is True:
            arguments.append(f"--{option}")
        elif isinstance(value, tuple):
            arguments += [f"--{option}", *value] if value else []
        elif value is not None and value is not False and value != "" and not _is_usual_number(setting, value):
            arguments.append(f"--{option}={plain(value)}")
    return arguments


def _is_usual_number(setting: str, value: Any) -> bool:
    return setting == "gradient_accumulation" and value == USUAL[setting]


def plain(value: float | str) -> str:
    """A value as a command line has it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def length_argument(settings: TrainingSettings) -> str:
    """Steps or epochs."""
    if settings.max_steps:
        return f"--max_train_steps={settings.max_steps}"
    return f"--max_train_epochs={settings.epochs}"


def saving_arguments(settings: TrainingSettings) -> list[str]:
    """When files and states are saved, and how many are kept: those of steps are counted in steps."""
    epochs, steps, kept = settings.save_every_epochs, settings.save_every_steps, settings.keep_last
    arguments = [f"--save_every_n_epochs={epochs}"] if epochs else []
    arguments += [f"--save_every_n_steps={steps}"] if steps else []
    if kept:
        arguments += [f"--save_last_n_epochs={kept}"] if epochs else []
        arguments += [f"--save_last_n_steps={steps * (kept - 1) or 1}"] if steps else []
    if settings.save_state:
        arguments += ["--save_state"] if epochs or steps else ["--save_state_on_train_end"]
        arguments += ["--save_last_n_epochs_state=1"] if epochs else []
        arguments += ["--save_last_n_steps_state=1"] if steps else []
    return arguments


def sample_arguments(run: TrainingRun) -> list[str]:
    """When samples are made, and the file of their prompts; empty when none are."""
    settings = run.settings
    every = f"epochs={settings.sample_every_epochs}" if settings.sample_every_epochs else ""
    every = f"steps={settings.sample_every_steps}" if settings.sample_every_steps else every
    if not every or not prompt_lines(settings):
        return []
    return [f"--sample_prompts={run.output_dir / PROMPTS_FILE}", f"--sample_every_n_{every}"]


def prompts_with_options(settings: TrainingSettings, guidance: str = "l") -> list[str]:
    """The lines of the prompt file, with the options that every sample is made with and that a line does not have."""
    width, height = settings.resolution, settings.resolution_height or settings.resolution
    wanted = {
        "--w": max(64, width // 64 * 64),
        "--h": max(64, height // 64 * 64),
        "--d": settings.seed,
        "--s": settings.sample_steps,
        f"--{guidance}": settings.sample_guidance,
        "--n": " ".join(settings.negative_prompt.split()) or None,
    }
    options = {key: plain(value) for key, value in wanted.items() if value is not None}
    return [
        " ".join([line, *(f"{key} {said}" for key, said in options.items() if f" {key} " not in line)])
        for line in prompt_lines(settings)
    ]


def extra_arguments(extra: Mapping[str, Any], files: Collection[str] = ()) -> list[str]:
    """The further options; ``~`` is spelled out in those that name files."""
    arguments: list[str] = []
    for key, value in extra.items():
        if value is None or value is False:
            continue
        if value is True:
            arguments.append(f"--{key}")
        elif isinstance(value, list | tuple):
            arguments += [f"--{key}", *(whole_path(str(each)) if key in files else str(each) for each in value)]
        else:
            arguments.append(f"--{key}={whole_path(str(value)) if key in files else value}")
    return arguments


def whole_path(model: str) -> str:
    """A model's path without ``~``."""
    with contextlib.suppress(RuntimeError):  # there is no such user
        return str(expanded(model)) if model.startswith("~") else model
    return model


def said_twice(settings: TrainingSettings, options: Mapping[str, str]) -> list[str]:
    """Fields whose option is also among the further options, where the last one would win."""
    twice = [name for name in set_names(settings) if options.get(name) in settings.extra]
    return [
        f"{SETTINGS[name].label} is set, and so is the further option {options[name]}. Remove one of them."
        for name in twice
    ]


def schedule_faults(settings: TrainingSettings) -> dict[str, bool]:
    """What both would refuse of a schedule once the models are loaded, or ignore: sentence -> whether it is so.

    ``get_optimizer`` and ``get_scheduler_fix`` in library/train_util.py.
    """
    said, extra = settings, settings.extra
    is_plain = "lr_scheduler_type" not in extra
    schedule = str(said.lr_scheduler or extra.get("lr_scheduler", "constant"))
    arguments = f"{said.optimizer_args} {extra.get('optimizer_args', '')}"
    is_adafactor = str(said.optimizer or extra.get("optimizer_type", "")).casefold() == "adafactor"
    is_relative = is_adafactor and "relative_step=False" not in arguments
    return {
        "Cycles belong to the schedule cosine_with_restarts. Choose it, or empty them.": (
            said.lr_cycles is not None and said.lr_scheduler not in ("cosine_with_restarts", "polynomial")
        ),
        "The schedule constant has no warm-up. Choose constant_with_warmup, or empty the warm-up.": (
            bool(said.lr_warmup) and is_plain and schedule == "constant" and not is_relative
        ),
        "Adafactor has a schedule of its own, without a warm-up. Empty the warm-up, or give the optimizer argument "
        "relative_step=False.": bool(said.lr_warmup) and is_plain and is_relative,
        "The schedule of the further option lr_scheduler_type has no warm-up. Empty the warm-up.": (
            bool(said.lr_warmup) and not is_plain
        ),
        "The schedule adafactor belongs to the optimizer Adafactor with its relative steps. Choose another schedule.": (
            is_plain and schedule == "adafactor" and not is_relative
        ),
    }


def saved_bytes(settings: TrainingSettings, bytes_per_rank: int) -> int:
    """About what a whole run writes: files, one image per prompt and epoch, a state with the optimizer's memory."""
    file_bytes = min(settings.network_dim, MOST_RANK_COUNTED) * bytes_per_rank
    saves = settings.epochs // settings.save_every_epochs if settings.save_every_epochs else 1
    kept = min(saves, settings.keep_last or saves)
    samples = len(settings.sample_prompts) * BYTES_PER_SAMPLE * settings.epochs
    return (kept + 6 * settings.save_state) * file_bytes + samples
