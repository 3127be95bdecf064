"""What diffusers' DreamBooth scripts call the settings, and which base models they train; read at 58eb52c."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.embedded.trainers.option_rules import OptionRules
from lib.jobs.training_settings import Parameter, TrainingSettings

SCRIPTS = "examples/dreambooth"


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
