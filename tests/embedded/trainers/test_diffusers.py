"""Every setting of the diffusers recipe reaches its scripts in words that their parsers take."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from safetensors.numpy import save_file

from lib.embedded.trainers.diffusers import DiffusersRecipe
from lib.embedded.trainers.diffusers_settings import ARCHITECTURES, PARAMETERS
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.recipe import EndedRun, TrainingRun
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.job import ArtifactKind
from lib.jobs.resume import Start
from lib.jobs.training_settings import FOLDED, TrainingSettings
from lib.settings import TrainingRules
from tests.embedded.trainers.option_tables import installed, parser, read_table
from tests.embedded.trainers.test_recipes import READY, make_run

TABLE = read_table("diffusers")
PLAIN = TrainingSettings(
    trainer="diffusers", architecture="sdxl", base_model="owner/model", network_dim=16, network_alpha=16
)
CHANGED: Mapping[str, Any] = {
    "vae": "owner/vae",
    "max_steps": 100,
    "gradient_accumulation": 2,
    "loader_workers": 2,
    "mixed_precision": "fp16",
    "gradient_checkpointing": False,
    "optimizer": "Prodigy",
    "lr_scheduler": "cosine",
    "lr_warmup": 0.1,
    "lr_cycles": 3,
    "text_encoder_lr": 1e-5,
    "network_module": "DoRA",
    "min_snr_gamma": 5.0,
    "class_tokens": "a photo of sks cat",
    "flip_images": True,
    "save_every_epochs": 2,
    "save_every_steps": 50,
    "keep_last": 2,
}
NOWHERE = DiffusersRecipe(TrainerFolder(name="diffusers", setting="DIFFUSERS"))


def run_of(tmp_path: Path, settings: TrainingSettings, **values: object) -> TrainingRun:
    return make_run(tmp_path, settings, dataset=replace(READY, image_count=12), **values)


def command(tmp_path: Path, settings: TrainingSettings, **values: object) -> list[str]:
    """The command line, after the script's parser took it."""
    found = NOWHERE.command(run_of(tmp_path, settings, **values))
    script = ARCHITECTURES[settings.architecture].script
    parser(TABLE[script]).parse_args(found[found.index(script) + 1 :])
    return found


def test_every_folded_setting_of_the_recipe_is_tried_here() -> None:
    assert {each.name for each in FOLDED if each.name in PARAMETERS} == {*CHANGED, "architecture", "cache_latents"}


@pytest.mark.parametrize("name", CHANGED)
def test_each_setting_changes_what_the_trainer_gets(name: str, tmp_path: Path) -> None:
    assert command(tmp_path, replace(PLAIN, **{name: CHANGED[name]})) != command(tmp_path, PLAIN)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_each_architecture_has_its_script_and_options(name: str, tmp_path: Path) -> None:
    got = command(tmp_path, replace(PLAIN, architecture=name, optimizer="AdamW8bit"))
    assert {"--pretrained_model_name_or_path=owner/model", "--rank=16", "--num_train_epochs=10"} <= set(got)
    assert {"--use_8bit_adam", "--lr_warmup_steps=0", "--mixed_precision=bf16"} <= set(got)
    assert ("--lora_alpha=16" in got, "--cache_latents" in got) == (name == "flux", name != "sdxl")


def test_epochs_and_shares_are_counted_in_steps(tmp_path: Path) -> None:
    # 12 images x 2 in batches of 2: 12 steps per epoch, 120 in all.
    settings = replace(PLAIN, repeats=2, batch_size=2, save_every_epochs=3, lr_warmup=0.05, lr_scheduler="cosine")
    assert {"--checkpointing_steps=36", "--lr_warmup_steps=6"} <= set(command(tmp_path, settings))
    assert "--checkpointing_steps=18" in command(tmp_path, replace(settings, gpus=2))
    assert NOWHERE.steps(settings, replace(READY, image_count=12)) == 120
    assert "--checkpointing_steps=7" in command(tmp_path, replace(settings, save_every_steps=7))
    assert "--checkpointing_steps=1000000000" in command(tmp_path, replace(settings, save_every_epochs=0))


