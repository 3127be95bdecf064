"""The recipe of kohya's musubi-tuner: LoRA for Qwen-Image, Z-Image, FLUX.2, Krea 2, Wan 2.1 and HunyuanVideo."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import tomli_w

from lib.embedded.files.attempt_folder import EVENTS_FOLDER
from lib.embedded.trainers.installed_trainer import NO_ARCHITECTURE, InstalledTrainer, chosen
from lib.embedded.trainers.kohya_arguments import (
    extra_arguments,
    launch,
    length_argument,
    plain_arguments,
    prompts_with_options,
    said_twice,
    sample_arguments,
    saved_bytes,
    saving_arguments,
    whole_path,
)
from lib.embedded.trainers.kohya_files import file_stem, write_prompts
from lib.embedded.trainers.kohya_states import going_on, kohya_states
from lib.embedded.trainers.linked_dataset import steps_of_epochs
from lib.embedded.trainers.musubi_settings import (
    ARCHITECTURES,
    LYCORIS,
    OPTIMIZERS,
    OPTIONS,
    PARAMETERS,
    PRECISION,
    MusubiArchitecture,
    batches_of,
    ignored_problems,
    precision_problems,
)
from lib.embedded.trainers.option_rules import OptionRules, extra_problems
from lib.embedded.trainers.parser_source import Option, read_options, version_problems
from lib.embedded.trainers.recipe import (
    NO_MORE,
    EndedRun,
    FoundState,
    MoreFolder,
    TrainingRun,
    caption_problems,
    dataset_problems,
    dataset_problems_of,
    told_of,
    tried_run,
)
from lib.embedded.trainers.sd_scripts_options import RANGES, REFUSED, TEXTS
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import SETTINGS, TrainingSettings
from lib.jobs.words import within_sentence

DATASET_FILE = "dataset.toml"
CACHE_FOLDER = "cache"
RULES = OptionRules(
    set_by_dashboard=frozenset(
        {
            *("dit", "vae", "text_encoder", "text_encoder1", "text_encoder2", "t5", "task", "model_version"),
            *("dataset_config", "config_file", "logging_dir", "log_with", "output_dir", "output_name"),
            *("network_module", "network_dim", "network_alpha", "learning_rate", "seed", "optimizer_type"),
            *("max_train_epochs", "max_train_steps", "save_every_n_epochs", "sample_prompts", "mixed_precision"),
        }
    ),
    refused={
        **REFUSED,
        **dict.fromkeys(("show_timesteps", "debug_mode"), "shows a picture instead of training"),
        "compile_backend": "names a program to run",
    },
    texts={
        **TEXTS,
        **dict.fromkeys(("vae_dtype", "dit_dtype", "text_encoder_dtype"), re.compile(r"(b?float(16|32)|fp16|bf16)")),
        "device": re.compile(r"cpu|cuda(:\d{1,2})?"),
    },
    ranges={**RANGES, "discrete_flow_shift": (0, 100), "logit_mean": (-10, 10)},
    files=frozenset({"base_weights", "resume", "dit_high_noise", "clip"}),
)
# musubi-tuner takes a line that begins so for an option, also without hyphens, and opens what the last ones name.
_TAKEN_FOR_OPTION = re.compile(r"((w|h|f|d|s) \d|(g|fs|l) [\d.]|n .|(i|ei|cn|ci|of) .)", re.IGNORECASE)
_PROMPT_OPTIONS = frozenset({"w", "h", "f", "d", "s", "g", "fs", "l", "n"})


class MusubiRecipe(InstalledTrainer):
    """Caches latents and text encoder outputs, then runs ``accelerate launch …_train_network.py``."""

    name = "musubi-tuner"
    label = "musubi-tuner (Qwen-Image, Z-Image, FLUX.2, Krea 2, Wan, HunyuanVideo)"
    parameters = PARAMETERS
    takes_weights = True
    counts_anew = frozenset({"step", "epoch"})

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """What is missing (checkout, scripts, environment, models, captions), and what may not be passed on."""
        settings = self.told(settings)
        kind = ARCHITECTURES.get(settings.architecture)
        if kind is None:
            return [NO_ARCHITECTURE]
        folder = self._folder.problems(kind.scripts, self.packages)
        options = self._option_problems(settings)
        return [
            *folder,
            *self._model_problems(settings, kind),
            *ignored_problems(settings, kind),
            *(self._scaled_problems(settings) or precision_problems(settings, kind, self.base_model(settings))),
            *said_twice(settings, OPTIONS),
            *options,
            *([] if folder or options else self._parser_problems(settings, dataset)),
            *filter(None, map(prompt_problem, prompts_with_options(settings, kind.guidance))),
            *([] if settings.caption_extension else caption_problems(dataset, self.name)),
            *dataset_problems(dataset),
        ]

    def script(self, settings: TrainingSettings) -> str:
        """That of the architecture."""
        return chosen(ARCHITECTURES, self.told(settings)).scripts[2]

    def _model_problems(self, settings: TrainingSettings, kind: MusubiArchitecture) -> list[str]:
        needed = ("base_model", "vae", *kind.texts)
        missing = [SETTINGS[name].label for name in needed if not getattr(settings, name).strip()]
        given = {name: getattr(settings, name) for name in (*needed, "network_weights")}
        named = {f"The {within_sentence(SETTINGS[name].label)}": path for name, path in given.items() if path.strip()}
        return [
            *([f"{kind.label} needs: {', '.join(missing)}. Give their paths."] if missing else []),
            *self._refused_models(named, may_be_hub=False),
        ]

    def _parser_problems(self, settings: TrainingSettings, dataset: Dataset) -> list[str]:
        parsers = self._parsers(chosen(ARCHITECTURES, self.told(settings)))
        unread = [script for script, options in parsers.items() if not options]
        if unread:
            return [f"The options of {unread[0]} cannot be read: this musubi-tuner is of another version. Update it."]
        run = tried_run(replace(settings, extra={}), dataset)
        scripts = zip(parsers.values(), (*self.commands_before(run), self.command(run)), strict=True)
        arguments = ((options, command[_after_script(command) :]) for options, command in scripts)
        return [each for options, given in arguments for each in version_problems(given, options, self.name)]

    def _option_problems(self, settings: TrainingSettings) -> list[str]:
        parsers = self._parsers(chosen(ARCHITECTURES, self.told(settings)))
        known = {name: option for options in parsers.values() for name, option in options.items()}
        listed = {name: getattr(settings, name) for name in ("optimizer_args", "network_args")}
        problems = (RULES.problem(name, list(value), known) for name, value in listed.items() if value and known)
        return [*extra_problems(settings.extra, RULES, known, self._models), *filter(None, problems)]

    def _parsers(self, kind: MusubiArchitecture) -> dict[str, Mapping[str, Option]]:
        """Script -> its options; none where they cannot be read."""
        root = self._folder.path
        return {
            script: (read_options(root / "src", script.removeprefix("src/"), "main") if root else None) or {}
            for script in kind.scripts
        }

    def more_problems(self, settings: TrainingSettings, more: Sequence[MoreFolder]) -> Sequence[str]:
        """What musubi-tuner does not have: regularisation, and words for images without a caption."""
        problems = [
            problem
            for each in more
            for problem, is_there in {
                "musubi-tuner has no regularisation images. Take it out, or train on it as on any other.": (
                    each.said.is_regularisation
                ),
                "musubi-tuner takes no words instead of a caption. Empty them, and caption the images.": bool(
                    each.said.class_tokens
                ),
            }.items()
            if is_there
        ]
        captions = [] if settings.caption_extension else [
            told_of(each, problem) for each in more for problem in caption_problems(each.dataset, self.name)
        ]  # fmt: skip
        return [*dict.fromkeys(problems), *captions, *dataset_problems_of(more)]

    def steps(self, settings: TrainingSettings, dataset: Dataset, more: Sequence[MoreFolder] = NO_MORE) -> int:
        """Steps as musubi-tuner counts them: batches are cut from each aspect ratio bucket of each dataset."""
        if settings.max_steps:
            return settings.max_steps
        if not all(each.sizes for each in (dataset, *(one.dataset for one in more))):
            images = (dataset.image_count or 0) * settings.repeats + sum(each.images for each in more)
            return steps_of_epochs(images, settings, settings.epochs)
        own = batches_of(dataset.sizes, settings)
        others = (batches_of(each.dataset.sizes, replace(settings, repeats=each.said.repeats)) for each in more)
        batches = math.ceil((own + sum(others)) / settings.gpus)
        return math.ceil(batches / settings.gradient_accumulation) * settings.epochs

    def commands_before(self, run: TrainingRun) -> Sequence[Sequence[str]]:
        """The argv that caches latents, and the one that caches text encoder outputs."""
        kind = chosen(ARCHITECTURES, self.told(run.settings))
        latents, texts, _ = kind.scripts
        vae = [f"--vae={whole_path(run.settings.vae)}", *kind.latent_flags]
        return [
            self._launched(run, latents, [*vae, *kind.flags]),
            self._launched(run, texts, [*_text_arguments(run.settings, kind), *kind.flags]),
        ]

    def command(self, run: TrainingRun) -> list[str]:
        """The argv of the training."""
        settings, kind = self._rest(run), chosen(ARCHITECTURES, self.told(run.settings))
        fp8 = ("--fp8_base", *(("--fp8_scaled",) if kind.has_fp8_scaled else ()))
        arguments = [
            f"--dit={whole_path(settings.base_model)}",
            f"--vae={whole_path(settings.vae)}",
            *_text_arguments(settings, kind),
            *kind.flags,
            *kind.train_flags,
            f"--output_dir={run.output_dir}",
            f"--output_name={file_stem(run.name)}",
            f"--network_module={LYCORIS.get(settings.network_module, kind.network)}",
            f"--network_dim={settings.network_dim}",
            f"--network_alpha={settings.network_alpha:g}",
            f"--learning_rate={settings.learning_rate:g}",
            # Without one musubi-tuner looks for an optimizer that has no name.
            f"--optimizer_type={settings.optimizer or OPTIMIZERS[0]}",
            length_argument(settings),
            f"--seed={settings.seed}",
            f"--mixed_precision={settings.mixed_precision or PRECISION}",
            *([f"--save_precision={settings.save_precision}"] if settings.save_precision else []),
            "--sdpa",
            *kind.sampling,
            *(fp8 if settings.fp8_base else ()),
            *plain_arguments(settings, OPTIONS),
            *saving_arguments(settings),
            f"--logging_dir={run.attempt_dir / EVENTS_FOLDER}",
            "--log_with=tensorboard",
            *sample_arguments(run),
            *_start_arguments(run),
        ]
        return self._launched(run, kind.scripts[2], arguments, run.gpu_count)

    def _rest(self, run: TrainingRun) -> TrainingSettings:
        """The settings of what is left to train: after a resume musubi-tuner counts steps and epochs from 0 again."""
        settings, start = going_on(run), run.start
        if start is None:
            return settings
        if settings.max_steps or start.epoch is None:
            return replace(settings, max_steps=max(1, self.steps(settings, run.dataset, run.more) - start.step))
        return replace(settings, epochs=max(1, settings.epochs - start.epoch))

    def _launched(self, run: TrainingRun, script: str, arguments: Sequence[str], cards: int = 1) -> list[str]:
        """A script with its arguments and those of the further options that it has."""
        settings, kind = going_on(run), chosen(ARCHITECTURES, self.told(run.settings))
        options = self._parsers(kind)
        is_training = script == kind.scripts[2]
        elsewhere = {name for other, known in options.items() if other != script for name in known}
        # An option that no parser has goes to the training, which then names it.
        own = {
            name: value
            for name, value in settings.extra.items()
            if name in options[script] or (is_training and name not in elsewhere)
        }
        return [
            *launch(self._folder, settings.mixed_precision or PRECISION, cards),
            self._folder.at(script),
            f"--dataset_config={run.attempt_dir / DATASET_FILE}",
            *arguments,
            *extra_arguments(own, RULES.files),
        ]

    def prepare(self, run: TrainingRun) -> None:
        """Make the folder of the caches, and write the dataset file and the prompt file."""
        for folder in _caches(run):
            folder.mkdir(parents=True, exist_ok=True)
        (run.attempt_dir / DATASET_FILE).write_text(dataset_toml(run), encoding="utf-8")
        kind = chosen(ARCHITECTURES, self.told(run.settings))
        write_prompts(run, prompts_with_options(run.settings, kind.guidance))

    def states(self, ended: EndedRun) -> Sequence[FoundState]:
        """Its state folders."""
        return kohya_states(ended)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """One file and one image per prompt and epoch, and a state with the optimizer's memory; no caches."""
        return saved_bytes(settings, chosen(ARCHITECTURES, self.told(settings)).bytes_per_rank)


