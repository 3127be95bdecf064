"""Every setting that the sd-scripts recipe says it uses reaches the trainer in words that its parser takes."""

import sys
import tomllib
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib.embedded.trainers.parser_source import Kind, read_options
from lib.embedded.trainers.recipe import unused_problems
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe, architecture
from lib.embedded.trainers.sd_scripts_options import known_options
from lib.embedded.trainers.sd_scripts_settings import ARCHITECTURES, PARAMETERS
from lib.embedded.trainers.tiny import TinyRecipe
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import FOLDED, TrainingSettings, set_names, total_steps
from tests.embedded.trainers.test_recipes import READY, make_run

RECIPE = SdScriptsRecipe(None)
PLAIN = TrainingSettings(trainer="sd-scripts", base_model="owner/model")
PARTS = ("clip_l", "clip_g", "t5xxl", "text_encoder")  # of other architectures
CHANGED: Mapping[str, Any] = {
    **dict.fromkeys((*PARTS, "vae", "network_weights"), "owner/part"),
    "max_steps": 100,
    "resolution_height": 768,
    "gradient_accumulation": 2,
    "loader_workers": 2,
    "mixed_precision": "no",
    "save_precision": "bf16",
    "fp8_base": True,
    "gradient_checkpointing": False,
    "cache_latents": "disk",
    "cache_text_encoder": "disk",
    "optimizer": "Prodigy",
    "optimizer_args": ("weight_decay=0.01", "d_coef=2"),
    "lr_scheduler": "cosine_with_restarts",
    "lr_warmup": 0.1,
    "lr_cycles": 3,
    "unet_lr": 2e-4,
    "text_encoder_lr": 1e-5,
    "train_only": "U-Net",
    "network_module": "LoKr",
    "network_args": ("factor=8",),
    "min_snr_gamma": 5.0,
    "noise_offset": 0.03,
    "multires_iterations": 6,
    "multires_discount": 0.3,
    "scale_weight_norms": 1.0,
    "v_parameterization": True,
    "buckets": False,
    "bucket_min": 256,
    "bucket_max": 1536,
    "bucket_step": 32,
    "bucket_no_upscale": True,
    "caption_extension": ".caption",
    "shuffle_caption": True,
    "keep_tokens": 1,
    "caption_dropout": 0.1,
    "caption_prefix": "a painting, ",
    "class_tokens": "sks cat",
    "flip_images": True,
    "clip_skip": 2,
    "max_token_length": "225",
    "save_every_epochs": 2,
    "save_every_steps": 50,
    "keep_last": 2,
    "save_state": False,
    "sample_every_epochs": 3,
    "sample_every_steps": 50,
    "sampler": "ddim",
    "sample_steps": 20,
    "sample_guidance": 7.5,
    "negative_prompt": "blurry",
}


class Refused(Exception):
    """The parser would have ended the trainer."""


class Parser(ArgumentParser):
    def error(self, message: str) -> Any:
        raise Refused(message)


def parser(script: str) -> ArgumentParser:
    """The parser of a script, without abbreviations."""
    made = Parser(allow_abbrev=False)
    for name, option in known_options(None, script).items():
        kind = {Kind.INTEGER: int, Kind.NUMBER: float}.get(option.kind, str)
        if option.kind is Kind.SWITCH:
            made.add_argument(f"--{name}", action="store_true")
        else:
            choices = [kind(each) for each in option.choices] or None
            made.add_argument(f"--{name}", type=kind, nargs="*" if option.is_list else None, choices=choices)
    return made


def started(tmp_path: Path, settings: TrainingSettings) -> tuple[str, ...]:
    """All that the trainer gets: arguments of the script, the file of the dataset, and the prompts."""
    run = make_run(tmp_path, settings)
    RECIPE.prepare(run)
    command = RECIPE.command(run)
    script = command.index(ARCHITECTURES[architecture(settings)].script)
    parser(command[script]).parse_args(command[script + 1 :])
    files = sorted(path for path in run.attempt_dir.rglob("*") if path.is_file())
    return (*command, *(file.read_text("utf-8") for file in files))


def test_every_folded_setting_of_the_recipe_is_tried_here() -> None:
    used = {each.name for each in FOLDED if each.name in PARAMETERS}
    assert used == {*CHANGED, "architecture"}


