"""What sd-scripts calls the settings, and what each kind of base model needs; read in its source at 48d368f."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.embedded.trainers.kohya_arguments import OWN_NAMES, schedule_faults
from lib.jobs.training_settings import SETTINGS, Parameter, TrainingSettings
from lib.jobs.words import within_sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A kind of base model.

    Attributes:
        parts: Setting -> option, of the models it is trained with beside the base model.
        needed: The settings among them that must be given.
        flags: Options that it is always trained with.
        bytes_per_rank: Size of its LoRA file in 16 bit, per rank.
        has_fp8: Whether its base model can be kept in 8 bit.
        bucket_step: What the step of buckets must be divisible by, in pixels (``verify_bucket_reso_steps``).
        caches_some: Whether some text encoders are trained while the outputs of another are cached.
        caches_dropped: Whether outputs can be cached although captions are dropped.
        has_caption_length: Whether the longest caption is chosen.
    """

    label: str
    script: str
    network: str
    precision: str
    bytes_per_rank: int
    parts: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    has_fp8: bool = True
    bucket_step: int = 64
    caches_some: bool = False
    caches_dropped: bool = False
    has_caption_length: bool = True

    @property
    def is_transformer(self) -> bool:
        """Whether it is none with a U-Net: those are read in the dtype of their file where 8 bit is asked for."""
        return self.script not in ("train_network.py", "sdxl_train_network.py")


_CLIPS = {"clip_l": "clip_l", "clip_g": "clip_g", "t5xxl": "t5xxl"}
# A file of rank 128 has 151 MB (SD 1.5) and 912 MB (SDXL); one of rank 16 has 306 MB (FLUX.1, all layers).
ARCHITECTURES = {
    "sd15": Architecture(
        label="Stable Diffusion 1.5", script="train_network.py", network="networks.lora", precision="fp16",
        bytes_per_rank=1_200_000, parts={"vae": "vae"},
    ),
    "sd2": Architecture(
        label="Stable Diffusion 2", script="train_network.py", network="networks.lora", precision="fp16",
        bytes_per_rank=1_300_000, parts={"vae": "vae"}, flags=("--v2",),
    ),
    "sdxl": Architecture(
        label="SDXL", script="sdxl_train_network.py", network="networks.lora", precision="bf16",
        bytes_per_rank=7_200_000, parts={"vae": "vae"}, flags=("--no_half_vae",), bucket_step=32,
    ),
    "flux": Architecture(
        label="FLUX.1", script="flux_train_network.py", network="networks.lora_flux", precision="bf16",
        bytes_per_rank=19_200_000, parts={"vae": "ae", "clip_l": "clip_l", "t5xxl": "t5xxl"},
        needed=("vae", "clip_l", "t5xxl"), caches_some=True, has_caption_length=False,
    ),
    "sd3": Architecture(
        label="Stable Diffusion 3", script="sd3_train_network.py", network="networks.lora_sd3", precision="bf16",
        bytes_per_rank=12_000_000, parts={"vae": "vae", **_CLIPS}, bucket_step=32, caches_some=True,
        has_caption_length=False,
    ),
    "lumina": Architecture(
        label="Lumina", script="lumina_train_network.py", network="networks.lora_lumina", precision="bf16",
        bytes_per_rank=8_000_000, parts={"vae": "ae", "text_encoder": "gemma2"}, needed=("vae", "text_encoder"),
        caches_some=True,
    ),
    "anima": Architecture(
        label="Anima", script="anima_train_network.py", network="networks.lora_anima", precision="bf16",
        bytes_per_rank=8_000_000, parts={"vae": "vae", "text_encoder": "qwen3"}, needed=("vae", "text_encoder"),
        has_fp8=False, bucket_step=16, caches_dropped=True,
    ),
}  # fmt: skip