def test_the_dataset_is_a_folder_of_links_with_a_table_of_captions(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name, caption in {"test.png": "a кот", "val.JPG": None, "notes.md": None}.items():
        (images / name).write_bytes(name.encode())
        if caption:
            (images / name).with_suffix(".txt").write_text(caption, "utf-8")
    run = make_run(tmp_path, PLAIN, dataset_path=images)
    for _ in range(2):  # a second attempt in the same folder changes nothing
        NOWHERE.prepare(run)
        folder = run.attempt_dir / "dataset"
        lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
        assert lines == [{"file_name": "000000.png", "text": "a кот"}, {"file_name": "000001.jpg", "text": ""}]
        assert sorted(path.name for path in folder.iterdir()) == ["000000.png", "000001.jpg", "metadata.jsonl"]
        assert (folder / "000000.png").read_bytes() == b"test.png"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": ""}, "No architecture is chosen"),
        ({"base_model": ""}, "No base model is set"),
        ({"base_model": "{models}/one.safetensors"}, "is a single file, but diffusers opens folders"),
        ({"vae": "/etc/passwd"}, "The VAE or autoencoder"),
        ({"network_alpha": 8.0}, "with an alpha that is the rank. Set the alpha to 16."),
        ({"architecture": "flux", "network_alpha": 1.5}, "whole numbers as alpha"),
        ({"architecture": "flux", "min_snr_gamma": 5.0}, "Min-SNR belongs to SDXL, not to FLUX.1"),
        ({"architecture": "sd3", "vae": "owner/vae"}, "a VAE of its own for SDXL only"),
        ({"architecture": "sd3", "network_module": "DoRA"}, "trains Stable Diffusion 3 as a plain LoRA"),
        ({"lr_cycles": 2}, "Cycles belong to"),
        ({"lr_warmup": 5}, "The schedule constant has no warm-up"),
        ({"sample_prompts": ("a cat",)}, "only inside TensorBoard"),
        ({"extra": {"snr_gama": 5}}, "no option snr_gama. Did you mean snr_gamma?"),
        ({"extra": {"push_to_hub": True}}, "sends files to a server"),
        ({"extra": {"class_data_dir": "/etc"}}, "would read or fill"),
        ({"extra": {"output_dir": "/tmp"}}, "set by the dashboard"),
        ({"extra": {"lr_scheduler": "linear"}, "lr_scheduler": "cosine"}, "Remove one of them"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_queued(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").touch()
    rules = ModelFiles(rules=TrainingRules(model_dirs=(tmp_path,)))
    recipe = DiffusersRecipe(installed("diffusers", "DIFFUSERS", tmp_path), rules)
    assert recipe.problems(PLAIN, READY) == []
    given = {name: value.format(models=tmp_path) if name == "base_model" else value for name, value in changes.items()}
    problems = recipe.problems(replace(PLAIN, **given), READY)
    assert any(words in each for each in problems), problems


def test_images_without_a_caption_need_words(tmp_path: Path) -> None:
    recipe = DiffusersRecipe(installed("diffusers", "DIFFUSERS", tmp_path))
    (problem,) = recipe.problems(PLAIN, replace(READY, uncaptioned=("a.png",)))
    assert problem.startswith("1 of the dataset's images have no caption, such as a.png.")
    assert recipe.problems(replace(PLAIN, class_tokens="sks cat"), replace(READY, uncaptioned=("a.png",))) == []


def test_a_checkout_of_another_version_is_told_before_the_start(tmp_path: Path) -> None:
    folder = installed("diffusers", "DIFFUSERS", tmp_path)
    recipe = DiffusersRecipe(folder)
    script = Path(folder.at(ARCHITECTURES["sdxl"].script))
    script.write_text(script.read_text().replace('"--rank"', '"--lora_rank"'))
    (problem,) = recipe.problems(PLAIN, READY)
    assert problem.startswith("This diffusers has no option rank: it is of another version")
    script.unlink()
    assert "There is no examples/dreambooth/train_dreambooth_lora_sdxl.py" in recipe.problems(PLAIN, READY)[0]


def test_a_checkpoint_holds_the_lora_and_the_state(tmp_path: Path) -> None:
    run = make_run(tmp_path, PLAIN)
    names = ("pytorch_lora_weights.safetensors", "checkpoint-36/pytorch_lora_weights.safetensors",
             "checkpoint-36/optimizer.bin", "checkpoint-36/random_states_0.pkl")  # fmt: skip
    for name in names:
        (run.output_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run.output_dir / name).touch()
    found = {file.path: (file.kind, file.step) for file in NOWHERE.collect(run.output_dir)}
    kinds = (ArtifactKind.LORA, ArtifactKind.CHECKPOINT, ArtifactKind.STATE, ArtifactKind.STATE)
    assert found == dict(zip(names, zip(kinds, (None, 36, 36, 36), strict=True), strict=True))


def test_it_goes_on_from_a_checkpoint_of_a_former_attempt(tmp_path: Path) -> None:
    former = tmp_path / "former"
    write_checkpoint(former / "checkpoint-36")
    write_checkpoint(former / "checkpoint-40", rank=4)
    (former / "checkpoint-44").mkdir()
    (former / "checkpoint-²").mkdir()  # a digit, but no number
    ended = EndedRun(output_dir=former, settings=PLAIN, steps_per_epoch=12)
    found = {state.path: state for state in NOWHERE.states(ended)}
    assert [(found[name].step, found[name].epoch) for name in sorted(found)] == [(36, 3), (40, None), (44, None)]
    assert found["checkpoint-36"].problem == ""
    assert found["checkpoint-40"].problem == "It is of rank 4, but the job trains rank 16."
    assert "half written" in found["checkpoint-44"].problem
    (tmp_path / "images").mkdir()
    start = Start(attempt=1, path="checkpoint-36", step=36, epoch=3)
    run = run_of(tmp_path, PLAIN, start=start, start_path=former / "checkpoint-36", dataset_path=tmp_path / "images")
    NOWHERE.prepare(run)
    got = command(tmp_path, PLAIN, start=start, start_path=former / "checkpoint-36")
    assert {"--resume_from_checkpoint=.resumed-36", "--num_train_epochs=10"} <= set(got)
    assert (run.output_dir / ".resumed-36" / "optimizer.bin").is_file()
    assert NOWHERE.collect(run.output_dir) == []  # they are files of the former attempt


def write_checkpoint(folder: Path, rank: int = 16) -> None:
    """What accelerate and diffusers write; the archives as torch writes them are zip files."""
    folder.mkdir(parents=True)
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    weights = {f"{name}_A.weight": np.zeros((rank, 8), "f4"), f"{name}_B.weight": np.zeros((8, rank), "f4")}
    save_file(weights, folder / "pytorch_lora_weights.safetensors")
    for archive in ("optimizer.bin", "random_states_0.pkl"):
        with ZipFile(folder / archive, "w") as file:
            file.writestr("data.pkl", b"")