@pytest.mark.parametrize("name", [each for each in CHANGED if each not in PARTS])
def test_each_setting_changes_what_the_trainer_gets(name: str, tmp_path: Path) -> None:
    usual = replace(PLAIN, sample_prompts=("a cat",))
    changed = replace(usual, **{name: CHANGED[name]})
    assert started(tmp_path / "usual", usual)[0] == "accelerate"
    before = [part.replace("usual", "x") for part in started(tmp_path / "usual", usual)]
    assert [part.replace("changed", "x") for part in started(tmp_path / "changed", changed)] != before


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_each_architecture_gets_its_script_network_and_parts(name: str, tmp_path: Path) -> None:
    kind = ARCHITECTURES[name]
    parts = dict.fromkeys(kind.parts, "owner/part")
    settings = replace(PLAIN, architecture=name, **parts)  # type: ignore[arg-type]
    assert [each for each in RECIPE.problems(settings, READY) if "not set up" not in each] == []
    got = started(tmp_path, settings)
    assert {kind.script, f"--network_module={kind.network}", *kind.flags} <= set(got)
    assert {f"--{option}=owner/part" for option in kind.parts.values()} <= set(got)
    bare = RECIPE.problems(replace(PLAIN, architecture=name), READY)
    assert any(f"{kind.label} also needs" in each for each in bare) == bool(kind.needed)


def test_what_is_off_leaves_no_trace(tmp_path: Path) -> None:
    off = replace(PLAIN, gradient_checkpointing=False, cache_latents="no", save_state=False, save_every_epochs=0)
    got = " ".join(started(tmp_path, off))
    for word in (
        "gradient_checkpointing",
        "cache_latents",
        "save_state",
        "save_every",
        "False",
        "None",
        "sample_ev",
    ):
        assert word not in got


def test_the_file_of_the_dataset(tmp_path: Path) -> None:
    wide = replace(PLAIN, resolution=1024, resolution_height=768, bucket_min=320, shuffle_caption=True, keep_tokens=2)
    run = make_run(tmp_path, wide)
    RECIPE.prepare(run)
    content = tomllib.loads((run.attempt_dir / "dataset.toml").read_text("utf-8"))
    assert content["datasets"][0]["resolution"] == [1024, 768]
    expected = {"caption_extension": ".txt", "enable_bucket": True, "min_bucket_reso": 320}
    assert content["general"] == {**expected, "shuffle_caption": True, "keep_tokens": 2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text_encoder_lr": 1e-5, "train_only": "U-Net"}, "has no effect while only the U-Net is trained"),
        ({"unet_lr": 1e-5, "train_only": "text encoder"}, "has no effect while only the text encoder"),
        ({"lr_cycles": 3}, "Cycles belong to the schedule"),
        ({"lr_warmup": 0.1}, "The schedule constant has no warm-up. Choose constant_with_warmup"),
        ({"lr_warmup": 10, "lr_scheduler": "cosine", "optimizer": "Adafactor"}, "Adafactor has a schedule of its own"),
        ({"lr_scheduler": "adafactor"}, "The schedule adafactor belongs to the optimizer Adafactor"),
        ({"multires_discount": 0.3}, "no effect without iterations"),
        ({"bucket_min": 320, "buckets": False}, "no effect while buckets are off"),
        ({"bucket_step": 32}, "Stable Diffusion 1.5 needs a bucket step that is divisible by 64. Correct it."),
        ({"bucket_step": 16, "architecture": "sdxl"}, "SDXL needs a bucket step that is divisible by 32."),
        ({"max_token_length": "225", "architecture": "sd3"}, "Stable Diffusion 3 has one length of captions."),
        (
            {"lr_warmup": 0.1, "extra": {"lr_scheduler_type": "LinearLR"}},
            "further option lr_scheduler_type has no warm",
        ),
        ({"bucket_step": 320}, "The bucket step is larger than the smallest bucket side (256). Lower it."),
        ({"bucket_step": 1024, "bucket_no_upscale": True}, "The bucket step is larger than the resolution."),
        ({"resolution": 128}, "The resolution is smaller than the smallest bucket side (256). Change that side"),
        ({"resolution": 1280}, "The resolution is larger than the largest bucket side (1024)."),
        ({"cache_text_encoder": "disk", "architecture": "sdxl"}, "while the U-Net alone is trained"),
        (
            {"cache_text_encoder": "disk", "architecture": "sdxl", "train_only": "U-Net", "shuffle_caption": True},
            "no shuffling and no dropout",
        ),
        ({"cache_text_encoder": "memory", "train_only": "U-Net"}, "no text encoder outputs to cache"),
        ({"t5xxl": "owner/part"}, "Stable Diffusion 1.5 has no T5-XXL text encoder. Empty the field."),
        ({"network_weights": "/etc/passwd"}, "The LoRA to start from"),
        ({"vae": "/etc/passwd"}, "The VAE or autoencoder"),
        ({"network_args": ("preset=/etc/passwd",)}, "network_args"),
        ({"optimizer_args": ("--config_file=/tmp/x",)}, "is not a plain value"),
        ({"caption_extension": "/../x"}, "caption extension must be"),
        ({"negative_prompt": "x --cn /etc/passwd", "sample_prompts": ("a cat",)}, "--cn is not passed on"),
        ({"optimizer": "Lion", "extra": {"optimizer_type": "Prodigy"}}, "Remove one of them"),
    ],
)
def test_what_the_trainer_would_ignore_or_must_not_get_is_refused(changes: dict[str, Any], words: str) -> None:
    problems = RECIPE.problems(replace(PLAIN, **changes), READY)
    assert any(words in each for each in problems), problems


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_warmup": 0.1, "lr_scheduler": "cosine"},
        {"lr_warmup": 0.1, "extra": {"lr_scheduler": "cosine"}},
        {
            "lr_warmup": 10,
            "lr_scheduler": "cosine",
            "optimizer": "Adafactor",
            "optimizer_args": ("relative_step=False",),
        },
        {"lr_scheduler": "adafactor", "optimizer": "Adafactor"},
        {"bucket_step": 32, "architecture": "sdxl"},
        {"bucket_step": 32, "buckets": True, "architecture": "sd3"},
        # T5's outputs are cached, and CLIP is trained.
        {"cache_text_encoder": "disk", "architecture": "sd3"},
    ],
)
def test_what_fits_is_not_refused(changes: dict[str, Any]) -> None:
    problems = RECIPE.problems(replace(PLAIN, **changes), READY)
    assert [each for each in problems if "not set up" not in each] == []


