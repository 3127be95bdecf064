"""How a header tells the architecture of a model: names of tensors, and their shapes where names are shared.

Read where the trainers build these models (sd-scripts 48d368f, musubi-tuner 30c658c, ai-toolkit 27a03a9). What several
architectures have alike is no sign: Wan 2.1 and 2.2 of 14 billion parameters cannot be told apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lib.artifacts.lora.header import Tensor

LABELS = {
    "sd15": "Stable Diffusion 1.5",
    "sd2": "Stable Diffusion 2",
    "sdxl": "SDXL",
    "sd3": "Stable Diffusion 3",
    "flux": "FLUX.1",
    "chroma": "Chroma",
    "lumina": "Lumina 2",
    "anima": "Anima",
    "qwen-image": "Qwen-Image",
    "z-image": "Z-Image",
    "flux2-dev": "FLUX.2 dev",
    "flux2-klein-4b": "FLUX.2 klein 4B",
    "flux2-klein-9b": "FLUX.2 klein 9B",
    "krea2": "Krea 2",
    "wan-1.3b": "Wan 2.1 t2v-1.3B",
    "wan-14b": "Wan 2.1 t2v-14B",
    "wan-t2i-14b": "Wan 2.1 t2i-14B",
    "hunyuan-video": "HunyuanVideo",
}
# diffusers' pipelines; that of Stable Diffusion has two generations.
PIPELINES = {
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
    "ChromaPipeline": "chroma",
    "Lumina2Pipeline": "lumina",
    "Lumina2Text2ImgPipeline": "lumina",
    "QwenImagePipeline": "qwen-image",
    "ZImagePipeline": "z-image",
    "Flux2Pipeline": "flux2-dev",
}
# Width of the text encoding that the cross attention of a U-Net takes: CLIP-L, OpenCLIP-H, both encoders of SDXL.
UNETS = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
_CROSS_ATTENTION = "attn2.to_k.weight"
# Trainers' own single files have the model below one of these.
_PREFIXES = ("model.diffusion_model.", "net.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A tensor that only one architecture has.

    Attributes:
        shape: Its first sizes; empty where the name says enough.
        without: A tensor that another architecture has beside it.
    """

    architecture: str
    name: str
    shape: tuple[int, ...] = ()
    without: str = ""

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether these tensors, by name, have the sign."""
        found = tensors.get(self.name)
        return found is not None and found.shape[: len(self.shape)] == self.shape and self.without not in tensors


# HunyuanVideo as ComfyUI names it is like FLUX.1, but for how it takes text.
_TEXT_OF_HUNYUAN = "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.weight"
_SIGNS = (
    Sign(architecture="sd3", name="joint_blocks.0.context_block.attn.qkv.weight"),
    Sign(architecture="flux", name="double_blocks.0.img_mod.lin.weight", without=_TEXT_OF_HUNYUAN),
    Sign(architecture="chroma", name="distilled_guidance_layer.in_proj.weight"),
    Sign(architecture="lumina", name="cap_embedder.1.weight", shape=(2304,)),
    Sign(architecture="z-image", name="cap_embedder.1.weight", shape=(3840, 2560)),
    Sign(architecture="anima", name="llm_adapter.blocks.0.cross_attn.q_proj.weight"),
    Sign(
        architecture="qwen-image", name="txt_in.weight", shape=(3072, 3584),
        without="time_text_embed.addition_t_embedding.weight",  # Qwen-Image-Layered
    ),
    Sign(architecture="flux2-dev", name="double_stream_modulation_img.lin.weight", shape=(6 * 6144, 6144)),
    Sign(architecture="flux2-klein-9b", name="double_stream_modulation_img.lin.weight", shape=(6 * 4096, 4096)),
    Sign(architecture="flux2-klein-4b", name="double_stream_modulation_img.lin.weight", shape=(6 * 3072, 3072)),
    Sign(architecture="krea2", name="txtfusion.projector.weight"),
    Sign(
        architecture="wan-1.3b", name="patch_embedding.weight", shape=(1536, 16), without="vace_patch_embedding.weight"
    ),
    Sign(
        architecture="hunyuan-video", name="img_in.proj.weight", shape=(3072, 16),
        without="clean_x_embedder.proj.weight",  # FramePack
    ),
)  # fmt: skip


def told_architecture(tensors: Mapping[str, Tensor]) -> str:
    """A key of ``LABELS``; empty where no sign, or more than one, says which.

    Args:
        tensors: Those of one file by their names.
    """
    named = {_without_prefix(name): tensor for name, tensor in tensors.items()}
    found = {sign.architecture for sign in _SIGNS if sign.fits(named)}
    if found:
        return found.pop() if len(found) == 1 else ""
    widths = {tensor.shape[-1] for name, tensor in named.items() if name.endswith(_CROSS_ATTENTION) and tensor.shape}
    is_unet = any(name.startswith(("input_blocks.", "down_blocks.")) for name in named)
    return UNETS.get(widths.pop(), "") if is_unet and len(widths) == 1 else ""


def _without_prefix(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name
