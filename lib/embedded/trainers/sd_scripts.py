"""The recipe of kohya's sd-scripts: LoRA for Stable Diffusion, SDXL, FLUX.1, Lumina and Anima."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from lib.embedded.files.attempt_folder import EVENTS_FOLDER
from lib.embedded.trainers.base_model import BaseModel
from lib.embedded.trainers.installed_trainer import NO_BASE_MODEL, InstalledTrainer
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
from lib.embedded.trainers.kohya_states import going_on, kohya_states, start_arguments
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.parser_source import read_options, version_problems
from lib.embedded.trainers.recipe import (
    NO_MORE,
    EndedRun,
    FoundState,
    MoreFolder,
    TrainingRun,
    dataset_problems,
    dataset_problems_of,
    tried_run,
)
from lib.embedded.trainers.sd_scripts_options import RULES, known_options, prompt_problem
from lib.embedded.trainers.sd_scripts_settings import (
    ARCHITECTURES,
    OPTIONS,
    PARAMETERS,
    dataset_values,
    fp8_problems,
    ignored_problems,
    mode_arguments,
    network_arguments,
    precision_of,
)
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.aspect_buckets import LARGEST_PX, SMALLEST_PX, STEP_PX, Buckets, Size, regularisation_counts
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import SETTINGS, TrainingSettings
from lib.jobs.words import within_sentence

DATASET_FILE = "dataset.toml"
OWN_KEYS = frozenset({"architecture", "mixed_precision"})
_CAPTION_FILE = re.compile(r"\.[A-Za-z0-9]{1,10}")


class SdScriptsRecipe(InstalledTrainer):
    """Runs ``accelerate launch train_network.py``.

    Args:
        checkout: Folder of sd-scripts, as SD_SCRIPTS_DIR names it; None when there is none.
        models: Which models may be opened, and whether options are checked.
        python: The Python of its environment, as SD_SCRIPTS_PYTHON names it.
    """

    name = "sd-scripts"
    label = "sd-scripts (SD 1.5 to 3, SDXL, FLUX.1, Lumina, Anima)"
    parameters = PARAMETERS
    takes_prefixes = True
    takes_weights = True
    counts_anew = frozenset({"step"})
    # Its loop over epochs begins at the one of the state and ends with a whole one (train_network.py, epoch_to_start).
    steps_note = "sd-scripts goes on in whole epochs: from the start of the state's epoch to the end of the last one."

    def __init__(self, checkout: Path | None, models: ModelFiles | None = None, python: Path | None = None) -> None:
        super().__init__(
            TrainerFolder(name=self.name, setting="SD_SCRIPTS", path=checkout, given_python=python), models
        )

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """What is missing (checkout, script, accelerate, base model, images), and what may not be passed on."""
        unchecked = self._models.rules.allow_any_option
        ignored = ignored_problems(settings, self._architecture(settings))
        return [
            *self._folder.problems([self.script(settings)], self.packages),
            *self._model_problems(settings),
            *_architecture_problems(settings.extra),
            *ignored,
            *(self._scaled_problems(settings) or self._fp8_problems(settings)),
            *filter(None, [_buckets(settings).problem if settings.buckets else ""]),
            *said_twice(settings, OPTIONS),
            *filter(None, (RULES.always_refused(*item) for item in settings.extra.items())),
            *([] if unchecked else self._option_problems(settings).values()),
            *([] if ignored else self._version_problems(settings, dataset)),
            *dataset_problems(dataset),
        ]

    def _version_problems(self, settings: TrainingSettings, dataset: Dataset) -> list[str]:
        """Where the checkout's own parser can be read, whether it takes what we write."""
        script = self.script(settings)
        known = read_options(self._folder.path, script) if self._folder.path else None
        command = self.command(tried_run(replace(settings, extra={}), dataset))
        return version_problems(command[command.index(self._folder.at(script)) :], known, self.name) if known else []

    def script(self, settings: TrainingSettings) -> str:
        """That of the architecture."""
        return ARCHITECTURES[self._architecture(settings)].script

    def warnings(self, settings: TrainingSettings) -> Sequence[str]:
        """Which options nobody checked, where LORA_ALLOW_ANY_OPTION lifts the checks."""
        if not self._models.rules.allow_any_option or not (found := self._option_problems(settings)):
            return ()
        named = ", ".join(name[:40] for name in sorted(found)[:5]) + (", …" if len(found) > 5 else "")
        return (f"LORA_ALLOW_ANY_OPTION is set, so the trainer gets without a check: {named}.",)

    def base_model(self, settings: TrainingSettings) -> BaseModel | None:
        """What its header tells. Chroma is trained by the script of FLUX.1, which its further options choose."""
        found = super().base_model(settings)
        return replace(found, architecture="") if found and found.architecture == "chroma" else found

    def _architecture(self, settings: TrainingSettings) -> str:
        told = self.base_model(settings)
        return architecture(settings, told.architecture if told else "")

    def _fp8_problems(self, settings: TrainingSettings) -> list[str]:
        kind, base = ARCHITECTURES[self._architecture(settings)], self.base_model(settings)
        return fp8_problems(settings, kind, base.dtype if base else "") if settings.fp8_base else []

    def _model_problems(self, settings: TrainingSettings) -> list[str]:
        if not settings.base_model.strip():
            return [NO_BASE_MODEL]
        kind = ARCHITECTURES[self._architecture(settings)]
        missing = [SETTINGS[name].label for name in kind.needed if not getattr(settings, name).strip()]
        named = {"The base model": settings.base_model}
        named |= {f"The {within_sentence(SETTINGS[name].label)}": getattr(settings, name) for name in kind.parts}
        named["The LoRA to start from"] = settings.network_weights
        return [
            *([f"{kind.label} also needs: {', '.join(missing)}. Give their paths."] if missing else []),
            *self._refused_models(named),
        ]

    def _option_problems(self, settings: TrainingSettings) -> dict[str, str]:
        """Option or prompt -> why it is not passed on; what is always refused is not among them."""
        known = known_options(self._folder.path, self.script(settings))
        extra = {name: value for name, value in settings.extra.items() if not RULES.always_refused(name, value)}
        extra.pop("architecture", None)
        found = {
            name: RULES.problem(name, value, known) or self._file_problem(name, value) for name, value in extra.items()
        }
        found |= {line: prompt_problem(line) for line in prompts_with_options(settings)}
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
        settings, name = going_on(run), self._architecture(run.settings)
        kind = ARCHITECTURES[name]
        precision = precision_of(settings, kind)
        parts = {option: getattr(settings, setting) for setting, option in kind.parts.items()}
        return [
            *launch(self._folder, precision, run.gpu_count),
            self._folder.at(kind.script),
            f"--pretrained_model_name_or_path={whole_path(settings.base_model)}",
            *(f"--{option}={whole_path(path)}" for option, path in parts.items() if path),
            f"--dataset_config={run.attempt_dir / DATASET_FILE}",
            f"--output_dir={run.output_dir}",
            f"--output_name={file_stem(run.name)}",
            "--save_model_as=safetensors",
            f"--save_precision={settings.save_precision or 'fp16'}",
            *network_arguments(settings, kind.network),
            f"--learning_rate={settings.learning_rate:g}",
            length_argument(settings),
            f"--seed={settings.seed}",
            f"--mixed_precision={precision}",
            *mode_arguments(settings),
            "--sdpa",
            *kind.flags,
            *plain_arguments(settings, OPTIONS),
            *saving_arguments(settings),
            f"--logging_dir={run.attempt_dir / EVENTS_FOLDER}",
            "--log_with=tensorboard",
            *_sample_arguments(run),
            *extra_arguments({key: value for key, value in settings.extra.items() if key not in OWN_KEYS}, RULES.files),
            *start_arguments(run),
        ]

    def prepare(self, run: TrainingRun) -> None:
        """Write the dataset file and the prompt file."""
        run.attempt_dir.mkdir(parents=True, exist_ok=True)
        (run.attempt_dir / DATASET_FILE).write_text(dataset_toml(run), encoding="utf-8")
        write_prompts(run, prompts_with_options(run.settings))

    def states(self, ended: EndedRun) -> Sequence[FoundState]:
        """Its newest states: of an epoch, of a number of steps, of the end."""
        return kohya_states(ended)

    def more_problems(self, settings: TrainingSettings, more: Sequence[MoreFolder]) -> Sequence[str]:
        """Datasets without images that can be used: folders of both kinds are subsets of one dataset."""
        return dataset_problems_of(more)

    def steps(self, settings: TrainingSettings, dataset: Dataset, more: Sequence[MoreFolder] = NO_MORE) -> int:
        """Steps as sd-scripts counts them: batches are cut from each aspect ratio bucket, over all folders together."""
        if settings.max_steps:
            return settings.max_steps
        is_known = settings.buckets and all(each.sizes for each in (dataset, *(one.dataset for one in more)))
        shown = shown_images(settings, dataset, more, is_known=is_known)
        if is_known:
            batches = _buckets(settings).batches(shown, batch_size=settings.batch_size)
        else:
            batches = math.ceil(shown.total() / settings.batch_size)
        # Each card gets its share of the batches.
        return math.ceil(batches / settings.gpus / settings.gradient_accumulation) * settings.epochs

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """One file and one image per prompt and epoch, and a state with the optimizer's memory of the network."""
        return saved_bytes(settings, ARCHITECTURES[self._architecture(settings)].bytes_per_rank)


