"""Base models by their headers: real names and shapes of tensors, without weights."""

import errno
import json
import os
import struct
from math import prod
from pathlib import Path

import pytest

from lib.artifacts.lora.header import DTYPE_BITS
from lib.embedded.trainers.base_model import BaseModel, read_base_model
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe
from lib.jobs.training_settings import TrainingSettings
from lib.settings import TrainingRules
from tests.embedded.trainers.test_recipes import make_run
from tests.replay_trainer import weights

Tensors = dict[str, tuple[str, list[int]]]
UNET = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
SD15: Tensors = {
    UNET: ("F16", [640, 768]),
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": ("F16", [768]),
    "first_stage_model.encoder.conv_in.weight": ("F32", [4, 3, 3, 3]),
}
SDXL: Tensors = {UNET: ("BF16", [640, 2048]), "conditioner.embedders.1.model.text_projection": ("F16", [8, 8])}
FLUX: Tensors = {"double_blocks.0.img_mod.lin.weight": ("F8_E4M3", [64, 32]), "img_in.bias": ("BF16", [32])}


def write(path: Path, tensors: Tensors) -> Path:
    header, position = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = prod(shape) * DTYPE_BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(position))
    return path


@pytest.mark.parametrize(
    ("tensors", "architecture", "dtype"),
    [
        (SD15, "sd15", "fp16"),
        ({UNET: ("F32", [320, 1024])}, "sd2", "fp32"),
        (SDXL, "sdxl", "bf16"),
        ({"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": ("F16", [64, 2048])}, "sdxl", "fp16"),
        (FLUX, "flux", "fp8 (e4m3)"),
        ({f"model.diffusion_model.{name}": each for name, each in FLUX.items()}, "flux", "fp8 (e4m3)"),
        ({"joint_blocks.0.context_block.attn.qkv.weight": ("F16", [8, 8])}, "sd3", "fp16"),
        ({"cap_embedder.1.weight": ("BF16", [2304, 8]), "layers.0.x": ("BF16", [8])}, "lumina", "bf16"),
        # Some other child of Lumina, a part of Chroma, and what nobody knows yet.
        ({"cap_embedder.1.weight": ("BF16", [3840, 8]), "layers.0.x": ("BF16", [8])}, "", "bf16"),
        ({"double_blocks.0.img_attn.qkv.weight": ("BF16", [8, 8])}, "", "bf16"),
        ({"new_blocks.0.weight": ("I8", [8, 8])}, "", ""),
    ],
)
def test_a_model_is_told_by_its_header_and_not_by_its_name(
    tmp_path: Path, tensors: Tensors, architecture: str, dtype: str
) -> None:
    found = read_base_model(write(tmp_path / "flux-sdxl-v1.safetensors", tensors))
    assert found == BaseModel(architecture=architecture, dtype=dtype)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            {"encoder.conv_in.weight": ("F32", [4, 3]), "decoder.conv_in.weight": ("F32", [4, 3])},
            "is a VAE, not a full",
        ),
        ({"text_model.final_layer_norm.weight": ("F16", [8])}, "is a text encoder, not a full model"),
        ({"model.embed_tokens.weight": ("BF16", [8, 8])}, "is a text encoder, not a full model"),
        ({"emb_params": ("F32", [8, 8])}, "is an embedding"),
    ],
)
def test_what_is_no_model_is_refused_in_plain_words(tmp_path: Path, tensors: Tensors, words: str) -> None:
    assert words in read_base_model(write(tmp_path / "sd15.safetensors", tensors)).problem


def test_a_lora_a_broken_file_and_a_folder_without_a_model_are_none(tmp_path: Path) -> None:
    lora = tmp_path / "lora.safetensors"
    lora.write_bytes(weights("fox", 1.0))
    assert read_base_model(lora).problem == (
        f'The base model {lora} is a LoRA, not a full model. A LoRA to go on from belongs into "LoRA to start from".'
    )
    whole = write(tmp_path / "whole.safetensors", SD15).read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "was not written completely" in read_base_model(tmp_path / "half.safetensors").problem
    (tmp_path / "half.safetensors").write_bytes(whole)
    assert read_base_model(tmp_path / "half.safetensors").architecture == "sd15", "it is read again when it changed"
    assert "a folder without model_index.json" in read_base_model(tmp_path).problem


def test_a_folder_of_diffusers_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    assert read_base_model(tmp_path) == BaseModel(architecture="sdxl")
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert read_base_model(tmp_path) == BaseModel()
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text('{"cross_attention_dim": 1024}')
    assert read_base_model(tmp_path) == BaseModel(architecture="sd2")


def test_sd_scripts_trains_what_the_header_says_and_a_contradiction_is_named(tmp_path: Path) -> None:
    model = write(tmp_path / "v1-5.safetensors", SDXL)
    recipe = SdScriptsRecipe(Path("/opt/sd"), ModelFiles(rules=TrainingRules(model_dirs=(tmp_path,))))
    settings = TrainingSettings(trainer="sd-scripts", base_model=str(model))
    assert "/opt/sd/sdxl_train_network.py" in recipe.command(make_run(tmp_path, settings))
    base = recipe.base_model(settings)
    assert base is not None
    assert (base.text, base.contradiction(""), base.contradiction("sdxl"), base.contradiction("wan")) == (
        *("SDXL, bf16", "", "", ""),
    )
    assert "is SDXL by its header, but the architecture in the settings is FLUX.1" in base.contradiction("flux")
    elsewhere = SdScriptsRecipe(Path("/opt/sd"), ModelFiles())
    assert elsewhere.base_model(settings) is None, "nothing is told of files that may not be opened"
    assert "/opt/sd/train_network.py" in elsewhere.command(make_run(tmp_path, settings))


def test_a_model_that_could_not_be_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.safetensors", SDXL)

    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", fails)
        assert "Input/output error" in read_base_model(path).problem
    assert read_base_model(path).architecture == "sdxl"
