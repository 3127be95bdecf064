"""Every setting of the ai-toolkit recipe is written under a key that ai-toolkit knows, and as it wants it."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from lib.embedded.trainers.ai_toolkit import AiToolkitRecipe
from lib.embedded.trainers.ai_toolkit_settings import ARCHITECTURES, PARAMETERS
from lib.embedded.trainers.config_source import SOURCE
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.parser_source import Kind
from lib.embedded.trainers.recipe import EndedRun
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.job import ArtifactKind
from lib.jobs.resume import Start
from lib.jobs.training_settings import FOLDED, TrainingSettings
from lib.settings import TrainingRules
from tests.embedded.trainers.option_tables import installed, read_architectures, read_keys
from tests.embedded.trainers.test_recipes import READY, make_run

KEYS = read_keys()
PLAIN = TrainingSettings(
    trainer="ai-toolkit", architecture="flux", base_model="owner/model", sample_prompts=("a cat", "a dog")
)
CHANGED: Mapping[str, Any] = {
    "vae": "owner/vae",
    "network_weights": "/m/lora.safetensors",
    "max_steps": 100,
    "gradient_accumulation": 2,
    "loader_workers": 3,
    "mixed_precision": "fp16",
    "save_precision": "bf16",
    "fp8_base": True,
    "gradient_checkpointing": False,
    "cache_latents": "disk",
    "cache_text_encoder": "disk",
    "optimizer": "prodigy",
    "optimizer_args": ("weight_decay=0.01", "betas=(0.9, 0.99)"),
    "lr_scheduler": "cosine",
    "lr_warmup": 0.1,
    "unet_lr": 2e-4,
    "text_encoder_lr": 1e-5,
    "network_module": "LoKr",
    "min_snr_gamma": 5.0,
    "noise_offset": 0.03,
    "buckets": False,
    "shuffle_caption": True,
    "keep_tokens": 1,
    "caption_dropout": 0.1,
    "class_tokens": "sks cat",
    "flip_images": True,
    "save_every_epochs": 2,
    "save_every_steps": 50,
    "keep_last": 2,
    "sample_every_epochs": 3,
    "sample_every_steps": 50,
    "sample_steps": 20,
    "sample_guidance": 4.0,
    "negative_prompt": "blurry",
}
NOWHERE = AiToolkitRecipe(TrainerFolder(name="ai-toolkit", setting="AI_TOOLKIT"))


def written(tmp_path: Path, settings: TrainingSettings, recipe: AiToolkitRecipe = NOWHERE) -> Any:
    """The process of the file: its keys are known to ai-toolkit, and have the kind that it takes."""
    run = make_run(tmp_path, settings, dataset=replace(READY, image_count=12))
    (process,) = recipe.config(run)["config"]["process"]
    for section, keys in KEYS.items():
        for key, value in (process[section][0] if section == "datasets" else process[section]).items():
            option = keys[key]
            if key in ("arch", "neg"):  # words of its extensions; a text or False
                continue
            assert option.kind is not Kind.SWITCH or isinstance(value, bool), (section, key, value)
            assert option.kind is not Kind.INTEGER or isinstance(value, int), (section, key, value)
            assert option.kind is not Kind.NUMBER or isinstance(value, int | float), (section, key, value)
            assert not option.choices or value in option.choices, (section, key, value)
    return process


def test_every_folded_setting_of_the_recipe_is_tried_here() -> None:
    assert {each.name for each in FOLDED if each.name in PARAMETERS} == {*CHANGED, "architecture"}


@pytest.mark.parametrize("name", CHANGED)
def test_each_setting_changes_what_the_trainer_gets(name: str, tmp_path: Path) -> None:
    assert written(tmp_path, replace(PLAIN, **{name: CHANGED[name]})) != written(tmp_path, PLAIN)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_each_architecture_is_named_as_ai_toolkit_names_it(name: str, tmp_path: Path) -> None:
    kind = ARCHITECTURES[name]
    assert kind.arch in read_architectures()
    process = written(tmp_path, replace(PLAIN, architecture=name))
    assert process["model"] == {"name_or_path": "owner/model", "arch": kind.arch, "quantize": False}
    flow = "flowmatch" if kind.is_flow else "ddpm"
    assert (process["train"]["noise_scheduler"], process["sample"]["sampler"]) == (flow, flow)


def test_samples_have_a_negative_prompt_that_is_a_text_and_no_card_is_named(tmp_path: Path) -> None:
    # Left out, it is False to ai-toolkit, and its tokenizer stops at the first sample; cards are chosen outside.
    process = written(tmp_path, PLAIN)
    assert process["sample"]["neg"] == ""
    assert "device" not in process


def test_epochs_are_counted_in_steps(tmp_path: Path) -> None:
    # 12 images x 2 in batches of 2: 12 steps per epoch, 120 in all.
    settings = replace(PLAIN, repeats=2, batch_size=2, save_every_epochs=3, sample_every_epochs=2, lr_warmup=0.05,
                       lr_scheduler="constant_with_warmup")  # fmt: skip
    process = written(tmp_path, settings)
    assert process["train"]["steps"] == 120
    assert process["train"]["lr_scheduler_params"] == {"num_warmup_steps": 6}
    assert (process["save"]["save_every"], process["sample"]["sample_every"]) == (36, 24)
    assert written(tmp_path, replace(settings, sample_every_epochs=0))["train"]["disable_sampling"] is True


# No value of JSON, or more than Python's parser takes: they stay texts.
ODD_ARGUMENTS = {"a": "{[]: 1}", "b": "{1}", "c": "1j", "d": "-" * 9_000 + "1", "e": "...", "f": "(" * 500, "g": ""}


def test_arguments_of_the_optimizer_become_values(tmp_path: Path) -> None:
    odd = tuple(f"{name}={text}" for name, text in ODD_ARGUMENTS.items())
    assert written(tmp_path, replace(PLAIN, optimizer_args=odd))["train"]["optimizer_params"] == ODD_ARGUMENTS
    params = written(tmp_path, replace(PLAIN, optimizer_args=CHANGED["optimizer_args"]))["train"]["optimizer_params"]
    assert params == {"weight_decay": 0.01, "betas": (0.9, 0.99)}


def test_nothing_in_the_file_looks_like_a_variable_of_the_environment(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "test.bmp").write_bytes(b"1")
    (images / "test.txt").write_text("a кот", "utf-8")
    (images / "b.png").write_bytes(b"2")
    settings = replace(PLAIN, sample_prompts=('${HOME} "кот" 🙂',))
    run = make_run(tmp_path, settings, dataset_path=images)
    NOWHERE.prepare(run)
    text = Path(NOWHERE.command(run)[-1]).read_text("ascii")
    assert "$" not in text
    content = json.loads(re.sub(r"\$\{([^}]+)\}", "REPLACED", text))  # as ai-toolkit reads it
    (process,) = content["config"]["process"]
    assert process["sample"]["samples"] == [{"prompt": '${HOME} "кот" 🙂'}]
    assert content["config"]["name"] == "sks кот ねこ v1"
    folder = Path(process["datasets"][0]["folder_path"])
    assert folder.parent == run.attempt_dir  # caches are written there, and never into the dataset
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "000000.png": b"2", "000001.png": b"1", "000001.txt": "a кот".encode()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": ""}, "No architecture is chosen"),
        ({"base_model": ""}, "No base model is set"),
        ({"vae": "/etc/passwd"}, "The VAE or autoencoder"),
        ({"network_weights": "owner/lora"}, "The LoRA to start from"),
        ({"gpus": 2}, "trains on one card"),
        ({"lr_warmup": 5}, "belongs to the schedule constant_with_warmup"),
        ({"lr_scheduler": "constant_with_warmup"}, "would take 1,000 steps"),
        ({"cache_text_encoder": "disk", "shuffle_caption": True}, "captions that stay the same"),
        ({"cache_text_encoder": "disk", "text_encoder_lr": 1e-5}, "a text encoder that is not trained"),
        ({"optimizer_args": ("weight_decay",)}, "written as name=value"),
        ({"sample_prompts": ("a cat --ctrl_img /etc/passwd",)}, "--ctrl_img is not passed on"),
        ({"negative_prompt": "x--ctrl_img /etc/passwd"}, "--ctrl_img is not passed on"),
        ({"extra": {"linear_timestep": True}}, "no option linear_timestep. Did you mean linear_timesteps?"),
        ({"extra": {"noise_offset": 0.1}}, "has a field of its own"),
        ({"extra": {"folder_path": "/etc"}}, "set by the dashboard"),
        ({"extra": {"push_to_hub": True}}, "sends files to a server"),
        ({"extra": {"control_path": "/etc"}}, "may name a file or a program"),
        ({"extra": {"low_vram": 1}}, "is a switch"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_queued(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    recipe = AiToolkitRecipe(installed("ai-toolkit", "AI_TOOLKIT", tmp_path))
    assert recipe.problems(PLAIN, READY) == []
    problems = recipe.problems(replace(PLAIN, **changes), READY)
    assert any(words in each for each in problems), problems


def test_a_further_option_is_written_where_ai_toolkit_reads_it(tmp_path: Path) -> None:
    recipe = AiToolkitRecipe(installed("ai-toolkit", "AI_TOOLKIT", tmp_path))
    extra = {"linear_timesteps": True, "low_vram": True, "bucket_tolerance": 32, "conv": 4, "format": "png"}
    settings = replace(PLAIN, extra={key: extra[key] for key in ("linear_timesteps", "low_vram", "bucket_tolerance")})
    assert recipe.problems(settings, READY) == []
    process = written(tmp_path, replace(PLAIN, extra=extra), recipe)
    assert (process["train"]["linear_timesteps"], process["model"]["low_vram"]) == (True, True)
    assert (process["datasets"][0]["bucket_tolerance"], process["network"]["conv"]) == (32, 4)
    assert process["sample"]["format"] == "png"


def test_a_checkout_of_another_version_is_told_before_the_start(tmp_path: Path) -> None:
    folder = installed("ai-toolkit", "AI_TOOLKIT", tmp_path)
    recipe = AiToolkitRecipe(folder, ModelFiles(rules=TrainingRules()))
    source = Path(folder.at(SOURCE))
    text = source.read_text()
    source.write_text(text.replace("'gradient_accumulation'", "'accumulate'"))
    assert recipe.problems(PLAIN, READY) == [
        "This ai-toolkit does not know train.gradient_accumulation: it is of another version than the dashboard knows. "
        "Update it."
    ]
    source.write_text(text.replace("class SaveConfig", "class Saving"))
    assert "cannot be read: this ai-toolkit is of another version" in recipe.problems(PLAIN, READY)[0]
    Path(folder.at("venv/bin/python")).unlink()
    assert "There is no Python environment" in recipe.problems(PLAIN, READY)[0]


def test_what_it_writes_below_a_folder_of_its_name_is_found(tmp_path: Path) -> None:
    run = make_run(tmp_path, PLAIN)
    for name in ("x_000000250.safetensors", "x.safetensors", "optimizer.pt", "samples/1700000000__000000250_1.jpg"):
        (run.output_dir / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (run.output_dir / "x" / name).touch()
    found = {file.path.removeprefix("x/"): (file.kind, file.step) for file in NOWHERE.collect(run.output_dir)}
    assert found == {
        "x_000000250.safetensors": (ArtifactKind.CHECKPOINT, 250),
        "x.safetensors": (ArtifactKind.LORA, None),
        "optimizer.pt": (ArtifactKind.STATE, None),
        "samples/1700000000__000000250_1.jpg": (ArtifactKind.SAMPLE, 250),
    }


def test_it_goes_on_from_the_newest_file_of_a_former_attempt(tmp_path: Path) -> None:
    former = tmp_path / "former" / "x"
    former.mkdir(parents=True)
    for number, step in enumerate((250, 500)):
        (former / f"x_{step:09d}.safetensors").touch()
        os.utime(former / f"x_{step:09d}.safetensors", (number, number))
    ended = EndedRun(output_dir=former.parent, settings=PLAIN, steps_per_epoch=250)
    (state,) = NOWHERE.states(ended)
    assert (state.path, state.problem) == ("x/x_000000500.safetensors", "Its optimizer.pt is missing or incomplete.")
    os.mkfifo(former / "optimizer.pt")
    assert NOWHERE.states(ended) == [state], "a pipe is not waited for"
    (former / "optimizer.pt").unlink()
    with ZipFile(former / "optimizer.pt", "w") as file:
        file.writestr("data.pkl", b"")
    (state,) = NOWHERE.states(ended)
    assert (state.step, state.epoch, state.problem) == (500, 2, "")
    os.utime(former / "optimizer.pt", (0, 0))
    (unfinished,) = NOWHERE.states(ended)
    assert unfinished.problem == "Its optimizer.pt is that of a former step: the training ended while it saved."
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    start = Start(attempt=1, path=state.path, step=500, epoch=2)
    run = make_run(tmp_path, replace(PLAIN, network_weights="/m/first.safetensors"), dataset_path=tmp_path / "images",
                   start=start, start_path=former.parent / state.path)  # fmt: skip
    NOWHERE.prepare(run)
    (run.attempt_dir / "dataset" / "000001.png").symlink_to(tmp_path / "deleted meanwhile.png")
    NOWHERE.prepare(run)
    assert [path.name for path in (run.attempt_dir / "dataset").iterdir()] == ["000000.png"]
    folder = run.output_dir / "sks кот ねこ v1"
    assert (folder / "sks кот ねこ v1_000000500.safetensors").resolve() == former / "x_000000500.safetensors"
    assert not (folder / "optimizer.pt").is_symlink()  # it will be written over
    assert "pretrained_lora_path" not in NOWHERE.config(run)["config"]["process"][0]["network"]
    assert NOWHERE.states(EndedRun(output_dir=tmp_path / "none", settings=PLAIN)) == []
