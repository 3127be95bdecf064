"""What ai-toolkit calls the settings, and which base models it trains; read in its source at 27a03a9."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lib.embedded.trainers.option_rules import OptionRules
from lib.jobs.training_settings import Parameter, TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolkitArchitecture:
    """A kind of base model: what ai-toolkit calls it, whether it is trained by flow matching, and its size."""

    label: str
    arch: str
    bytes_per_rank: int
    is_flow: bool = True


def _made(label: str, arch: str, bytes_per_rank: int, *, is_flow: bool = True) -> ToolkitArchitecture:
    return ToolkitArchitecture(label=label, arch=arch, bytes_per_rank=bytes_per_rank, is_flow=is_flow)


# Sizes in 16 bit are estimates from the widths of the layers.
ARCHITECTURES = {
    "sd15": _made("Stable Diffusion 1.5", "sd1", 1_200_000, is_flow=False),
    "sdxl": _made("SDXL", "sdxl", 7_200_000, is_flow=False),
    "sd3": _made("Stable Diffusion 3.5", "sd3", 12_000_000),
    "flux": _made("FLUX.1", "flux", 19_200_000),
    "chroma": _made("Chroma", "chroma", 15_000_000),
    "lumina": _made("Lumina 2", "lumina2", 8_000_000),
    "flux2-dev": _made("FLUX.2 dev", "flux2", 12_200_000),
    "flux2-klein-4b": _made("FLUX.2 klein 4B", "flux2_klein_4b", 2_900_000),
    "flux2-klein-9b": _made("FLUX.2 klein 9B", "flux2_klein_9b", 5_200_000),
    "qwen-image": _made("Qwen-Image", "qwen_image", 13_300_000),
    "z-image": _made("Z-Image", "zimage", 5_000_000),
}
OPTIMIZERS = ("adamw", "adamw8bit", "lion", "lion8bit", "adafactor", "prodigy", "prodigy8bit", "automagic")
SCHEDULES = ("constant", "constant_with_warmup", "cosine")
PRECISIONS = {"no": "float32", "fp16": "float16", "bf16": "bfloat16", "float": "float32"}
# Setting -> section and key, where a value that is set is written as it is.
KEYS = {
    "gradient_accumulation": ("train", "gradient_accumulation"),
    "gradient_checkpointing": ("train", "gradient_checkpointing"),
    "unet_lr": ("train", "unet_lr"),
    "text_encoder_lr": ("train", "text_encoder_lr"),
    "lr_scheduler": ("train", "lr_scheduler"),
    "min_snr_gamma": ("train", "min_snr_gamma"),
    "noise_offset": ("train", "noise_offset"),
    "fp8_base": ("model", "quantize"),
    "vae": ("model", "vae_path"),
    "network_weights": ("network", "pretrained_lora_path"),
    "buckets": ("datasets", "buckets"),
    "shuffle_caption": ("datasets", "shuffle_tokens"),
    "keep_tokens": ("datasets", "keep_tokens"),
    "caption_dropout": ("datasets", "caption_dropout_rate"),
    "class_tokens": ("datasets", "default_caption"),
    "flip_images": ("datasets", "flip_x"),
    "loader_workers": ("datasets", "num_workers"),
    "sample_steps": ("sample", "sample_steps"),
    "sample_guidance": ("sample", "guidance_scale"),
    "negative_prompt": ("sample", "neg"),
}
_OWN = {
    "base_model": "name_or_path",
    "epochs": "steps",
    "max_steps": "steps",
    "learning_rate": "lr",
    "batch_size": "batch_size",
    "resolution": "resolution",
    "network_dim": "linear",
    "network_alpha": "linear_alpha",
    "repeats": "num_repeats",
    "seed": "training_seed",
    "sample_prompts": "samples",
    "extra": "",
    "optimizer_args": "optimizer_params",
    "lr_warmup": "lr_scheduler_params",
    "save_every_epochs": "save_every",
    "save_every_steps": "save_every",
    "keep_last": "max_step_saves_to_keep",
    "sample_every_epochs": "sample_every",
    "sample_every_steps": "sample_every",
}
PARAMETERS: Mapping[str, Parameter] = {
    **{setting: Parameter(name=key) for setting, key in _OWN.items()},
    **{setting: Parameter(name=key) for setting, (_, key) in KEYS.items()},
    "architecture": Parameter(name="arch", choices=tuple(ARCHITECTURES)),
    "mixed_precision": Parameter(name="dtype", choices=("no", "fp16", "bf16")),
    "save_precision": Parameter(name="dtype", choices=("float", "fp16", "bf16")),
    "optimizer": Parameter(name="optimizer", choices=OPTIMIZERS),
    "lr_scheduler": Parameter(name="lr_scheduler", choices=SCHEDULES),
    "network_module": Parameter(name="type", choices=("LoRA", "LoKr")),
    "cache_latents": Parameter(name="cache_latents, cache_latents_to_disk", choices=("no", "memory", "disk")),
    "cache_text_encoder": Parameter(name="cache_text_embeddings", choices=("disk",)),
}
RULES = OptionRules(
    set_by_dashboard=frozenset(
        {
            *("name_or_path", "arch", "dtype", "steps", "lr", "batch_size", "resolution", "linear", "linear_alpha"),
            *("rank", "type", "folder_path", "dataset_path", "caption_ext", "num_repeats", "samples", "prompts"),
            *("save_every", "sample_every", "max_step_saves_to_keep", "optimizer", "optimizer_params", "sampler"),
            *("lr_scheduler_params", "noise_scheduler", "width", "height", "walk_seed", "disable_sampling", "vae_path"),
            *("pretrained_lora_path", "cache_latents", "cache_latents_to_disk", "cache_text_embeddings"),
        }
    ),
    refused=dict.fromkeys(("push_to_hub", "hf_repo_id", "hf_private"), "sends files to a server"),
    texts={
        **dict.fromkeys(("trigger_word", "unconditional_prompt", "diff_output_preservation_class"), re.compile(r".*")),
        # A model of the hub, whole or one file of it.
        "assistant_lora_path": re.compile(r"[\w-]+/[\w-]+(/[\w-]+\.safetensors)?", re.ASCII),
    },
    words={
        "qtype": frozenset({"qfloat8", "qint8", "qint4", "float8", "uint3", "uint4", "uint6"}),
        "qtype_te": frozenset({"qfloat8", "qint8", "qint4", "float8", "uint3", "uint4", "uint6"}),
        "timestep_type": frozenset({"sigmoid", "linear", "lognorm_blend", "shift", "weighted", "flux_shift"}),
        "content_or_style": frozenset({"balanced", "style", "content"}),
        "loss_type": frozenset({"mse", "mae", "wavelet", "stepped"}),
        "format": frozenset({"jpg", "png", "webp"}),
    },
    ranges={"noise_offset": (-1, 1), "lokr_factor": (-1, 4096)},
)


def ignored_problems(settings: TrainingSettings, kind: ToolkitArchitecture) -> list[str]:
    """Settings that ai-toolkit would ignore, or that contradict each other."""
    said = settings
    twice = [key for setting, (_, key) in KEYS.items() if key in said.extra and setting in PARAMETERS]
    faults = {
        f"The key {', '.join(twice)} has a field of its own. Remove it from the further options.": bool(twice),
        f"ai-toolkit has no 8 bit for {kind.label}: it would ignore the switch. Switch it off.": (
            said.fp8_base and not kind.is_flow
        ),
        "ai-toolkit trains on one card. Set the cards to 1.": said.gpus > 1,
        "Warm-up belongs to the schedule constant_with_warmup. Choose it, or empty the warm-up.": (
            bool(said.lr_warmup) and said.lr_scheduler != "constant_with_warmup"
        ),
        "The schedule constant_with_warmup needs a warm-up: ai-toolkit would take 1,000 steps. Give it.": (
            not said.lr_warmup and said.lr_scheduler == "constant_with_warmup"
        ),
        "Cached text encoder outputs need captions that stay the same: no shuffling and no dropout.": (
            bool(said.cache_text_encoder) and (said.shuffle_caption or bool(said.caption_dropout))
        ),
        "Cached text encoder outputs need a text encoder that is not trained. Empty its learning rate.": (
            bool(said.cache_text_encoder) and said.text_encoder_lr is not None
        ),
        "An optimizer argument must be written as name=value.": any("=" not in each for each in said.optimizer_args),
    }
    return [problem for problem, is_there in faults.items() if is_there]