# Network type -> what LyCORIS calls it.
LYCORIS = {
    "LoCon": ("algo=locon",),
    "LoHa": ("algo=loha",),
    "LoKr": ("algo=lokr",),
    "DoRA": ("algo=locon", "dora_wd=True"),
}
SAMPLERS = (
    *("ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver", "dpmsolver++", "dpmsingle"),
    *("k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a"),
)
OPTIMIZERS = (
    *("AdamW", "AdamW8bit", "PagedAdamW8bit", "Lion", "Lion8bit", "Adafactor", "Prodigy", "DAdaptAdam"),
    *("DAdaptLion", "DAdaptSGD", "SGDNesterov", "AdamWScheduleFree"),
)
SCHEDULES = (
    *("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "adafactor"),
    *("inverse_sqrt", "cosine_with_min_lr", "warmup_stable_decay"),
)
ONLY_UNET, ONLY_TEXT = "U-Net", "text encoder"

# Setting -> option, where a value that is set is passed on as it is and a switch that is on has none.
OPTIONS = {
    "gradient_accumulation": "gradient_accumulation_steps",
    "loader_workers": "max_data_loader_n_workers",
    "fp8_base": "fp8_base",
    "gradient_checkpointing": "gradient_checkpointing",
    "optimizer": "optimizer_type",
    "optimizer_args": "optimizer_args",
    "lr_scheduler": "lr_scheduler",
    "lr_warmup": "lr_warmup_steps",
    "lr_cycles": "lr_scheduler_num_cycles",
    "unet_lr": "unet_lr",
    "text_encoder_lr": "text_encoder_lr",
    "network_weights": "network_weights",
    "min_snr_gamma": "min_snr_gamma",
    "noise_offset": "noise_offset",
    "multires_iterations": "multires_noise_iterations",
    "multires_discount": "multires_noise_discount",
    "scale_weight_norms": "scale_weight_norms",
    "v_parameterization": "v_parameterization",
    "clip_skip": "clip_skip",
    "max_token_length": "max_token_length",
}
# Setting -> key of the file of the dataset, which beats the command line.
DATASET_KEYS = {
    "bucket_min": "min_bucket_reso",
    "bucket_max": "max_bucket_reso",
    "bucket_step": "bucket_reso_steps",
    "bucket_no_upscale": "bucket_no_upscale",
    "shuffle_caption": "shuffle_caption",
    "keep_tokens": "keep_tokens",
    "caption_dropout": "caption_dropout_rate",
    "caption_prefix": "caption_prefix",
    "class_tokens": "class_tokens",
    "flip_images": "flip_aug",
}
_OWN = {
    **OWN_NAMES,
    "base_model": "pretrained_model_name_or_path",
    "vae": "vae, ae",
    "clip_l": "clip_l",
    "clip_g": "clip_g",
    "t5xxl": "t5xxl",
    "text_encoder": "gemma2, qwen3",
    "network_args": "network_args",
    "sample_guidance": "--l",
}
PARAMETERS: Mapping[str, Parameter] = {
    **{setting: Parameter(name=name) for setting, name in {**_OWN, **OPTIONS, **DATASET_KEYS}.items()},
    "architecture": Parameter(name="", choices=tuple(ARCHITECTURES)),
    "mixed_precision": Parameter(name="mixed_precision", choices=("no", "fp16", "bf16")),
    "save_precision": Parameter(name="save_precision", choices=("float", "fp16", "bf16")),
    "cache_latents": Parameter(name="cache_latents, cache_latents_to_disk", choices=("no", "memory", "disk")),
    "cache_text_encoder": Parameter(name="cache_text_encoder_outputs", choices=("memory", "disk")),
    "optimizer": Parameter(name="optimizer_type", choices=OPTIMIZERS),
    "lr_scheduler": Parameter(name="lr_scheduler", choices=SCHEDULES),
    "train_only": Parameter(
        name="network_train_unet_only, network_train_text_encoder_only", choices=(ONLY_UNET, ONLY_TEXT)
    ),
    "network_module": Parameter(name="network_module", choices=("LoRA", *LYCORIS)),
    "max_token_length": Parameter(name="max_token_length", choices=("150", "225")),
    "sampler": Parameter(name="sample_sampler", choices=SAMPLERS),
}


def mode_arguments(settings: TrainingSettings) -> list[str]:
    """The options that a choice stands for: what is cached, what is trained."""
    caches = {"memory": "--cache_latents", "disk": "--cache_latents_to_disk"}
    texts = {"memory": "--cache_text_encoder_outputs", "disk": "--cache_text_encoder_outputs_to_disk"}
    trained = {ONLY_UNET: "--network_train_unet_only", ONLY_TEXT: "--network_train_text_encoder_only"}
    found = (
        caches.get(settings.cache_latents),
        texts.get(settings.cache_text_encoder),
        trained.get(settings.train_only),
    )
    return [each for each in found if each]


def network_arguments(settings: TrainingSettings, usual_module: str) -> list[str]:
    """Network module, rank, alpha and arguments."""
    lycoris = LYCORIS.get(settings.network_module, ())
    arguments = (*lycoris, *settings.network_args)
    return [
        f"--network_module={'lycoris.kohya' if lycoris else usual_module}",
        f"--network_dim={settings.network_dim}",
        f"--network_alpha={settings.network_alpha:g}",
        *(["--network_args", *arguments] if arguments else []),
    ]


def dataset_values(settings: TrainingSettings) -> dict[str, Any]:
    """The keys of the file of the dataset that a setting was made for."""
    values = {key: getattr(settings, setting) for setting, key in DATASET_KEYS.items()}
    return {key: value for key, value in values.items() if value not in (None, "", False)}


def ignored_problems(settings: TrainingSettings, kind: str) -> list[str]:
    """Settings that sd-scripts would ignore, or that contradict each other."""
    said, architecture = settings, ARCHITECTURES[kind]
    parts = ("vae", "clip_l", "clip_g", "t5xxl", "text_encoder")
    unused = [SETTINGS[name].label for name in parts if getattr(said, name) and name not in architecture.parts]
    bucket_values = said.bucket_min or said.bucket_max or said.bucket_step or said.bucket_no_upscale
    faults = {
        f"{architecture.label} has no {', '.join(map(within_sentence, unused))}. Empty the field.": bool(unused),
        "The text encoder's learning rate has no effect while only the U-Net is trained. Empty it.": (
            said.text_encoder_lr is not None and said.train_only == ONLY_UNET
        ),
        "The U-Net's learning rate has no effect while only the text encoder is trained. Empty it.": (
            said.unet_lr is not None and said.train_only == ONLY_TEXT
        ),
        **schedule_faults(said),
        "The multires noise discount has no effect without iterations. Give both, or empty it.": (
            said.multires_discount is not None and said.multires_iterations is None
        ),
        "The limits of buckets have no effect while buckets are off. Switch them on, or empty them.": (
            bool(bucket_values) and not said.buckets
        ),
        f"{architecture.label} needs a bucket step that is divisible by {architecture.bucket_step}. Correct it.": (
            bool(said.bucket_step) and said.buckets and (said.bucket_step or 0) % architecture.bucket_step != 0
        ),
        f"{architecture.label} has one length of captions. Empty the longest caption.": (
            bool(said.max_token_length) and not architecture.has_caption_length
        ),
        "Text encoder outputs can be cached only where captions stay the same: no shuffling and no dropout.": (
            bool(said.cache_text_encoder)
            and (said.shuffle_caption or bool(said.caption_dropout and not architecture.caches_dropped))
        ),
        "Text encoder outputs can be cached only while the U-Net alone is trained. Choose that, or do not cache.": (
            bool(said.cache_text_encoder) and said.train_only != ONLY_UNET and not architecture.caches_some
        ),
        f"{architecture.label} has no text encoder outputs to cache in sd-scripts. Empty the field.": (
            bool(said.cache_text_encoder) and architecture.script == "train_network.py"
        ),
    }
    return [problem for problem, is_there in faults.items() if is_there]


def precision_of(settings: TrainingSettings, kind: Architecture) -> str:
    """The mixed precision: what the settings say, else what suits the architecture."""
    return str(settings.mixed_precision or settings.extra.get("mixed_precision") or kind.precision)


def fp8_problems(settings: TrainingSettings, kind: Architecture, dtype: str) -> list[str]:
    """Why sd-scripts would not make 8 bit of the base model where the settings ask for it.

    Args:
        dtype: That of the base model by its header; empty when unknown.
    """
    faults = {
        f"sd-scripts has no 8 bit for {kind.label}: it would ignore the switch. Switch it off.": not kind.has_fp8,
        "A base model in 8 bit needs the mixed precision fp16 or bf16. Choose one, or switch 8 bit off.": (
            precision_of(settings, kind) == "no"
        ),
        f"sd-scripts does not take {kind.label} in {dtype}. Give the base model in fp16, bf16 or fp8 (e4m3).": (
            dtype == "fp8 (e5m2)" and kind.is_transformer
        ),
    }
    return [problem for problem, is_there in faults.items() if is_there]
