"""Training configurations: the values a person may set, and what differs between two of them.

``TrainingSettings`` is the one table of them. A line there is all it takes to add a setting: forms, tables, files, the
database and the API are made from it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from lib.jobs.readable import character_problem
from lib.jobs.setting_kinds import Choice, Lines, Number, Options, Setting, Switch, Text

CONFIG_NAME_TAKEN = "A configuration with this name exists already."
MAX_NAME_LENGTH = 100
MAX_JOB_NAME_LENGTH = 200
MAX_DESCRIPTION_LENGTH = 2_000


# The headings that forms fold settings under.
MODEL, LENGTH, MEMORY, OPTIMIZER = "Model parts", "Length and size", "Precision and memory", "Optimizer and schedule"
NETWORK, LOSS, CAPTIONS, SAVING = "Network", "Noise and loss", "Images and captions", "Saving and samples"
RUN, CLUSTER = "Cards and stops", "Where it runs"


def _setting(kind: Setting, default: Any) -> Any:
    return field(default_factory=lambda: kind.read(default), metadata={"setting": kind})  # no shared dictionary


def _whole(
    label: str, default: int | None, minimum: int, maximum: int, unit: str = "", one: str = "", **more: Any
) -> Any:
    is_optional = default is None
    kind = Number(
        label=label,
        minimum=minimum,
        maximum=maximum,
        is_integer=True,
        unit=unit,
        unit_of_one=one,
        is_optional=is_optional,
        **more,
    )
    return _setting(kind, default)


def _real(label: str, default: float | None, minimum: float, maximum: float, unit: str = "", **more: Any) -> Any:
    is_optional = default is None
    kind = Number(
        label=label, minimum=minimum, maximum=maximum, is_integer=False, unit=unit, is_optional=is_optional, **more
    )
    return _setting(kind, default)


def _switch(label: str, default: bool, group: str, hint: str = "") -> Any:
    return _setting(Switch(label=label, group=group, hint=hint), default)


def _choice(label: str, group: str, hint: str = "", default: str = "") -> Any:
    return _setting(Choice(label=label, group=group, hint=hint), default)


def _line(label: str, group: str, hint: str = "", max_chars: int = 1_000) -> Any:
    return _setting(Text(label=label, group=group, hint=hint, max_chars=max_chars), "")


def _arguments(label: str, group: str, hint: str) -> Any:
    kind = Lines(
        label=label, field_label=f"{label}, one per line", group=group, hint=hint, max_chars=2_000, max_lines=50
    )
    return _setting(kind, ())


PROMPTS = Lines(
    label="Sample prompts",
    field_label="Sample prompts, one per line",
    hint="One sample image per prompt and epoch",
    max_chars=5_000,
)
BASE_MODEL = Text(label="Base model", hint="A model's name or path, as the trainer expects it", max_chars=1_000)
EXTRA = Options(
    label="Further options",
    field_label="Further options as TOML",
    hint="Passed on to the trainer; one key = value per line",
)
RESOURCES = Lines(
    label="Other resources of the cluster",
    field_label="Other resources of the cluster, one per line",
    group=CLUSTER,
    hint="Such as a kind of card that its nodes were started with: A100=1",
    max_chars=1_000,
    max_lines=20,
)
_PART = "A .safetensors file, or a name on the Hugging Face hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """The values one training runs with. None and empty ones are off: the trainer is not told of them.

    Attributes:
        trainer: Name of a trainer recipe: ``tiny``, ``sd-scripts``, …
        base_model: Model name or path; empty for a trainer that needs none.
        sample_prompts: One sample image per prompt and epoch; may be empty.
        gpus: How many cards it takes, where the machine has any.
        where: The executor that runs it; empty: the usual one.
        stop_on_nan: So many losses in a row that are NaN or infinite end it; 0: none do.
        extra: Further trainer-specific values, passed on as they are.
    """

    trainer: str = _setting(Text(label="Trainer", max_chars=100, is_required=True), "tiny")
    base_model: str = _setting(BASE_MODEL, "")
    epochs: int = _whole("Epochs", 10, 1, 1000, "passes over the dataset", "pass over the dataset")
    learning_rate: float = _real("Learning rate", 1e-4, 1e-6, 1)
    batch_size: int = _whole("Batch size", 1, 1, 64, "images per step", "image per step")
    resolution: int = _whole("Resolution", 512, 128, 2048, "px")
    network_dim: int = _whole("Network dim (rank)", 16, 1, 1_000_000)
    network_alpha: float = _real("Network alpha", 8, 0, 1_000_000)
    repeats: int = _whole("Repeats", 1, 1, 1000, "times each image per epoch", "time each image per epoch")
    seed: int = _whole("Seed", 42, 0, 2**31 - 1)
    sample_prompts: tuple[str, ...] = _setting(PROMPTS, ())

    architecture: str = _choice("Architecture", MODEL, "Empty: told from the base model")
    vae: str = _line("VAE or autoencoder", MODEL, _PART)
    clip_l: str = _line("CLIP-L text encoder", MODEL, _PART)
    clip_g: str = _line("CLIP-G text encoder", MODEL, _PART)
    t5xxl: str = _line("T5-XXL text encoder", MODEL, _PART)
    text_encoder: str = _line("Other text encoder", MODEL, _PART)
    network_weights: str = _line("LoRA to start from", MODEL, "A .safetensors file of the same rank")

    max_steps: int | None = _whole("Steps instead of epochs", None, 1, 10_000_000, "steps", "step", group=LENGTH)
    resolution_height: int | None = _whole("Height, where not square", None, 64, 4096, "px", group=LENGTH)
    gradient_accumulation: int = _whole(
        "Gradient accumulation", 1, 1, 1024, "batches per step", "batch per step", group=LENGTH
    )
    loader_workers: int | None = _whole("Data loader workers", None, 0, 32, "processes", "process", group=LENGTH)

    mixed_precision: str = _choice("Mixed precision", MEMORY, "Empty: what suits the architecture")
    save_precision: str = _choice("Saved precision", MEMORY, default="fp16")
    fp8_base: bool = _switch("Base model in 8 bit (fp8)", False, MEMORY)
    gradient_checkpointing: bool = _switch("Gradient checkpointing", True, MEMORY, "Less memory, slower steps")
    cache_latents: str = _choice("Cache latents", MEMORY, default="memory")
    cache_text_encoder: str = _choice(
        "Cache text encoder outputs", MEMORY, "Only where the text encoder is not trained"
    )

    optimizer: str = _choice("Optimizer", OPTIMIZER)
    optimizer_args: tuple[str, ...] = _arguments("Optimizer arguments", OPTIMIZER, "weight_decay=0.01")
    lr_scheduler: str = _choice("Learning rate schedule", OPTIMIZER)
    lr_warmup: float | None = _real(
        "Warm-up", None, 0, 1_000_000, "steps", group=OPTIMIZER, hint="Below 1: a share of all steps"
    )
    lr_cycles: int | None = _whole("Cycles of the schedule", None, 1, 1000, group=OPTIMIZER)
    unet_lr: float | None = _real("U-Net learning rate", None, 0, 10, group=OPTIMIZER)
    text_encoder_lr: float | None = _real("Text encoder learning rate", None, 0, 10, group=OPTIMIZER)
    train_only: str = _choice("Train only", OPTIMIZER, "Empty: all that the trainer can train")

    network_module: str = _choice("Network type", NETWORK, "Empty: LoRA")
    network_args: tuple[str, ...] = _arguments("Network arguments", NETWORK, "conv_dim=8")

    min_snr_gamma: float | None = _real("Min-SNR gamma", None, 0, 100, group=LOSS)
    noise_offset: float | None = _real("Noise offset", None, -1, 1, group=LOSS)
    multires_iterations: int | None = _whole("Multires noise iterations", None, 1, 64, group=LOSS)
    multires_discount: float | None = _real("Multires noise discount", None, 0, 1, group=LOSS)
    scale_weight_norms: float | None = _real("Scale weight norms", None, 0, 100, group=LOSS)
    v_parameterization: bool = _switch("v-prediction", False, LOSS, "Only for base models that were trained with it")

    buckets: bool = _switch("Aspect ratio buckets", True, CAPTIONS)
    bucket_min: int | None = _whole("Smallest bucket side", None, 64, 8192, "px", group=CAPTIONS)
    bucket_max: int | None = _whole("Largest bucket side", None, 64, 8192, "px", group=CAPTIONS)
    bucket_step: int | None = _whole("Bucket step", None, 8, 1024, "px", group=CAPTIONS)
    bucket_no_upscale: bool = _switch("No upscaling into buckets", False, CAPTIONS)
    caption_extension: str = _line("Caption extension", CAPTIONS, "Empty: .txt", 11)
    shuffle_caption: bool = _switch("Shuffle caption tags", False, CAPTIONS)
    keep_tokens: int | None = _whole("Keep first tags in place", None, 0, 225, "tags", "tag", group=CAPTIONS)
    caption_dropout: float | None = _real(
        "Caption dropout", None, 0, 1, group=CAPTIONS, hint="Share of captions left out"
    )
    class_tokens: str = _line("Words instead of a caption", CAPTIONS, "For images without a caption file", 500)
    flip_images: bool = _switch("Flip images at random", False, CAPTIONS)
    caption_prefix: str = _line("Caption prefix", CAPTIONS, "Put before every caption", 500)
    clip_skip: int | None = _whole("Clip skip", None, 1, 24, "layers", "layer", group=CAPTIONS)
    max_token_length: str = _choice("Longest caption", CAPTIONS, "In tokens; empty: 75")

    save_every_epochs: int = _whole(
        "Save every", 1, 0, 1000, "epochs", "epoch", group=SAVING, hint="0: only at the end"
    )
    save_every_steps: int | None = _whole(
        "Save every number of steps", None, 1, 10_000_000, "steps", "step", group=SAVING
    )
    keep_last: int | None = _whole("Keep only the newest", None, 1, 1000, "files", "file", group=SAVING)
    save_state: bool = _switch(
        "Save the training state", True, SAVING, "So that the job can be continued; only the newest"
    )
    sample_every_epochs: int = _whole("Sample every", 1, 0, 1000, "epochs", "epoch", group=SAVING, hint="0: never")
    sample_every_steps: int | None = _whole(
        "Sample every number of steps", None, 1, 10_000_000, "steps", "step", group=SAVING, hint="Instead of epochs"
    )
    sampler: str = _choice("Sampler", SAVING, default="euler_a")
    sample_steps: int | None = _whole("Sampling steps", None, 1, 200, "steps", "step", group=SAVING)
    sample_guidance: float | None = _real("Guidance scale", None, 0, 50, group=SAVING)
    negative_prompt: str = _line("Negative prompt", SAVING, "For every sample that has none of its own", 1_000)

    gpus: int = _whole("GPUs", 1, 1, 16, "cards", "card", group=RUN)
    stop_on_nan: int = _whole("Stop after NaN losses", 20, 0, 10_000, "in a row", group=RUN, hint="0: never")

    where: str = _choice("Where", CLUSTER, "This machine (local) or the cluster (ray)")
    cluster_cpus: int = _whole("Processors on the cluster", 1, 1, 1024, "processors", "processor", group=CLUSTER)
    cluster_memory_gb: int | None = _whole("Memory on the cluster", None, 1, 100_000, "GB", group=CLUSTER)
    cluster_resources: tuple[str, ...] = _setting(RESOURCES, ())

    extra: Mapping[str, Any] = _setting(EXTRA, {})


SETTINGS: Mapping[str, Setting] = {
    each.name: replace(each.metadata["setting"], name=each.name) for each in fields(TrainingSettings)
}
USUAL: Mapping[str, Any] = {name: getattr(TrainingSettings(), name) for name in SETTINGS}
FOLDED = tuple(each for each in SETTINGS.values() if each.group)
# What a person enters for one training; the trainer itself comes with the configuration.
ENTERED = tuple(each for each in SETTINGS.values() if each.name not in ("trainer", "extra"))
NUMBERS = tuple(each for each in SETTINGS.values() if isinstance(each, Number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a trainer calls a setting, and the words it takes where the setting is a choice."""

    name: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """A named set of training settings. A job keeps its own copy of the settings."""

    id: str
    name: str
    settings: TrainingSettings
    description: str = ""
    is_default: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting that is not what the configuration says."""

    name: str
    label: str
    before: Any
    after: Any


def setting_problems(settings: TrainingSettings) -> dict[str, str]:
    """Field name -> what is wrong with it; empty when all values can be used."""
    problems = {name: each.problem(getattr(settings, name)) for name, each in SETTINGS.items()}
    return {name: problem for name, problem in problems.items() if problem}


def config_problems(config: TrainingConfig) -> dict[str, str]:
    """Field name -> why the configuration cannot be saved; whether its name is taken, only its source knows."""
    problems = setting_problems(config.settings)
    if problem := name_problem(config.name):
        problems["name"] = problem
    if problem := description_problem(config.description):
        problems["description"] = problem
    return problems


def settings_payload(settings: TrainingSettings) -> dict[str, Any]:
    """The settings as plain values, as files, the database and a job's own copy hold them.

    What is folded under a heading in forms is held only where it is not as usual.
    """
    values = ((each, getattr(settings, name)) for name, each in SETTINGS.items())
    return {each.name: each.plain(value) for each, value in values if not each.group or value != USUAL[each.name]}


def set_names(settings: TrainingSettings) -> tuple[str, ...]:
    """The folded settings that are not as usual."""
    return tuple(each.name for each in FOLDED if getattr(settings, each.name) != USUAL[each.name])


def settings_from_payload(payload: Mapping[str, Any]) -> TrainingSettings:
    """Settings from plain values. Unknown names are ignored; an unusable value becomes the default."""
    found = {name: each.read(payload.get(name)) for name, each in SETTINGS.items()}
    return TrainingSettings(**{name: value for name, value in found.items() if value is not None})


def settings_differences(before: TrainingSettings, after: TrainingSettings) -> tuple[Difference, ...]:
    """The settings in which ``after`` differs from ``before``, in the order they are shown."""
    values = ((each, getattr(before, each.name), getattr(after, each.name)) for each in SETTINGS.values())
    return tuple(
        Difference(name=each.name, label=each.label, before=old, after=new) for each, old, new in values if old != new
    )


def name_problem(name: str) -> str:
    """What is wrong with the name of a configuration or dataset; empty when it is fine."""
    return _name_problem(name, "The name", MAX_NAME_LENGTH)


def description_problem(text: str) -> str:
    """What is wrong with the description of a configuration; empty when it is fine."""
    if len(text) > MAX_DESCRIPTION_LENGTH:
        return f"The description has {len(text):,} characters; at most {MAX_DESCRIPTION_LENGTH:,} are allowed."
    return character_problem(text, "The description")


def job_name_problem(name: str) -> str:
    """What is wrong with the name of a job; empty when it is fine."""
    return _name_problem(name, "The job name", MAX_JOB_NAME_LENGTH)


def _name_problem(name: str, what: str, limit: int) -> str:
    length = len(name.strip())
    if not length:
        return f"{what} is empty."
    if length > limit:
        return f"{what} has {length:,} characters; at most {limit} are allowed."
    return character_problem(name, what, is_line=True)


def total_steps(image_count: int, settings: TrainingSettings, *, more: int = 0) -> int:
    """Optimisation steps of a training, as sd-scripts counts them where no aspect ratio buckets divide the images.

    ceil(ceil((images × repeats + more) / batch) / accumulation) × epochs, or the steps that were asked for.

    Args:
        more: Images of further datasets, with their repeats.
    """
    if settings.max_steps:
        return settings.max_steps
    batches = math.ceil((image_count * settings.repeats + more) / settings.batch_size)
    return math.ceil(batches / settings.gradient_accumulation) * settings.epochs