def _buckets(settings: TrainingSettings) -> Buckets:
    return Buckets(
        resolution=(settings.resolution, settings.resolution_height or settings.resolution),
        smallest=settings.bucket_min or SMALLEST_PX,
        largest=settings.bucket_max or LARGEST_PX,
        step=settings.bucket_step or STEP_PX,
        no_upscale=settings.bucket_no_upscale,
    )


def architecture(settings: TrainingSettings, by_header: str = "") -> str:
    """A key of ``ARCHITECTURES``: what the settings say, else the base model's header, else its name."""
    said = (settings.architecture or str(settings.extra.get("architecture", ""))).lower()
    if said in ARCHITECTURES:
        return said
    if by_header in ARCHITECTURES:
        return by_header
    if re.search(r"flux[._-]?1|(?<![a-z])flux(?![a-z._-]?2)", settings.base_model, re.IGNORECASE):
        return "flux"
    return "sdxl" if re.search(r"xl(?![a-z])", settings.base_model, re.IGNORECASE) else "sd15"


def shown_images(
    settings: TrainingSettings, dataset: Dataset, more: Sequence[MoreFolder], *, is_known: bool
) -> Counter[Size]:
    """Size -> how often images of it are shown in an epoch; all have one size where those are not ``is_known``."""
    folders = [(dataset, settings.repeats, False)]
    folders += [(each.dataset, each.said.repeats, each.said.is_regularisation) for each in more]
    train: Counter[Size] = Counter()
    regularisation: list[tuple[Size, int, int]] = []
    for each, repeats, is_regularisation in folders:
        for size, count in (each.sizes if is_known else {(0, 0): each.image_count or 0}).items():
            if is_regularisation:
                regularisation.append((size, count, repeats))
            else:
                train[size] += count * repeats
    return train + regularisation_counts(regularisation, train.total()) if regularisation else train


