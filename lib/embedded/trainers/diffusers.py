"""The recipe of diffusers' training scripts: DreamBooth LoRA for SDXL, Stable Diffusion 3 and FLUX.1.

Read in ``examples/dreambooth`` at 58eb52c. The scripts crop every image to a square, save the LoRA and the whole state
together as ``checkpoint-{step}``, and show samples only inside TensorBoard.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from lib.embedded.files.attempt_folder import EVENTS_FOLDER
from lib.embedded.files.availability import folder_unavailable
from lib.embedded.trainers.installed_trainer import NO_ARCHITECTURE, InstalledTrainer, chosen
from lib.embedded.trainers.kohya_arguments import extra_arguments, launch, plain_arguments, said_twice, whole_path
from lib.embedded.trainers.kohya_states import ACCELERATE, state_problem
from lib.embedded.trainers.linked_dataset import linked_images, steps_of_epochs, words_problems
from lib.embedded.trainers.model_files import expanded, is_path
from lib.embedded.trainers.option_rules import OptionRules, extra_problems
from lib.embedded.trainers.parser_source import Option, read_options, version_problems
from lib.embedded.trainers.recipe import (
    EndedRun,
    FoundState,
    TrainingRun,
    dataset_problems,
    tried_run,
)
from lib.jobs.dataset import Dataset
from lib.jobs.resume import Start
from lib.jobs.training_settings import Parameter, TrainingSettings

SCRIPTS = "examples/dreambooth"
ENTRY = "parse_args"
DATASET_FOLDER, CACHE_FOLDER = "dataset", "datasets-cache"
CAPTION_COLUMN = "text"
WEIGHTS = "pytorch_lora_weights.safetensors"
# For images that all have a caption of their own: the scripts ask for a prompt, and do not use it then.
UNUSED_PROMPT = "a photo"
PRECISION = "bf16"
NEVER = 1_000_000_000
# A checkpoint holds the LoRA in 16 bit or 32 bit, and two values of 32 bit per weight for the optimizer.
SIZES_PER_CHECKPOINT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusersArchitecture:
    """A kind of base model.

    Attributes:
        options: Setting -> option, beyond those that all scripts have.
        bytes_per_rank: Size of its LoRA in 16 bit, per rank: an estimate for the attention layers.
    """

    label: str
    script: str
    bytes_per_rank: int
    options: Mapping[str, str] = field(default_factory=dict)
    has_alpha: bool = False
    has_dora: bool = False
    caches_latents: bool = True


ARCHITECTURES = {
    "sdxl": DiffusersArchitecture(
        label="SDXL", script=f"{SCRIPTS}/train_dreambooth_lora_sdxl.py", bytes_per_rank=2_900_000,
        options={"vae": "pretrained_vae_model_name_or_path", "min_snr_gamma": "snr_gamma"},
        has_dora=True, caches_latents=False,
    ),
    "sd3": DiffusersArchitecture(
        label="Stable Diffusion 3", script=f"{SCRIPTS}/train_dreambooth_lora_sd3.py", bytes_per_rank=1_200_000,
    ),
    "flux": DiffusersArchitecture(
        label="FLUX.1", script=f"{SCRIPTS}/train_dreambooth_lora_flux.py", bytes_per_rank=3_300_000, has_alpha=True,
    ),
}  # fmt: skip

OPTIMIZERS = {
    "AdamW": ("--optimizer=AdamW",),
    "AdamW8bit": ("--optimizer=AdamW", "--use_8bit_adam"),
    "Prodigy": ("--optimizer=prodigy",),
}
SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")
# Setting -> option of every script, where a value that is set is passed on as it is and a switch that is on has none.
OPTIONS = {
    "gradient_accumulation": "gradient_accumulation_steps",
    "loader_workers": "dataloader_num_workers",
    "gradient_checkpointing": "gradient_checkpointing",
    "lr_scheduler": "lr_scheduler",
    "lr_cycles": "lr_num_cycles",
    "text_encoder_lr": "text_encoder_lr",
    "keep_last": "checkpoints_total_limit",
    "flip_images": "random_flip",
}
_OWN = {
    "base_model": "pretrained_model_name_or_path",
    "epochs": "num_train_epochs",
    "max_steps": "max_train_steps",
    "learning_rate": "learning_rate",
    "batch_size": "train_batch_size",
    "resolution": "resolution",
    "network_dim": "rank",
    "network_alpha": "lora_alpha",
    "repeats": "repeats",
    "seed": "seed",
    "extra": "",
    "vae": "pretrained_vae_model_name_or_path",
    "min_snr_gamma": "snr_gamma",
    "class_tokens": "instance_prompt",
    "lr_warmup": "lr_warmup_steps",
    "save_every_epochs": "checkpointing_steps",
    "save_every_steps": "checkpointing_steps",
}
PARAMETERS: Mapping[str, Parameter] = {
    **{setting: Parameter(name=name) for setting, name in {**_OWN, **OPTIONS}.items()},
    "text_encoder_lr": Parameter(name="train_text_encoder, text_encoder_lr"),
    "architecture": Parameter(name="", choices=tuple(ARCHITECTURES)),
    "mixed_precision": Parameter(name="mixed_precision", choices=("no", "fp16", "bf16")),
    "optimizer": Parameter(name="optimizer, use_8bit_adam", choices=tuple(OPTIMIZERS)),
    "lr_scheduler": Parameter(name="lr_scheduler", choices=SCHEDULES),
    "network_module": Parameter(name="use_dora", choices=("LoRA", "DoRA")),
    "cache_latents": Parameter(name="cache_latents", choices=("no", "memory")),
}

_FREE = re.compile(r"[^\x00-\x1f]*")
_READS, _UPLOADS = "names a folder that the trainer would read or fill", "sends files to a server"
RULES = OptionRules(
    set_by_dashboard=frozenset(
        {
            *("pretrained_model_name_or_path", "pretrained_vae_model_name_or_path", "dataset_name", "cache_dir"),
            *("caption_column", "image_column", "instance_prompt", "output_dir", "logging_dir", "report_to"),
            *("rank", "lora_alpha", "learning_rate", "train_batch_size", "resolution", "repeats", "seed"),
            *("num_train_epochs", "max_train_steps", "checkpointing_steps", "optimizer", "use_8bit_adam"),
            *("lr_warmup_steps", "mixed_precision", "train_text_encoder", "cache_latents", "local_rank"),
            *("resume_from_checkpoint", "use_dora"),
        }
    ),
    refused={
        **dict.fromkeys(("instance_data_dir", "dataset_config_name", "class_data_dir"), _READS),
        **dict.fromkeys(("push_to_hub", "hub_model_id", "hub_token"), _UPLOADS),
    },
    texts={
        **dict.fromkeys(("class_prompt", "validation_prompt"), _FREE),
        **dict.fromkeys(("revision", "variant"), re.compile(r"\w[\w.-]*")),
        **dict.fromkeys(("lora_layers", "lora_blocks"), re.compile(r"[\w.]+(,[\w.]+)*")),
    },
    words={
        "prodigy_use_bias_correction": frozenset({"True"}),
        "prodigy_safeguard_warmup": frozenset({"True"}),
        "image_interpolation_mode": frozenset({"lanczos", "bilinear", "bicubic", "nearest"}),
    },
    ranges={
        "lora_dropout": (0, 1),
        "guidance_scale": (0, 50),
        "logit_mean": (-10, 10),
        "dataloader_num_workers": (0, 32),
    },
)


class DiffusersRecipe(InstalledTrainer):
    """Runs ``accelerate launch examples/dreambooth/train_dreambooth_lora_….py``."""

    name = "diffusers"
    label = "diffusers (SDXL, SD 3, FLUX.1)"
    parameters = PARAMETERS
    packages = ("torch", "accelerate", "diffusers", "transformers", "peft", "datasets")

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """What is missing (checkout, script, environment, base model, captions), and what may not be passed on."""
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
            *words_problems(settings, dataset),
            *dataset_problems(dataset),
        ]

    def script(self, settings: TrainingSettings) -> str:
        """That of the architecture."""
        return chosen(ARCHITECTURES, settings).script

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

    def steps(self, settings: TrainingSettings, dataset: Dataset) -> int:
        """Steps as the scripts count them: they have no aspect ratio buckets."""
        return settings.max_steps or steps_of_epochs(dataset, settings, settings.epochs)

    def command(self, run: TrainingRun) -> list[str]:
        """The argv of ``accelerate launch``."""
        kind = chosen(ARCHITECTURES, run.settings)
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
            f"--lr_warmup_steps={_warmup_steps(run.settings, self.steps(run.settings, run.dataset))}",
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

        if run.start and run.start_path:
            link = run.output_dir / _resumed(run.start)
            link.unlink(missing_ok=True)
            link.symlink_to(run.start_path)

    def states(self, ended: EndedRun) -> Sequence[FoundState]:
        """Its checkpoints."""
        return checkpoint_states(ended)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """The LoRA, and its checkpoints with the optimizer's memory."""
        file_bytes = settings.network_dim * chosen(ARCHITECTURES, settings).bytes_per_rank
        saves = settings.epochs // settings.save_every_epochs if settings.save_every_epochs else 0
        return (1 + SIZES_PER_CHECKPOINT * min(saves, settings.keep_last or saves)) * file_bytes


