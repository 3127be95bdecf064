"""What the name of a tensor tells: the module it changes, its part in that change, the component and the block.

The names are those that kohya's sd-scripts, LyCORIS, musubi-tuner, peft, diffusers (old and new), ai-toolkit,
OneTrainer and diffusion-pipe write, and those that ComfyUI's ``comfy/lora.py`` accepts.
"""

import re
from collections.abc import Iterable

DOWN, UP, MID, ALPHA, MAGNITUDE = "down", "up", "mid", "alpha", "magnitude"

_LYCORIS = (
    "hada_w1_a hada_w1_b hada_w2_a hada_w2_b hada_t1 hada_t2 "
    "lokr_w1 lokr_w1_a lokr_w1_b lokr_w2 lokr_w2_a lokr_w2_b lokr_t1 lokr_t2 "
    "diff diff_b on_input oft_blocks oft_diag oft_R boft_R boft_s vera_lambda_b vera_lambda_d ia3_l"
).split()
# An adapter's name, "default" unless someone chose another one, may stand between a peft name and ".weight".
_PARTS = {
    **{name: name for name in _LYCORIS},
    **{f"{name}.weight": name for name in ("oft_R", "boft_R", "oft_r")},
    **{f"{name}.weight": name for name in ("a1", "a2", "b1", "b2")},
    **{f"{name}.default": name for name in ("ia3_l", "vera_lambda_b", "vera_lambda_d", "boft_R", "boft_s", "oft_r")},
    "oft_r": "oft_R",
    "alpha": ALPHA,
    "dora_scale": MAGNITUDE,
    "lora_magnitude_vector": MAGNITUDE,
    "lora_magnitude_vector.weight": MAGNITUDE,
    "lora_magnitude_vector.default": MAGNITUDE,
    "lora_magnitude_vector.default.weight": MAGNITUDE,
    "lora_mid.weight": MID,
    "lora_E": "lora_E",
    "lora_E.default": "lora_E",
}
for _low, _high in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
    for _ending in ("", ".weight", ".default", ".default.weight"):
        _PARTS[_low + _ending], _PARTS[_high + _ending] = DOWN, UP
for _start in ("lora_", "lora.", "lora_linear_layer."):
    _PARTS[f"{_start}down.weight"], _PARTS[f"{_start}up.weight"] = DOWN, UP
# "to_q_lora.down.weight" of diffusers before 0.22, "qkv_lora1.up.weight" of XLabs: the layer stands before "_lora".
_OLD_ENDINGS = {"down.weight": DOWN, "up.weight": UP}
# Endings that may be part of a longer one that is known.
_OPEN_ENDINGS = frozenset({"weight", "default", "default.weight", *_OLD_ENDINGS})
# As peft's model keeps it in memory: a file of its whole state_dict has the adapter's name, whatever it is.
_NAMED_ADAPTER = re.compile(
    r"(.+)\.(lora_(?:A|B|embedding_A|embedding_B|magnitude_vector))\.(?!bias$)[^.]+(?:\.weight)?"
)
_OLD_LAYER = re.compile(r"_lora(\d*)$")

_UNET_BLOCKS = ("down_blocks", "up_blocks", "mid_block", "input_blocks", "output_blocks", "middle_block")
_BLOCK = re.compile(
    r"(?:^|_)(?:(mid_block|middle_block)(?=_|$)|((?:single_transformer_|transformer_|double_stream_|single_stream_|double_"
    r"|single_|joint_|down_|up_|input_|output_|dual_)?blocks|layers|layer|block|noise_refiner|context_refiner|h)_(\d+))"
)
_COMPONENTS = {
    **dict.fromkeys(("lora_te3_", "text_encoder_3.", "text_encoders.t5xxl."), "text_encoder_3"),
    **dict.fromkeys(
        ("lora_te2_", "text_encoder_2.", "text_encoders.clip_g.", "conditioner.embedders.1."), "text_encoder_2"
    ),
    **dict.fromkeys(
        ("lora_te_", "lora_te1_", "text_encoder.", "text_encoders.", "conditioner.embedders.", "cond_stage_model."),
        "text_encoder",
    ),
    "unet.": "unet",
    "transformer_2.": "transformer_2",
}
_COMPONENT = re.compile("|".join(map(re.escape, _COMPONENTS)))
_FAMILIES = (
    ("FLUX", ("single_transformer_blocks", "double_blocks", "single_blocks")),
    ("SDXL", ("lora_te2_", "text_encoder_2_", "input_blocks_4_1", "input_blocks_7_1")),
    ("Stable Diffusion", ("down_blocks", "up_blocks", "mid_block", "input_blocks", "middle_block")),
    ("Qwen-Image", ("img_mlp", "txt_mlp")),
    ("Wan", ("blocks_0_cross_attn", "blocks_0_self_attn", "blocks_0_ffn", "blocks_0_attn2")),
    ("Llama-like", ("layers_0_self_attn_q_proj", "layers_0_mlp_down_proj")),
)
_PEFT = "base_model.model."


def part_of(name: str) -> tuple[str, str] | None:
    """The module a tensor belongs to and its part there, as ``("…attn1.to_q", "down")``; None if it is in none."""
    module, _, ending = name.rpartition(".")
    part = _PARTS.get(ending)
    while part is None and ending in _OPEN_ENDINGS:
        module, _, before = module.rpartition(".")
        ending = f"{before}.{ending}"
        part = _PARTS.get(ending)
        if part is None and ending in _OLD_ENDINGS and (layer := _OLD_LAYER.search(module)):
            return f"{module[: layer.start()]}{layer[1]}", _OLD_ENDINGS[ending]
    if part is None and ".lora_" in name and (named := _NAMED_ADAPTER.fullmatch(name)):
        return named[1], _PARTS[named[2]]
    return (module, part) if part is not None and module else None


def place_of(module: str) -> tuple[str, str]:
    """Component and block of a module, as ``("unet", "down_blocks.1")``.

    A name that neither says its component nor lies in a block of a U-Net is counted as the transformer's; kohya's
    prefix ``lora_unet_`` stands for both.
    """
    found = _BLOCK.search(module.replace(".", "_"))
    block = "other" if found is None else found[1] or f"{found[2]}.{found[3]}"
    if start := _COMPONENT.match(module):
        return _COMPONENTS[start[0]], block
    if block.partition(".")[0] in _UNET_BLOCKS:
        return "unet", block
    if module.startswith(_PEFT) and "blocks" not in block:
        return ("text_encoder" if "text_model" in module else "llm"), block
    return "transformer", block


def family_of(modules: Iterable[str]) -> str:
    """The kind of base model that modules of these names belong to; empty when the names do not tell."""
    joined = "\n".join(modules).replace(".", "_")
    for family, needles in _FAMILIES:
        if any(needle in joined for needle in needles):
            return family
    return ""