def dataset_toml(run: TrainingRun) -> str:
    """The dataset as sd-scripts' ``--dataset_config`` wants it: one subset for each folder."""
    settings = run.settings
    general = {"caption_extension": settings.caption_extension or ".txt", "enable_bucket": settings.buckets}
    values = dataset_values(settings)
    words = {"class_tokens": values.pop("class_tokens")} if "class_tokens" in values else {}
    subset = {"image_dir": str(run.dataset_path), "num_repeats": settings.repeats, **words}
    height = settings.resolution_height
    size = [settings.resolution, height] if height else settings.resolution
    dataset = {"resolution": size, "batch_size": settings.batch_size, "subsets": [subset, *map(_subset, run.more)]}
    return tomli_w.dumps({"general": {**general, **values}, "datasets": [dataset]})


def _subset(more: MoreFolder) -> dict[str, Any]:
    said = more.said
    subset: dict[str, Any] = {"image_dir": str(more.path), "num_repeats": said.repeats}
    if said.class_tokens:
        subset["class_tokens"] = said.class_tokens
    # The job's prefix names what is learned, which images for regularisation do not show.
    if said.caption_prefix or said.is_regularisation:
        subset["caption_prefix"] = said.caption_prefix
    return {**subset, "is_reg": True} if said.is_regularisation else subset


def _architecture_problems(extra: Mapping[str, Any]) -> list[str]:
    said = extra.get("architecture")
    if said is not None and str(said).lower() not in ARCHITECTURES:
        return [f"The architecture {str(said)[:40]!r} is not known. Use one of: {', '.join(ARCHITECTURES)}."]
    return []


def _sample_arguments(run: TrainingRun) -> list[str]:
    arguments = sample_arguments(run)
    return [*arguments, f"--sample_sampler={run.settings.sampler}"] if arguments else []
