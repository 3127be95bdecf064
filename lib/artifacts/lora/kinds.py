"""What a safetensors file without LoRA modules is, and who wrote one that has them: by names of tensors."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from lib.artifacts.lora.adapter_config import CONFIG_FILE, METADATA_KEY, AdapterConfig
from lib.artifacts.lora.keys import family_of
from lib.artifacts.lora.metadata import EMBEDDING_START, is_ai_toolkit, said

KOHYA_STARTS = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_", "lora_transformer_")
_DIFFUSERS_STARTS = ("unet.", "transformer.", "transformer_2.", "text_encoder.", "text_encoder_2.", "text_encoder_3.")
_LONGEST_START = 20
_LYCORIS_PARTS = (".hada_w", ".lokr_w", ".oft_", ".boft_", ".on_input", ".a1.weight", ".diff")
# Modules that only musubi-tuner has; "networks.lora" and "networks.lora_flux" are in both.
_MUSUBI_MODULES = (
    "networks.lora_wan", "networks.lora_framepack", "networks.lora_qwen_image", "networks.lora_kandinsky",
    "networks.lora_hv", "networks.lora_zimage", "networks.lora_flux_2", "networks.loha", "networks.lokr",
)  # fmt: skip


class FileKind(StrEnum):
    """What a file holds, in words."""

    LORA = "LoRA"
    CHECKPOINT = "a full model"
    VAE = "a VAE"
    TEXT_ENCODER = "a text encoder"
    EMBEDDING = "an embedding (textual inversion)"
    CACHE = "a cache of latents or text encodings"
    CONTROLNET = "a ControlNet or another image adapter"
    STATE = "the state of a training"
    OTHER = "something else"


# The first kind that has a name beginning like this; more special ones first.
_STARTS = tuple(
    (kind, tuple(starts.split()))
    for kind, starts in (
        (FileKind.CONTROLNET, "lllite_ control_model. controlnet_ lora_controlnet ip_adapter. image_proj."),
        (FileKind.CHECKPOINT, "model.diffusion_model. cond_stage_model. conditioner. first_stage_model."),
        (FileKind.EMBEDDING, f"emb_params string_to_param {EMBEDDING_START}"),
        (FileKind.CACHE, "latents_ latents. varlen_ vae_ clip_l_ image_embeds prompt_embeds t5_"),
        (FileKind.STATE, "optimizer. state. exp_avg"),
        (FileKind.VAE, "encoder.conv decoder.conv encoder.down decoder.up encoder.mid decoder.mid quant_conv."),
        (FileKind.TEXT_ENCODER, "text_model. text_projection. encoder.block. encoder.layers. shared.weight"),
        (FileKind.CHECKPOINT, "model. diffusion_model. transformer. unet. double_blocks. single_blocks. layers."),
        (FileKind.CHECKPOINT, "transformer_blocks. joint_blocks. blocks. down_blocks. input_blocks. lm_head."),
    )
)
_EMBEDDING_NAMES = frozenset({"clip_l", "clip_g", "t5xxl", "t5", "qwen", "*", "latents", "hidden_states"})


def kind_of_file(names: Iterable[str]) -> FileKind:
    """What a file without LoRA modules holds."""
    names = set(names)
    if names and names <= {"latents", "hidden_states", "attention_mask", "original_size", "crop_ltrb"}:
        return FileKind.CACHE
    if names and names <= _EMBEDDING_NAMES:
        return FileKind.EMBEDDING
    for kind, starts in _STARTS:
        if any(name.startswith(starts) for name in names):
            return kind
    return FileKind.OTHER


def writer_of(
    metadata: Mapping[str, str], modules: Iterable[str], tensors: Iterable[str], config: AdapterConfig | None
) -> str:
    """Which program wrote a LoRA file, or which program's names it uses."""
    endings = "\n".join(tensors)
    modules, tensors = {name[:_LONGEST_START] for name in modules}, {name[:_LONGEST_START] for name in tensors}
    module = said(metadata, "ss_network_module")
    if is_ai_toolkit(metadata):
        return "ai-toolkit"
    if _is_onetrainer(metadata, modules, tensors):
        return "OneTrainer"
    if METADATA_KEY in metadata or any(name.startswith(_DIFFUSERS_STARTS) for name in modules):
        return "SimpleTuner" if "trained_words" in metadata else "diffusers"
    if module.startswith("lycoris"):
        return "LyCORIS"
    if module.startswith(_MUSUBI_MODULES) or "ss_num_train_items" in metadata:
        return "musubi-tuner"
    if any(key.startswith("ss_") for key in metadata):
        return "kohya sd-scripts"
    if any(name.startswith("base_model.model.") for name in modules):
        return "peft" if config else "peft without its config"
    if config is not None and config.origin == CONFIG_FILE:
        return "diffusion-pipe" if any(name.startswith("diffusion_model.") for name in modules) else "peft"
    if any(name.startswith((*KOHYA_STARTS, "lycoris_")) for name in modules):
        is_lycoris = any(part in endings for part in _LYCORIS_PARTS)
        return "LyCORIS" if is_lycoris else "kohya sd-scripts"
    if any(name.startswith("diffusion_model.") for name in modules):
        return "unknown (names as ComfyUI reads them)"
    return "unknown"


def _is_onetrainer(metadata: Mapping[str, str], modules: Iterable[str], tensors: Iterable[str]) -> bool:
    return (
        any(key in metadata for key in ("ot_config", "ot_branch", "ot_revision"))
        or said(metadata, "ss_base_model_version") == "sdxl_"
        or any(name.startswith(EMBEDDING_START) for name in tensors)
        or any(name.startswith("lora_transformer_") for name in modules)
    )


_FAMILY_OF_VERSION = (
    ("sdxl", "SDXL"),
    ("sd_v", "Stable Diffusion"),
    ("flux", "FLUX"),
    ("wan", "Wan"),
    ("qwen", "Qwen-Image"),
)


def family_contradiction(metadata: Mapping[str, str], modules: Iterable[str]) -> str:
    """A sentence when the metadata name another family of base models than the names of tensors; else empty."""
    version = said(metadata, "ss_base_model_version").lower()
    claimed = next((family for start, family in _FAMILY_OF_VERSION if version.startswith(start)), "")
    real = family_of(modules)
    # A LoRA of SDXL may leave out everything that tells it from Stable Diffusion 1.
    alike = {claimed, real} <= {"SDXL", "Stable Diffusion"}
    if not claimed or not real or claimed == real or alike or {claimed, real} == {"FLUX", "Qwen-Image"}:
        return ""
    return f"The metadata name {version} as the base model; the names of the tensors are those of {real}."