def test_a_trainer_refuses_settings_that_it_does_not_use() -> None:
    settings = TrainingSettings(optimizer="Lion", clip_skip=2, stop_on_nan=5)
    assert unused_problems(TinyRecipe(), settings) == [
        "tiny does not use: Optimizer, Clip skip. Set it back, or choose another trainer."
    ]
    assert unused_problems(RECIPE, replace(settings, gpus=2)) == []
    (problem,) = unused_problems(RECIPE, replace(PLAIN, optimizer="os.system"))
    assert problem.startswith("Optimizer must be one of: AdamW,")
    assert set_names(PLAIN) == ()


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({}, 6),
        ({"gradient_accumulation": 2}, 4),
        ({"gpus": 2}, 4),
        ({"buckets": False}, 4),
        ({"buckets": False, "gpus": 2}, 2),
        ({"max_steps": 50}, 50),
        ({"repeats": 4}, 12),
    ],
)
def test_steps_are_counted_as_sd_scripts_counts_them(values: dict[str, Any], steps: int) -> None:
    # Recorded in sd-aspects-batch4: 6 steps, where 6 images in batches of 4 would be 4.
    dataset = Dataset(id="d", name="D", image_count=6, sizes={(512, 512): 4, (640, 256): 1, (256, 640): 1})
    settings = replace(TrainingSettings(batch_size=4, epochs=2, resolution=128, bucket_min=64), **values)
    assert SdScriptsRecipe(None).steps(settings, dataset) == steps
    assert TinyRecipe().steps(settings, dataset) == total_steps(6, settings)


def test_an_editors_lock_beside_the_sources_hides_no_option(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("def setup_parser():\n    parser.add_argument('--seed', type=int)\n")
    (tmp_path / ".#train.py").symlink_to("ann@host.123")
    assert list(read_options(tmp_path, "train.py") or ()) == ["seed"]


def test_a_checkout_of_another_version_is_told_before_the_start(tmp_path: Path) -> None:
    def told(*without: str) -> list[str]:
        names = known_options(None, "train_network.py").keys() - set(without)
        lines = [f"    parser.add_argument('--{name}')" for name in sorted(names)]
        (tmp_path / "train_network.py").write_text("\n".join(["def setup_parser():", *lines]))
        recipe = SdScriptsRecipe(tmp_path, python=Path(sys.executable))
        return [each for each in recipe.problems(PLAIN, READY) if "another version" in each]

    assert told() == told("clip_skip") == []
    (problem,) = told("save_precision")
    assert problem.startswith("This sd-scripts has no option save_precision: it is of another version")
