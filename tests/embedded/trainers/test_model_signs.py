"""Architectures and precisions by the header, for trainers that must know them: shapes as the models have them."""

from dataclasses import replace
from pathlib import Path

import pytest

from lib.embedded.trainers.ai_toolkit import AiToolkitRecipe
from lib.embedded.trainers.base_model import read_base_model
from lib.embedded.trainers.diffusers import DiffusersRecipe
from lib.embedded.trainers.installed_trainer import NO_ARCHITECTURE, InstalledTrainer
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.musubi import MusubiRecipe
from lib.embedded.trainers.recipe import base_problems
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.training_settings import TrainingSettings
from lib.settings import TrainingRules
from tests.embedded.trainers.test_base_model import FLUX, SD15, SDXL, Tensors, write
from tests.embedded.trainers.test_recipes import READY, make_run

QWEN: Tensors = {"txt_in.weight": ("BF16", [3072, 3584]), "transformer_blocks.0.attn.to_q.weight": ("BF16", [8, 8])}
Z_IMAGE: Tensors = {"cap_embedder.1.weight": ("BF16", [3840, 2560]), "layers.0.attention.to_q.weight": ("BF16", [8])}
WAN: Tensors = {"patch_embedding.weight": ("BF16", [1536, 16, 1, 2, 2]), "blocks.0.self_attn.q.weight": ("BF16", [8])}
WAN_14B: Tensors = {"patch_embedding.weight": ("F16", [5120, 16, 1, 2, 2]), "blocks.0.ffn.0.weight": ("F16", [8])}
KREA: Tensors = {"txtfusion.projector.weight": ("BF16", [1, 8]), "blocks.0.attn.wq.weight": ("BF16", [8, 8])}
CHROMA: Tensors = {"distilled_guidance_layer.in_proj.weight": ("BF16", [64, 64]), "double_blocks.0.x": ("BF16", [8])}
HUNYUAN: Tensors = {"img_in.proj.weight": ("BF16", [3072, 16, 1, 2, 2]), "double_blocks.0.x": ("BF16", [8])}


def flux2(width: int) -> Tensors:
    return {"double_stream_modulation_img.lin.weight": ("BF16", [6 * width, width]), "double_blocks.0.x": ("BF16", [8])}


def in_fp8(tensors: Tensors, dtype: str = "F8_E4M3") -> Tensors:
    return {name: (dtype, shape) for name, (_, shape) in tensors.items()}


def recipe(kind: type[InstalledTrainer], models: Path) -> InstalledTrainer:
    rules = ModelFiles(rules=TrainingRules(model_dirs=(models,)))
    if kind is SdScriptsRecipe:
        return SdScriptsRecipe(None, rules)
    return kind(TrainerFolder(name=kind.name, setting="X"), rules)


def said(kind: type[InstalledTrainer], model: Path, **values: object) -> list[str]:
    """What the trainer refuses about the base model, without what is not installed and the parts that are missing."""
    settings = replace(TrainingSettings(trainer=kind.name, base_model=str(model)), **values)  # type: ignore[arg-type]
    made = recipe(kind, model.parent)
    problems = [*made.problems(settings, READY), *base_problems(made, settings)]
    expected = ("is not set up", " needs: ", "also needs: ", "is a single file")
    return [problem for problem in problems if not any(words in problem for words in expected)]


@pytest.mark.parametrize(
    ("tensors", "architecture"),
    [
        (QWEN, "qwen-image"),
        ({f"model.diffusion_model.{name}": tensor for name, tensor in QWEN.items()}, "qwen-image"),
        ({**QWEN, "time_text_embed.addition_t_embedding.weight": ("BF16", [2, 8])}, ""),
        (Z_IMAGE, "z-image"),
        (flux2(6144), "flux2-dev"),
        (flux2(4096), "flux2-klein-9b"),
        (flux2(3072), "flux2-klein-4b"),
        (flux2(2048), ""),
        (KREA, "krea2"),
        (WAN, "wan-1.3b"),
        (WAN_14B, ""),  # text to video, text to image, Wan 2.1 or 2.2: nobody can tell
        ({**WAN, "vace_patch_embedding.weight": ("BF16", [8])}, ""),
        (HUNYUAN, "hunyuan-video"),
        ({**HUNYUAN, "clean_x_embedder.proj.weight": ("BF16", [8])}, ""),
        # As ComfyUI names HunyuanVideo: much like FLUX.1.
        ({**FLUX, "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.weight": ("BF16", [8])}, ""),
        (CHROMA, "chroma"),
    ],
)
def test_the_header_of_a_single_file_tells_the_architecture(
    tmp_path: Path, tensors: Tensors, architecture: str
) -> None:
    assert read_base_model(write(tmp_path / "model.safetensors", tensors)).architecture == architecture


def test_an_architecture_that_is_not_said_is_taken_from_the_header(tmp_path: Path) -> None:
    model = write(tmp_path / "dit.safetensors", Z_IMAGE)
    settings = TrainingSettings(trainer="musubi-tuner", base_model=str(model))
    run = make_run(tmp_path, settings)
    musubi, toolkit = recipe(MusubiRecipe, tmp_path), recipe(AiToolkitRecipe, tmp_path)
    assert "src/musubi_tuner/zimage_train_network.py" in musubi.command(run)
    assert "src/musubi_tuner/zimage_cache_latents.py" in musubi.commands_before(run)[0]
    assert said(MusubiRecipe, model) == []
    assert isinstance(toolkit, AiToolkitRecipe)
    assert toolkit.config(run)["config"]["process"][0]["model"]["arch"] == "zimage"

    folder = tmp_path / "sd3"
    folder.mkdir()
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    settings = TrainingSettings(trainer="diffusers", base_model=str(folder), network_alpha=16)
    script = recipe(DiffusersRecipe, tmp_path).command(make_run(tmp_path, settings))
    assert "examples/dreambooth/train_dreambooth_lora_sd3.py" in script
    assert said(DiffusersRecipe, folder, network_alpha=16) == []


