"""Names, ranks, alphas and scales of every writer's files, made here at their smallest."""

import json
import time

import numpy as np
import pytest

from lib.artifacts.lora.adapter_config import AdapterConfig, Patterns
from lib.artifacts.lora.file import LoraFile
from lib.artifacts.lora.keys import part_of, place_of
from lib.artifacts.lora.kinds import FileKind
from lib.artifacts.lora.modules import Module
from lib.artifacts.lora.remarks import remarks_on
from tests.artifacts.lora.files import pair, read


@pytest.mark.parametrize(
    ("name", "module", "part"),
    [
        ("lora_unet_a.lora_down.weight", "lora_unet_a", "down"),
        ("unet.a.to_q.lora.down.weight", "unet.a.to_q", "down"),
        ("unet.a.processor.to_q_lora.up.weight", "unet.a.processor.to_q", "up"),
        ("double_blocks.0.processor.qkv_lora1.up.weight", "double_blocks.0.processor.qkv1", "up"),
        ("te.q_proj.lora_linear_layer.up.weight", "te.q_proj", "up"),
        ("a.b.lora_A.default.weight", "a.b", "down"),
        ("a.b.lora_B.default", "a.b", "up"),
        ("a.b.lora_A", "a.b", "down"),
        ("a.b.lora_A.style.weight", "a.b", "down"),
        ("a.b.lora_magnitude_vector.style", "a.b", "magnitude"),
        ("model.embed_tokens.lora_embedding_B", "model.embed_tokens", "up"),
        ("a.lora_magnitude_vector.default.weight", "a", "magnitude"),
        ("a.oft_R.weight", "a", "oft_R"),
    ],
)
def test_a_tensors_name_tells_module_and_part(name: str, module: str, part: str) -> None:
    assert part_of(name) == (module, part)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        ".alpha",
        "lllite_unet_a.down.0.weight",
        "model.layers.0.q_proj.weight",
        "a.down.weight",
        "weight",
        "lora_A",
        "a.lora_B.bias",
    ],
)
def test_other_names_are_no_part(name: str) -> None:
    assert part_of(name) is None


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", ("unet", "input_blocks.4")),
        ("lora_unet_middle_block_1_transformer_blocks_3_attn2_to_k", ("unet", "middle_block")),
        ("lora_unet_mid_block_attentions_0_proj_in", ("unet", "mid_block")),
        ("lora_te2_text_model_encoder_layers_31_mlp_fc1", ("text_encoder_2", "layers.31")),
        ("lora_te3_encoder_block_5_layer_0_SelfAttention_q", ("text_encoder_3", "block.5")),
        ("text_encoders.clip_g.transformer.text_model.encoder.layers.3.mlp.fc1", ("text_encoder_2", "layers.3")),
        ("transformer.single_transformer_blocks.12.attn.to_q", ("transformer", "single_transformer_blocks.12")),
        ("diffusion_model.joint_blocks.7.x_block.attn.qkv", ("transformer", "joint_blocks.7")),
        ("lora_transformer_double_blocks_0_img_attn_qkv", ("transformer", "double_blocks.0")),
        ("base_model.model.model.layers.2.self_attn.q_proj", ("llm", "layers.2")),
        ("base_model.model.transformer.h.4.attn.c_attn", ("llm", "h.4")),
        ("base_model.model.transformer_blocks.4.attn.to_q", ("transformer", "transformer_blocks.4")),
        ("base_model.model.down_blocks.1.attentions.0.proj_in", ("unet", "down_blocks.1")),
    ],
)
def test_a_modules_name_tells_its_place(module: str, place: tuple[str, str]) -> None:
    assert place_of(module) == place


def only(lora: LoraFile) -> Module:
    (module,) = lora.modules.values()
    return module


def scaled(alpha: float | None, dtype: type[np.generic] = np.float32, rank: int = 4) -> Module:
    alphas = {} if alpha is None else {"m.alpha": np.array(alpha, dtype)}
    return only(read({**pair("m", rank), **alphas}))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.int32, np.uint8])
def test_alpha_may_have_any_dtype(dtype: type[np.generic]) -> None:
    assert (scaled(2, dtype).alpha, scaled(2, dtype).scale) == (2.0, 0.5)


def test_an_alpha_of_one_value_in_a_list_counts_and_one_of_two_does_not() -> None:
    assert only(read({**pair("m"), "m.alpha": np.array([2.0])})).scale == 0.5
    assert only(read({**pair("m"), "m.alpha": np.array([2.0, 3.0])})).scale is None


def test_the_metadatas_alpha_never_stands_in_for_one_that_is_not_there() -> None:
    lora = read(pair("m"), {"ss_network_alpha": "1", "ss_network_dim": "4"})
    assert (only(lora).alpha, only(lora).scale) == (None, 1.0)
    assert "ss_network_alpha says 1, but loaders do not read it" in " ".join(remarks_on(lora))


def test_a_split_qkv_keeps_the_scale_that_loaders_use() -> None:
    lora = read({**pair("lora_unet_double_blocks_0_img_attn_qkv", 12), "lora_unet_double_blocks_0_img_attn_qkv.alpha":
                 np.array(4.0)}, {"ss_network_dim": "4", "ss_network_alpha": "4.0"})  # fmt: skip
    assert (only(lora).rank, only(lora).scale) == (12, 4 / 12)
    assert remarks_on(lora) == ["ss_network_dim says rank 4; the tensors of 1 module say 12. The tensors count."]


