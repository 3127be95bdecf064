"""What musubi-tuner calls the settings, and what each kind of base model needs; read in its source at 30c658c."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lib.embedded.trainers.base_model import BaseModel
from lib.embedded.trainers.kohya_arguments import OWN_NAMES, schedule_faults
from lib.embedded.trainers.sd_scripts_settings import SCHEDULES
from lib.jobs.training_settings import SETTINGS, Parameter, TrainingSettings
from lib.jobs.words import within_sentence

PRECISION = "bf16"
SOURCES = "src/musubi_tuner"
BUCKET_STEP_PX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MusubiArchitecture:
    """A kind of base model.

    Attributes:
        stem: Beginning of the names of its scripts.
        network: Its LoRA module.
        texts: Setting -> option, of its text encoders.
        sampling: How its documentation samples timesteps.
        flags: Options that all three scripts get.
        latent_flags, train_flags: Options of the script that caches latents, and of the one that trains.
        guidance: The option of a sample prompt that means its guidance.
        bytes_per_rank: Size of its LoRA file in 16 bit, per rank: an estimate from the widths of its layers.
        has_fp8_scaled: Whether 8 bit means that it scales the weights itself.
        takes_fp8: Whether the base model may be in fp8, as a file.
        keeps_dtype: Whether the mixed precision has to be that of the file.
    """

    label: str
    stem: str
    network: str
    texts: Mapping[str, str]
    sampling: tuple[str, ...]
    bytes_per_rank: int
    flags: tuple[str, ...] = ()
    latent_flags: tuple[str, ...] = ()
    train_flags: tuple[str, ...] = ()
    guidance: str = "l"
    has_lycoris: bool = True
    has_fp8_scaled: bool = True
    takes_fp8: bool = True
    keeps_dtype: bool = False

    @property
    def scripts(self) -> tuple[str, str, str]:
        """Paths of the scripts that cache latents, cache text encoder outputs, and train; from the checkout."""
        cache = "" if self.stem == "hv" else f"{self.stem}_"
        names = (f"{cache}cache_latents", f"{cache}cache_text_encoder_outputs", f"{self.stem}_train_network")
        latents, texts, training = (f"{SOURCES}/{name}.py" for name in names)
        return latents, texts, training


_VAE_TILES = ("--vae_tiling", "--vae_chunk_size=32")
_TEXT = {"text_encoder": "text_encoder"}


def _shift(shift: float) -> tuple[str, ...]:
    return ("--timestep_sampling=shift", "--weighting_scheme=none", f"--discrete_flow_shift={shift:g}")


def _flux2(version: str, bytes_per_rank: int) -> MusubiArchitecture:
    return MusubiArchitecture(
        label=f"FLUX.2 {version}", stem="flux_2", network="networks.lora_flux_2", texts=_TEXT,
        sampling=("--timestep_sampling=flux2_shift", "--weighting_scheme=none"), bytes_per_rank=bytes_per_rank,
        flags=(f"--model_version={version}",), guidance="g",
    )  # fmt: skip


def _wan(task: str, bytes_per_rank: int) -> MusubiArchitecture:
    return MusubiArchitecture(
        label=f"Wan 2.1 {task}", stem="wan", network="networks.lora_wan", texts={"t5xxl": "t5"}, sampling=_shift(3),
        bytes_per_rank=bytes_per_rank, train_flags=(f"--task={task}",), takes_fp8=False, keeps_dtype=True,
    )  # fmt: skip


# FLUX.1 Kontext, FramePack and the editing models are trained on pairs of images or on videos, which datasets here
# do not hold.
ARCHITECTURES = {
    "qwen-image": MusubiArchitecture(
        label="Qwen-Image", stem="qwen_image", network="networks.lora_qwen_image", texts=_TEXT, sampling=_shift(2.2),
        bytes_per_rank=13_300_000, flags=("--model_version=original",), takes_fp8=False,
    ),
    "z-image": MusubiArchitecture(
        label="Z-Image", stem="zimage", network="networks.lora_zimage", texts=_TEXT, sampling=_shift(2),
        bytes_per_rank=5_000_000,
    ),
    "flux2-dev": _flux2("dev", 12_200_000),
    "flux2-klein-4b": _flux2("klein-base-4b", 2_900_000),
    "flux2-klein-9b": _flux2("klein-base-9b", 5_200_000),
    "krea2": MusubiArchitecture(
        label="Krea 2", stem="krea2", network="networks.lora_krea2", texts=_TEXT, sampling=_shift(2.5),
        bytes_per_rank=8_000_000, has_lycoris=False,
    ),
    "wan-1.3b": _wan("t2v-1.3B", 2_700_000),
    "wan-14b": _wan("t2v-14B", 9_600_000),
    "wan-t2i-14b": _wan("t2i-14B", 9_600_000),
    "hunyuan-video": MusubiArchitecture(
        label="HunyuanVideo", stem="hv", network="networks.lora",
        texts={"text_encoder": "text_encoder1", "clip_l": "text_encoder2"}, sampling=_shift(7),
        bytes_per_rank=7_400_000, latent_flags=_VAE_TILES, train_flags=_VAE_TILES, guidance="g", has_fp8_scaled=False,
    ),
}  # fmt: skip

LYCORIS = {"LoHa": "networks.loha", "LoKr": "networks.lokr"}
# A path names a class of a library; other words are those of torch.optim.
OPTIMIZERS = (
    *("AdamW", "AdamW8bit", "Adafactor", "SGD", "RAdam", "NAdam", "prodigyopt.Prodigy"),
    *("prodigyplus.ProdigyPlusScheduleFree", "schedulefree.AdamWScheduleFree"),
)
# Setting -> option, where a value that is set is passed on as it is and a switch that is on has none.
OPTIONS = {
    "gradient_accumulation": "gradient_accumulation_steps",
    "loader_workers": "max_data_loader_n_workers",
    "gradient_checkpointing": "gradient_checkpointing",
    "optimizer_args": "optimizer_args",
    "lr_scheduler": "lr_scheduler",
    "lr_warmup": "lr_warmup_steps",
    "lr_cycles": "lr_scheduler_num_cycles",
    "network_weights": "network_weights",
    "network_args": "network_args",
    "scale_weight_norms": "scale_weight_norms",
}
_OWN = {
    **OWN_NAMES,
    "base_model": "dit",
    "vae": "vae",
    "text_encoder": "text_encoder, text_encoder1",
    "clip_l": "text_encoder2",
    "t5xxl": "t5",
    "fp8_base": "fp8_base, fp8_scaled",
    "bucket_no_upscale": "bucket_no_upscale",
    "sample_guidance": "--l, --g",
}
PARAMETERS: Mapping[str, Parameter] = {
    **{setting: Parameter(name=name) for setting, name in {**_OWN, **OPTIONS}.items()},
    "architecture": Parameter(name="", choices=tuple(ARCHITECTURES)),
    "mixed_precision": Parameter(name="mixed_precision", choices=("no", "fp16", "bf16")),
    "save_precision": Parameter(name="save_precision", choices=("float", "fp16", "bf16")),
    "optimizer": Parameter(name="optimizer_type", choices=OPTIMIZERS),
    "lr_scheduler": Parameter(name="lr_scheduler", choices=(*SCHEDULES, "rex")),
    "network_module": Parameter(name="network_module", choices=("LoRA", *LYCORIS)),
}


def ignored_problems(settings: TrainingSettings, kind: MusubiArchitecture) -> list[str]:
    """Settings that musubi-tuner would ignore or refuse, or that contradict each other."""
    said = settings
    parts = ("clip_l", "t5xxl", "text_encoder")
    unused = [SETTINGS[name].label for name in parts if getattr(said, name) and name not in kind.texts]
    faults = {
        f"{kind.label} has no {', '.join(map(within_sentence, unused))}. Empty the field.": bool(unused),
        **schedule_faults(said),
        "Upscaling belongs to buckets, which are off. Switch them on, or the limit off.": (
            said.bucket_no_upscale and not said.buckets
        ),
        f"{kind.label} is not trained with {said.network_module} in musubi-tuner. Choose LoRA.": (
            said.network_module in LYCORIS and not kind.has_lycoris
        ),
    }
    return [problem for problem, is_there in faults.items() if is_there]


def precision_problems(settings: TrainingSettings, kind: MusubiArchitecture, base: BaseModel | None) -> list[str]:
    """Precisions of the base model that musubi-tuner does not take, as its documentation and its checks say.

    Args:
        base: What the base model's header tells; None: nothing is known.
    """
    if base is None:
        return []
    precision, name = settings.mixed_precision or PRECISION, within_sentence(SETTINGS["fp8_base"].label)
    faults = {
        f"The base model is in fp8 already, and musubi-tuner makes its own 8 bit of {kind.label}: it would stop. Give "
        f"the model in fp16 or bf16, or switch {name} off.": (
            base.is_fp8 and settings.fp8_base and kind.has_fp8_scaled and kind.takes_fp8
        ),
        f"musubi-tuner does not train {kind.label} on a base model in fp8. Give the model in fp16 or bf16.": (
            base.is_fp8 and not kind.takes_fp8
        ),
        f"The base model is in {base.dtype}, so {kind.label} needs the mixed precision {base.dtype} or no: "
        f"musubi-tuner would stop at {precision}.": (
            kind.keeps_dtype and base.dtype in ("fp16", "bf16") and precision not in (base.dtype, "no")
        ),
    }
    return [problem for problem, is_there in faults.items() if is_there]


def batches_of(sizes: Mapping[tuple[int, int], int], settings: TrainingSettings) -> int:
    """Batches of an epoch, cut from each bucket as ``BucketSelector`` in dataset/bucket.py makes them.

    Args:
        sizes: Width and height of images in pixels -> how many have them.
    """
    width, height = settings.resolution, settings.resolution_height or settings.resolution
    area, step = width * height, BUCKET_STEP_PX
    smallest, side = math.isqrt(area) // 2 // step * step, math.isqrt(area)
    pairs = [(each, area // each // step * step) for each in range(smallest, side + step, step)]
    known = sorted({*pairs, *((h, w) for w, h in pairs)} if settings.buckets else {(width, height)})
    counts: Counter[tuple[int, int]] = Counter()
    for (w, h), count in sizes.items():
        keeps_size = settings.buckets and settings.bucket_no_upscale and w * h <= area
        own = (w // step * step, h // step * step)
        counts[own if keeps_size else min(known, key=lambda pair: abs(pair[0] / pair[1] - w / h))] += count
    return sum(math.ceil(count * settings.repeats / settings.batch_size) for count in counts.values())