def ignored_problems(settings: TrainingSettings, kind: DiffusersArchitecture) -> list[str]:
    """Settings that the script would ignore, or that contradict each other."""
    said = settings
    faults = {
        f"diffusers takes a VAE of its own for SDXL only, not for {kind.label}. Empty the field.": (
            bool(said.vae) and "vae" not in kind.options
        ),
        f"Min-SNR belongs to SDXL, not to {kind.label}. Empty the field.": (
            said.min_snr_gamma is not None and "min_snr_gamma" not in kind.options
        ),
        f"diffusers trains {kind.label} with an alpha that is the rank. Set the alpha to {said.network_dim}.": (
            not kind.has_alpha and said.network_alpha != said.network_dim
        ),
        "diffusers takes whole numbers as alpha. Round it.": kind.has_alpha and said.network_alpha % 1 != 0,
        f"diffusers trains {kind.label} as a plain LoRA. Choose LoRA.": (
            said.network_module == "DoRA" and not kind.has_dora
        ),
        "Cycles belong to the schedule cosine_with_restarts. Choose it, or empty them.": (
            said.lr_cycles is not None and said.lr_scheduler != "cosine_with_restarts"
        ),
        "The schedule constant has no warm-up. Choose constant_with_warmup, or empty the warm-up.": (
            bool(said.lr_warmup) and said.lr_scheduler in ("", "constant")
        ),
        "diffusers shows samples only inside TensorBoard, so it makes no sample images. Empty the sample prompts.": (
            bool(said.sample_prompts)
        ),
    }
    return [problem for problem, is_there in faults.items() if is_there]


def _warmup_steps(settings: TrainingSettings, all_steps: int) -> int:
    """A warm-up below 1 is a share of all steps; without one the script would take 500."""
    warmup = settings.lr_warmup or 0
    return round(warmup if warmup >= 1 else warmup * all_steps)


def _checkpoint_steps(run: TrainingRun) -> int:
    """The script saves by steps only; it knows no buckets, so the steps of an epoch follow from the images."""
    settings = run.settings
    if settings.save_every_steps or not settings.save_every_epochs:
        return settings.save_every_steps or NEVER
    return steps_of_epochs(run.dataset, settings, settings.save_every_epochs)


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