@pytest.mark.parametrize("kind", [MusubiRecipe, AiToolkitRecipe, DiffusersRecipe])
def test_what_the_header_does_not_tell_is_asked(tmp_path: Path, kind: type[InstalledTrainer]) -> None:
    model = write(tmp_path / "sdxl-flux.safetensors", {"new_blocks.0.weight": ("BF16", [8, 8])})
    assert said(kind, model) == [NO_ARCHITECTURE]


@pytest.mark.parametrize(
    ("kind", "tensors", "words"),
    [
        (SdScriptsRecipe, Z_IMAGE, "is Z-Image by its header, which sd-scripts does not train"),
        (MusubiRecipe, SD15, "is Stable Diffusion 1.5 by its header, which musubi-tuner does not train"),
        (AiToolkitRecipe, KREA, "is Krea 2 by its header, which ai-toolkit does not train"),
    ],
)
def test_a_model_that_the_trainer_does_not_train_is_refused(
    tmp_path: Path, kind: type[InstalledTrainer], tensors: Tensors, words: str
) -> None:
    assert words in " ".join(said(kind, write(tmp_path / "m.safetensors", tensors)))


def test_an_architecture_among_the_further_options_may_contradict_the_header_too(tmp_path: Path) -> None:
    model = write(tmp_path / "m.safetensors", SD15)
    assert "the architecture in the settings is SDXL" in " ".join(
        said(SdScriptsRecipe, model, extra={"architecture": "sdxl"})
    )
    assert said(SdScriptsRecipe, model, extra={"architecture": "sd15"}) == []


def test_chroma_goes_by_the_script_of_flux_where_the_options_say_so(tmp_path: Path) -> None:
    model = write(tmp_path / "chroma.safetensors", CHROMA)
    assert said(SdScriptsRecipe, model, architecture="flux", extra={"model_type": "chroma"}) == []


@pytest.mark.parametrize(
    ("kind", "tensors", "values", "words"),
    [
        (SdScriptsRecipe, SDXL, {"fp8_base": True, "mixed_precision": "no"}, "needs the mixed precision fp16 or bf16"),
        (SdScriptsRecipe, SDXL, {"fp8_base": True}, ""),
        (SdScriptsRecipe, in_fp8(FLUX), {"fp8_base": True}, ""),
        (SdScriptsRecipe, in_fp8(FLUX, "F8_E5M2"), {"fp8_base": True}, "does not take FLUX.1 in fp8 (e5m2)"),
        (SdScriptsRecipe, in_fp8(FLUX, "F8_E5M2"), {}, ""),
        (SdScriptsRecipe, SD15, {"fp8_base": True, "architecture": "anima"}, "has no 8 bit for Anima"),
        (SdScriptsRecipe, {**in_fp8(FLUX), "a.scale_weight": ("F32", [1])}, {}, "is in scaled fp8: sd-scripts would"),
        (MusubiRecipe, Z_IMAGE, {"fp8_base": True}, ""),
        (MusubiRecipe, in_fp8(Z_IMAGE), {"fp8_base": True}, "is in fp8 already, and musubi-tuner makes its own"),
        (MusubiRecipe, in_fp8(Z_IMAGE), {}, ""),
        (MusubiRecipe, in_fp8(HUNYUAN), {"fp8_base": True}, ""),
        (MusubiRecipe, in_fp8(QWEN), {}, "does not train Qwen-Image on a base model in fp8"),
        (MusubiRecipe, in_fp8(WAN), {"fp8_base": True}, "does not train Wan 2.1 t2v-1.3B on a base model in fp8"),
        (MusubiRecipe, {**in_fp8(KREA), "a.weight_scale": ("F32", [1])}, {}, "in scaled fp8: musubi-tuner would"),
        (MusubiRecipe, WAN_14B, {"architecture": "wan-14b"}, "so Wan 2.1 t2v-14B needs the mixed precision fp16 or no"),
        (MusubiRecipe, WAN_14B, {"architecture": "wan-14b", "mixed_precision": "fp16"}, ""),
        (MusubiRecipe, WAN, {"mixed_precision": "fp16"}, "needs the mixed precision bf16 or no"),
        (AiToolkitRecipe, SD15, {"fp8_base": True}, "ai-toolkit has no 8 bit for Stable Diffusion 1.5"),
        (AiToolkitRecipe, Z_IMAGE, {"fp8_base": True}, ""),
    ],
)
def test_a_precision_that_the_trainer_does_not_take_is_refused(
    tmp_path: Path, kind: type[InstalledTrainer], tensors: Tensors, values: dict[str, object], words: str
) -> None:
    found = [
        each for each in said(kind, write(tmp_path / "m.safetensors", tensors), **values) if "by its h" not in each
    ]
    assert [words in each for each in found] == ([True] if words else []), found