def test_a_full_lokr_whose_alpha_is_not_the_rank_is_not_certain() -> None:
    tensors = {"m.lokr_w1": np.ones((2, 2)), "m.lokr_w2": np.ones((3, 3)), "m.alpha": np.array(1.0)}
    lora = read(tensors, {"ss_network_dim": "32"})
    assert (only(lora).scale, only(lora).rank) == (1.0, None)
    assert remarks_on(lora)[0].startswith("The scale of 1 module is not certain")
    assert remarks_on(read(tensors, {"ss_network_dim": "1"})) == []


def test_patterns_are_peft_s_own() -> None:
    patterns = Patterns({"layers\\.3\\.q_proj": 2, "q_proj": 8, "(k|v)_proj": 16, "bad": "x"})
    names = ("model.layers.3.q_proj", "model.layers.13.q_proj", "q_proj", "model.layers.0.v_proj", "eq_proj", "bad")
    assert [patterns.find(name) for name in names] == [2, 8, 8, 16, None, None]


def test_a_hostile_pattern_takes_no_time() -> None:
    patterns = Patterns({"(a+)+$": 1, "(a|a)*b": 1, ".*.*.*.*x": 1, "(": 1, "[a-z]*[a-z]*!": 2})
    start = time.process_time()
    assert [patterns.find(f"{'a' * 150}.{place}") for place in range(3000)] == [None] * 3000
    assert time.process_time() - start < 5


def test_diffusers_components_have_their_own_settings() -> None:
    unet, encoder = {"r": 4, "lora_alpha": 8}, {"r": 4, "lora_alpha": 4, "use_rslora": True}
    said = {f"unet.{key}": value for key, value in unet.items()} | {
        f"text_encoder.{key}": value for key, value in encoder.items()
    }
    modules = {**pair("unet.mid_block.to_q"), **pair("text_encoder.layers.0.q")}
    lora = read(modules, {"lora_adapter_metadata": json.dumps(said)})
    assert [module.scale for module in lora.modules.values()] == [2.0, 2.0]
    assert lora.writer == "diffusers"


@pytest.mark.parametrize(
    ("modules", "metadata", "config", "writer"),
    [
        ("lora_unet_a", {"ss_network_module": "networks.lora"}, None, "kohya sd-scripts"),
        ("lora_unet_a", {"ss_network_module": "lycoris.kohya"}, None, "LyCORIS"),
        ("diffusion_model.blocks.0.q", {"ss_network_module": "networks.lora_wan"}, None, "musubi-tuner"),
        ("lora_unet_a", {"ss_num_train_items": "4"}, None, "musubi-tuner"),
        ("lora_transformer_a", {}, None, "OneTrainer"),
        ("transformer.a", {"ot_branch": "master"}, None, "OneTrainer"),
        ("transformer.a", {"software": '{"name": "ai-toolkit"}'}, None, "ai-toolkit"),
        ("transformer.a", {"lora_adapter_metadata": "{}", "trained_words": "a"}, None, "SimpleTuner"),
        ("transformer.a", {}, None, "diffusers"),
        ("diffusion_model.a", {}, {"r": 4}, "diffusion-pipe"),
        ("base_model.model.a", {}, {"r": 4}, "peft"),
        ("base_model.model.a", {}, None, "peft without its config"),
        ("diffusion_model.a", {}, None, "unknown (names as ComfyUI reads them)"),
    ],
)
def test_who_wrote_it(modules: str, metadata: dict[str, str], config: dict[str, int] | None, writer: str) -> None:
    beside = AdapterConfig.from_payload(config, "adapter_config.json") if config else None
    assert read(pair(modules), metadata, beside).writer == writer


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ("model.diffusion_model.a.weight first_stage_model.b.weight", FileKind.CHECKPOINT),
        ("double_blocks.0.img_attn.qkv.weight", FileKind.CHECKPOINT),
        ("model.layers.0.self_attn.q_proj.weight lm_head.weight", FileKind.CHECKPOINT),
        ("decoder.up.0.block.0.conv1.weight encoder.down.0.weight", FileKind.VAE),
        ("text_model.encoder.layers.0.mlp.fc1.weight", FileKind.TEXT_ENCODER),
        ("clip_l clip_g", FileKind.EMBEDDING),
        ("bundle_emb.<aria>.clip_l", FileKind.EMBEDDING),
        ("latents_21x60x104_bfloat16", FileKind.CACHE),
        ("varlen_t5_bfloat16", FileKind.CACHE),
        ("lllite_unet_a.down.0.weight lllite_unet_a.up.0.weight", FileKind.CONTROLNET),
        ("a.alpha b.lora_magnitude_vector c.diff_b", FileKind.OTHER),
    ],
)
def test_what_is_no_lora(names: str, kind: FileKind) -> None:
    lora = read({name: np.zeros((2, 2), np.float32) for name in names.split()})
    assert (lora.kind, lora.is_lora, dict(lora.modules)) == (kind, False, {})


@pytest.mark.parametrize("name", ["sampler_girl", "optimizer.vae.encoder", "model.diffusion_model.x"])
def test_a_lora_is_one_whatever_its_modules_are_called(name: str) -> None:
    assert read({**pair(name), "model.lm_head.weight": np.zeros(2)}).is_lora


def test_two_types_in_one_file_are_both_named() -> None:
    others = {"b.diff": np.ones((2, 2)), "c.on_input": np.ones(()), "c.weight": np.ones(2)}
    assert read({**pair("a"), **others}).network_type == "IA3 + LoRA + full diff"
