"""The recipe of diffusers' training scripts: DreamBooth LoRA for SDXL, Stable Diffusion 3 and FLUX.1.

Read in ``examples/dreambooth`` at 58eb52c. The scripts crop every image to a square, save the LoRA and the whole state
together as ``checkpoint-{step}``, and show samples only inside TensorBoard.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lib.embedded.files.attempt_folder import EVENTS_FOLDER
from lib.embedded.files.availability import folder_unavailable
from lib.embedded.trainers.diffusers_settings import (
    ARCHITECTURES,
    OPTIMIZERS,
    OPTIONS,
    PARAMETERS,
    RULES,
    SCRIPTS,
    DiffusersArchitecture,
    ignored_problems,
)
from lib.embedded.trainers.installed_trainer import NO_ARCHITECTURE, InstalledTrainer, chosen
from lib.embedded.trainers.kohya_arguments import extra_arguments, launch, plain_arguments, said_twice, whole_path
from lib.embedded.trainers.kohya_states import ACCELERATE, state_problem
from lib.embedded.trainers.linked_dataset import linked_images, steps_of_epochs, words_problems
from lib.embedded.trainers.model_files import expanded, is_path
from lib.embedded.trainers.option_rules import extra_problems
from lib.embedded.trainers.parser_source import Option, read_options, version_problems
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
from lib.jobs.dataset import Dataset
from lib.jobs.resume import Start
from lib.jobs.training_settings import TrainingSettings

ENTRY = "parse_args"
DATASET_FOLDER, CLASS_FOLDER, CACHE_FOLDER = "dataset", "class-images", "datasets-cache"
CAPTION_COLUMN = "text"
WEIGHTS = "pytorch_lora_weights.safetensors"
# For images that all have a caption of their own: the scripts ask for a prompt, and do not use it then.
UNUSED_PROMPT = "a photo"
PRECISION = "bf16"
NEVER = 1_000_000_000
# A checkpoint holds the LoRA in 16 bit or 32 bit, and two values of 32 bit per weight for the optimizer.
SIZES_PER_CHECKPOINT = 6


class DiffusersRecipe(InstalledTrainer):
    """Runs ``accelerate launch examples/dreambooth/train_dreambooth_lora_….py``."""

    name = "diffusers"
    label = "diffusers (SDXL, SD 3, FLUX.1)"
    parameters = PARAMETERS
    packages = ("torch", "accelerate", "diffusers", "transformers", "peft", "datasets")

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """What is missing (checkout, script, environment, base model, captions), and what may not be passed on."""
        settings = self.told(settings)
        kind = ARCHITECTURES.get(settings.architecture)
        if kind is None:
            return [NO_ARCHITECTURE]
        folder = self._folder.problems([kind.script], self.packages)
        options = extra_problems(settings.extra, RULES, self._parser(kind), self._models)
        return [
            *folder,
            *self._model_problems(settings),
            *ignored_problems(settings, kind),
            *said_twice(settings, {**OPTIONS, **kind.options}),
            *options,
            *([] if folder or options else self._parser_problems(settings, dataset, kind)),
            *words_problems(settings.class_tokens, dataset),
            *dataset_problems(dataset),
        ]

    def script(self, settings: TrainingSettings) -> str:
        """That of the architecture."""
        return chosen(ARCHITECTURES, self.told(settings)).script

    def _model_problems(self, settings: TrainingSettings) -> list[str]:
        if not settings.base_model.strip():
            return ["No base model is set. Give its name on the Hugging Face hub, or the path of its folder."]
        named = {"The base model": settings.base_model, "The VAE or autoencoder": settings.vae}
        given = {what: model for what, model in named.items() if model}
        files = [what for what, model in given.items() if is_path(model) and expanded(model).is_file()]
        return self._refused_models(given) or [
            f"{what} is a single file, but diffusers opens folders. Give a folder in diffusers' own layout, a name on "
            "the Hugging Face hub, or choose the trainer sd-scripts."
            for what in files
        ]

    def _parser(self, kind: DiffusersArchitecture) -> Mapping[str, Option]:
        """The options of the script; none where they cannot be read."""
        root = self._folder.path
        name = kind.script.removeprefix(f"{SCRIPTS}/")
        return (read_options(root / SCRIPTS, name, ENTRY) if root else None) or {}

    def _parser_problems(self, settings: TrainingSettings, dataset: Dataset, kind: DiffusersArchitecture) -> list[str]:
        known = self._parser(kind)
        if not known:
            return [f"The options of {kind.script} cannot be read: this diffusers is of another version. Update it."]
        command = self.command(tried_run(replace(settings, extra={}), dataset))
        return version_problems(command[command.index(self._folder.at(kind.script)) :], known, self.name)

    def more_problems(self, settings: TrainingSettings, more: Sequence[MoreFolder]) -> Sequence[str]:
        """The scripts take one dataset to learn, and one of class images, which all have the same text."""
        if len(more) > 1 or not more[0].said.is_regularisation:
            return [
                "diffusers trains on one dataset, and beside it on one of regularisation images at most. "
                "Take the others out, or choose another trainer."
            ]
        (only,), known = more, self._parser(chosen(ARCHITECTURES, self.told(settings)))
        names = [option[2:].partition("=")[0] for option in _class_arguments(tried_run(settings, only.dataset, more))]
        lacking = [name for name in names if known and name not in known]
        faults = {
            "diffusers shows all regularisation images with one text, not with their captions. Give it as the words "
            "instead of a caption beside the dataset.": not only.said.class_tokens,
            "diffusers repeats regularisation images as often as it needs them. Set their repeats to 1.": (
                only.said.repeats != 1
            ),
            f"The further option {next(iter(settings.extra.keys() & {*names}), '')} belongs to the regularisation "
            "images, which are chosen as a dataset. Remove it.": bool(settings.extra.keys() & {*names}),
            f"This diffusers has no option {next(iter(lacking), '')}: it is of another version than the dashboard "
            "knows. Update it.": bool(lacking),
        }
        return [*(problem for problem, is_there in faults.items() if is_there), *dataset_problems_of(more)]

    def steps(self, settings: TrainingSettings, dataset: Dataset, more: Sequence[MoreFolder] = NO_MORE) -> int:
        """Steps as the scripts count them: they have no aspect ratio buckets."""
        return settings.max_steps or steps_of_epochs(_shown(settings, dataset, more), settings, settings.epochs)

    def command(self, run: TrainingRun) -> list[str]:
        """The argv of ``accelerate launch``."""
        kind = chosen(ARCHITECTURES, self.told(run.settings))
        settings = replace(run.settings, vae=whole_path(run.settings.vae))
        precision = settings.mixed_precision or PRECISION
        return [
            *launch(self._folder, precision, run.gpu_count),
            self._folder.at(kind.script),
            f"--pretrained_model_name_or_path={whole_path(settings.base_model)}",
            *plain_arguments(settings, kind.options),
            f"--dataset_name={run.attempt_dir / DATASET_FOLDER}",
            f"--caption_column={CAPTION_COLUMN}",
            f"--cache_dir={run.attempt_dir / CACHE_FOLDER}",
            f"--instance_prompt={settings.class_tokens or UNUSED_PROMPT}",
            *_class_arguments(run),
            f"--output_dir={run.output_dir}",
            f"--rank={settings.network_dim}",
            *([f"--lora_alpha={settings.network_alpha:g}"] if kind.has_alpha else []),
            *(["--use_dora"] if settings.network_module == "DoRA" else []),
            f"--resolution={settings.resolution}",
            f"--train_batch_size={settings.batch_size}",
            f"--repeats={settings.repeats}",
            f"--max_train_steps={settings.max_steps}"
            if settings.max_steps
            else f"--num_train_epochs={settings.epochs}",
            f"--learning_rate={settings.learning_rate:g}",
            f"--lr_warmup_steps={_warmup_steps(run.settings, self.steps(run.settings, run.dataset, run.more))}",
            *OPTIMIZERS.get(settings.optimizer, OPTIMIZERS["AdamW"]),
            f"--seed={settings.seed}",
            f"--mixed_precision={precision}",
            *(["--train_text_encoder"] if settings.text_encoder_lr is not None else []),
            *(["--cache_latents"] if kind.caches_latents and settings.cache_latents == "memory" else []),
            *plain_arguments(settings, OPTIONS),
            f"--checkpointing_steps={_checkpoint_steps(run)}",
            f"--logging_dir={run.attempt_dir / EVENTS_FOLDER}",
            "--report_to=tensorboard",
            *([f"--resume_from_checkpoint={_resumed(run.start)}"] if run.start else []),
            *extra_arguments(settings.extra),
        ]

    def prepare(self, run: TrainingRun) -> None:
        """Make a folder that the package datasets reads: links to the images, and a table of their captions."""
        run.output_dir.mkdir(parents=True, exist_ok=True)
        folder = run.attempt_dir / DATASET_FOLDER
        images = linked_images(run.dataset_path, folder)
        lines = [json.dumps({"file_name": link.name, CAPTION_COLUMN: caption}) for link, caption in images]
        (folder / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        for each in run.more:
            list(linked_images(each.path, run.attempt_dir / CLASS_FOLDER))

        if run.start and run.start_path:
            link = run.output_dir / _resumed(run.start)
            link.unlink(missing_ok=True)
            link.symlink_to(run.start_path)

    def states(self, ended: EndedRun) -> Sequence[FoundState]:
        """Its checkpoints."""
        return checkpoint_states(ended)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """The LoRA, and its checkpoints with the optimizer's memory."""
        file_bytes = settings.network_dim * chosen(ARCHITECTURES, self.told(settings)).bytes_per_rank
        saves = settings.epochs // settings.save_every_epochs if settings.save_every_epochs else 0
        return (1 + SIZES_PER_CHECKPOINT * min(saves, settings.keep_last or saves)) * file_bytes