def dataset_toml(run: TrainingRun) -> str:
    """The datasets as musubi-tuner's ``--dataset_config`` wants them; their caches go into the attempt's folder."""
    settings = run.settings
    general = {
        "resolution": [settings.resolution, settings.resolution_height or settings.resolution],
        "caption_extension": settings.caption_extension or ".txt",
        "batch_size": settings.batch_size,
        "enable_bucket": settings.buckets,
        "bucket_no_upscale": settings.bucket_no_upscale,
    }
    folders = [(run.dataset_path, settings.repeats), *((each.path, each.said.repeats) for each in run.more)]
    datasets = [
        {"image_directory": str(path), "cache_directory": str(cache), "num_repeats": repeats}
        for (path, repeats), cache in zip(folders, _caches(run), strict=True)
    ]
    return tomli_w.dumps({"general": general, "datasets": datasets})


def _caches(run: TrainingRun) -> list[Path]:
    """A folder for each dataset, since musubi-tuner lets no two share one."""
    names = [CACHE_FOLDER, *(f"{CACHE_FOLDER}-{number}" for number in range(2, len(run.more) + 2))]
    return [run.attempt_dir / name for name in names]


def prompt_problem(prompt: str) -> str:
    """Why musubi-tuner may not get a sample prompt: it would take a part of it for an option, or open a file."""
    first, *parts = prompt.split(" --")
    if _TAKEN_FOR_OPTION.match(first):
        return (
            f"A sample prompt cannot begin with {' '.join(first.split()[:1])[:20]!r} and a space: musubi-tuner would "
            "take it for an option. Rephrase it."
        )
    for part in parts:
        if (option := part.partition(" ")[0]).lower() not in _PROMPT_OPTIONS:
            return f"The sample prompt option --{option[:20]} is not passed on. Remove it from the prompt."
    return ""


def _start_arguments(run: TrainingRun) -> list[str]:
    if run.start is None or run.start_path is None:
        return []
    return [f"--{'resume' if run.start.is_state else 'network_weights'}={run.start_path}"]


def _text_arguments(settings: TrainingSettings, kind: MusubiArchitecture) -> list[str]:
    return [f"--{option}={whole_path(getattr(settings, name))}" for name, option in kind.texts.items()]


def _after_script(command: Sequence[str]) -> int:
    return next(index for index, part in enumerate(command) if part.endswith(".py")) + 1