def _warmup_steps(settings: TrainingSettings, all_steps: int) -> int:
    """A warm-up below 1 is a share of all steps; without one the script would take 500."""
    warmup = settings.lr_warmup or 0
    return round(warmup if warmup >= 1 else warmup * all_steps)


def _checkpoint_steps(run: TrainingRun) -> int:
    """The script saves by steps only; it knows no buckets, so the steps of an epoch follow from the images."""
    settings = run.settings
    if settings.save_every_steps or not settings.save_every_epochs:
        return settings.save_every_steps or NEVER
    return steps_of_epochs(_shown(settings, run.dataset, run.more), settings, settings.save_every_epochs)


def _shown(settings: TrainingSettings, dataset: Dataset, more: Sequence[MoreFolder]) -> int:
    """Images of an epoch: each comes with a class image, until there are no more of either."""
    return max((dataset.image_count or 0) * settings.repeats, *(each.dataset.image_count or 0 for each in more), 0)


def _class_arguments(run: TrainingRun) -> list[str]:
    """The regularisation images, all that there are: of more than it finds the script would make some itself."""
    return [
        argument
        for each in run.more
        for argument in (
            "--with_prior_preservation",
            f"--class_data_dir={run.attempt_dir / CLASS_FOLDER}",
            f"--class_prompt={each.said.class_tokens}",
            f"--num_class_images={each.dataset.image_count or 0}",
        )
    ]


def _resumed(start: Start) -> str:
    """What the state is called in the output folder, where alone the scripts look for it.

    They read the step from the part after the hyphen, and delete old folders that begin with ``checkpoint``.
    """
    return f".resumed-{start.step}"


def checkpoint_states(ended: EndedRun) -> list[FoundState]:
    """The folders ``checkpoint-{step}`` of an attempt. Raises FolderUnavailable when they cannot be read now."""
    try:
        if ended.output_dir.is_symlink() or not ended.output_dir.is_dir():
            return []
        folders = (path for path in ended.output_dir.glob("checkpoint-*") if path.is_dir() and not path.is_symlink())
        return [_found_state(path, ended) for path in folders if path.name.removeprefix("checkpoint-").isdecimal()]
    except OSError as error:
        raise folder_unavailable(ended.output_dir, error) from error


def _found_state(folder: Path, ended: EndedRun) -> FoundState:
    step, per_epoch = int(folder.name.removeprefix("checkpoint-")), ended.steps_per_epoch
    return FoundState(
        path=folder.name,
        step=step,
        epoch=step // per_epoch if per_epoch and step % per_epoch == 0 else None,
        modified_at=datetime.fromtimestamp(folder.stat().st_mtime, UTC),
        problem=state_problem(folder, ACCELERATE, ended.settings.network_dim, weights_name=WEIGHTS),
    )
