"""Every setting of the musubi-tuner recipe reaches it in words that the parsers of its three scripts take."""

import json
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.musubi import MusubiRecipe, prompt_problem
from lib.embedded.trainers.musubi_settings import ARCHITECTURES, PARAMETERS
from lib.embedded.trainers.recipe import unused_problems
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.job import ArtifactKind
from lib.jobs.resume import Start
from lib.jobs.training_settings import FOLDED, TrainingSettings
from lib.settings import TrainingRules
from tests.embedded.trainers.option_tables import installed, parser, read_table
from tests.embedded.trainers.test_recipes import READY, make_run

TABLE = read_table("musubi-tuner")
PARTS = ("clip_l", "t5xxl", "text_encoder")  # each belongs to some architectures
PLAIN = TrainingSettings(
    trainer="musubi-tuner", architecture="qwen-image", base_model="/m/dit.safetensors", vae="/m/vae.safetensors",
    text_encoder="/m/text.safetensors", sample_prompts=("a cat",),
)  # fmt: skip
CHANGED: Mapping[str, Any] = {
    "vae": "/m/other.safetensors",
    "network_weights": "/m/lora.safetensors",
    "max_steps": 100,
    "resolution_height": 768,
    "gradient_accumulation": 2,
    "loader_workers": 2,
    "mixed_precision": "no",
    "save_precision": "bf16",
    "fp8_base": True,
    "gradient_checkpointing": False,
    "optimizer": "prodigyopt.Prodigy",
    "optimizer_args": ("weight_decay=0.01", "d_coef=2"),
    "lr_scheduler": "cosine_with_restarts",
    "lr_warmup": 0.1,
    "lr_cycles": 3,
    "network_module": "LoKr",
    "network_args": ("factor=8",),
    "scale_weight_norms": 1.0,
    "buckets": False,
    "bucket_no_upscale": True,
    "caption_extension": ".caption",
    "save_every_epochs": 2,
    "save_every_steps": 50,
    "keep_last": 2,
    "save_state": False,
    "sample_every_epochs": 3,
    "sample_every_steps": 50,
    "sample_steps": 20,
    "sample_guidance": 7.5,
    "negative_prompt": "blurry",
}
NOWHERE = MusubiRecipe(TrainerFolder(name="musubi-tuner", setting="MUSUBI_TUNER"))


def models(tmp_path: Path, **rules: bool) -> tuple[TrainingSettings, ModelFiles]:
    """Settings whose models are there, and the rules that allow them."""
    names = ("base_model", "vae", "text_encoder")
    paths = {name: tmp_path / f"{name}.safetensors" for name in names}
    for path in paths.values():
        path.touch()
    settings = replace(PLAIN, **{name: str(path) for name, path in paths.items()})  # type: ignore[arg-type]
    return settings, ModelFiles(rules=TrainingRules(model_dirs=(tmp_path,), **rules))


def started(tmp_path: Path, settings: TrainingSettings, recipe: MusubiRecipe = NOWHERE) -> list[str]:
    """All that the trainer gets: the arguments of the three scripts, and the files. The parsers take them."""
    run = make_run(tmp_path, settings)
    recipe.prepare(run)
    commands = [*recipe.commands_before(run), recipe.command(run)]
    for script, command in zip(ARCHITECTURES[settings.architecture].scripts, commands, strict=True):
        place = next(index for index, part in enumerate(command) if part.endswith(script))
        parser(TABLE[script]).parse_args(command[place + 1 :])
    files = sorted(path for path in run.attempt_dir.rglob("*") if path.is_file())
    return [*(part for command in commands for part in command), *(file.read_text("utf-8") for file in files)]


def test_every_folded_setting_of_the_recipe_is_tried_here() -> None:
    assert {each.name for each in FOLDED if each.name in PARAMETERS} == {*CHANGED, *PARTS, "architecture"}


@pytest.mark.parametrize("name", CHANGED)
def test_each_setting_changes_what_the_trainer_gets(name: str, tmp_path: Path) -> None:
    before = [part.replace("usual", "x") for part in started(tmp_path / "usual", PLAIN)]
    changed = started(tmp_path / "changed", replace(PLAIN, **{name: CHANGED[name]}))
    assert [part.replace("changed", "x") for part in changed] != before


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_each_architecture_is_started_with_its_scripts_and_parts(name: str, tmp_path: Path) -> None:
    kind = ARCHITECTURES[name]
    parts = {part: f"/m/{part}" for part in kind.texts}
    settings = replace(PLAIN, **{"text_encoder": "", "architecture": name, "fp8_base": True, **parts})
    got = started(tmp_path, settings)
    assert {f"--{option}=/m/{part}" for part, option in kind.texts.items()} <= set(got)
    assert [got.count(part) for part in ("--dit=/m/dit.safetensors", "--vae=/m/vae.safetensors")] == [1, 2]
    assert got.count(f"--dataset_config={tmp_path / 'attempt' / 'dataset.toml'}") == 3
    assert not any("Empty the field" in each for each in NOWHERE.problems(settings, READY))
    (missing,) = (each for each in NOWHERE.problems(replace(settings, **dict.fromkeys(parts, "")), READY)
                  if " needs: " in each)  # fmt: skip
    assert missing.startswith(f"{kind.label} needs:")


def test_the_first_run_of_a_configuration_without_changes(tmp_path: Path) -> None:
    got = started(tmp_path, PLAIN)
    training = got[got.index("src/musubi_tuner/qwen_image_train_network.py") :]
    assert {
        "--dit=/m/dit.safetensors", "--text_encoder=/m/text.safetensors", "--network_module=networks.lora_qwen_image",
        "--network_dim=16", "--network_alpha=8", "--optimizer_type=AdamW", "--max_train_epochs=10",
        "--mixed_precision=bf16", "--timestep_sampling=shift", "--save_every_n_epochs=1", "--save_state",
    } <= set(training)  # fmt: skip
    content = tomllib.loads((tmp_path / "attempt/dataset.toml").read_text("utf-8"))
    assert content["datasets"][0]["image_directory"] == str(tmp_path / 'a "folder"\\x')
    assert content["datasets"][0]["cache_directory"] == str(tmp_path / "attempt/cache")
    assert content["general"]["resolution"] == [512, 512]
    assert (tmp_path / "attempt/output/sample/prompt.txt").read_text("utf-8") == "a cat --w 512 --h 512 --d 42\n"


def test_a_further_option_goes_to_every_script_that_has_it(tmp_path: Path) -> None:
    settings, rules = models(tmp_path)
    recipe = MusubiRecipe(installed("musubi-tuner", "MUSUBI_TUNER", tmp_path), rules)
    wanted = replace(settings, extra={"fp8_vl": True, "num_workers": 2, "blocks_to_swap": 4})
    assert recipe.problems(wanted, READY) == []
    run = make_run(tmp_path, wanted)
    latents, texts = recipe.commands_before(run)
    assert "--num_workers=2" in latents
    assert {"--num_workers=2", "--fp8_vl"} <= set(texts)
    assert {"--fp8_vl", "--blocks_to_swap=4"} <= set(recipe.command(run))
    assert "--num_workers=2" not in recipe.command(run)
    assert started(tmp_path / "again", wanted, recipe)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": ""}, "No architecture is chosen"),
        ({"text_encoder": " "}, "Qwen-Image needs: Other text encoder"),
        ({"base_model": "Qwen/Qwen-Image"}, "is not the whole path of a file"),
        (
            {"base_model": "/etc/passwd"},
            "The base model /etc/passwd is not below a folder that LORA_MODEL_DIRS names. Ask "
            "whoever runs the dashboard to add its folder.",
        ),
        ({"vae": "/nothing"}, "There is nothing at /nothing that could be the VAE or autoencoder."),
        ({"t5xxl": "/m/t5"}, "Qwen-Image has no T5-XXL text encoder. Empty the field."),
        ({"lr_warmup": 10}, "The schedule constant has no warm-up"),
        ({"lr_cycles": 2}, "Cycles belong to the schedule"),
        ({"buckets": False, "bucket_no_upscale": True}, "buckets, which are off"),
        ({"architecture": "krea2", "network_module": "LoHa"}, "Krea 2 is not trained with LoHa"),
        ({"extra": {"blocks_to_swop": 4}}, "no option blocks_to_swop. Did you mean blocks_to_swap?"),
        ({"extra": {"dit": "/x"}}, "dit is set by the dashboard"),
        ({"extra": {"compile_backend": "os.system"}}, "names a program to run"),
        ({"extra": {"blocks_to_swap": "4"}}, "must be a whole number"),
        ({"extra": {"dit_high_noise": "/etc/passwd"}, "architecture": "wan-14b"}, "The option dit_high_noise"),
        ({"optimizer_args": ("--x=1",)}, "is not a plain value"),
        ({"optimizer": "Adafactor", "lr_scheduler": "cosine", "extra": {"lr_scheduler": "rex"}}, "Remove one of them"),
        ({"sample_prompts": ("I like cats",)}, "cannot begin with 'I' and a space"),
        ({"sample_prompts": ("a cat --ci /etc/passwd",)}, "--ci is not passed on"),
        ({"negative_prompt": "x --ei /etc/passwd"}, "--ei is not passed on"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_queued(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    settings, rules = models(tmp_path)
    recipe = MusubiRecipe(installed("musubi-tuner", "MUSUBI_TUNER", tmp_path), rules)
    assert recipe.problems(settings, READY) == []
    problems = recipe.problems(replace(settings, **changes), READY)
    assert any(words in each for each in problems), problems


def test_images_without_a_caption_would_be_left_out(tmp_path: Path) -> None:
    settings, rules = models(tmp_path)
    recipe = MusubiRecipe(installed("musubi-tuner", "MUSUBI_TUNER", tmp_path), rules)
    (problem,) = recipe.problems(settings, replace(READY, uncaptioned=("a.png",)))
    assert problem.startswith("1 of the dataset's images have no caption: a.png.")


def test_batches_are_cut_from_each_bucket() -> None:
    settings = replace(PLAIN, batch_size=4, epochs=2)
    dataset = replace(READY, image_count=6, sizes={(512, 512): 4, (640, 256): 1, (256, 640): 1})
    assert NOWHERE.steps(settings, dataset) == 6
    assert NOWHERE.steps(replace(settings, buckets=False), dataset) == 4
    near = replace(dataset, sizes={(512, 512): 5, (513, 512): 1})
    assert NOWHERE.steps(settings, near) == 4  # one bucket
    small = replace(dataset, sizes={(320, 320): 4, (256, 256): 2})
    assert NOWHERE.steps(replace(settings, bucket_no_upscale=True), small) == 4
    assert NOWHERE.steps(replace(settings, max_steps=9), dataset) == 9
    unknown = replace(dataset, sizes={})
    assert (NOWHERE.steps(settings, unknown), NOWHERE.steps(replace(settings, gpus=2), unknown)) == (4, 2)


@pytest.mark.parametrize("prompt", ["a cat", "n", "Icy roads", "w 5th avenue".title(), "female, 1girl", "cnidaria"])
def test_ordinary_prompts_are_taken(prompt: str) -> None:
    assert bool(prompt_problem(prompt)) == prompt.startswith("W 5")


def test_a_checkout_of_another_version_is_told_before_the_start(tmp_path: Path) -> None:
    settings, rules = models(tmp_path)
    folder = installed("musubi-tuner", "MUSUBI_TUNER", tmp_path)
    recipe = MusubiRecipe(folder, rules)
    assert folder.path
    script = folder.path / "src/musubi_tuner/qwen_image_train_network.py"
    written = script.read_text()
    script.write_text(written.replace('"--network_dim"', '"--rank"'))
    (problem,) = recipe.problems(settings, READY)
    assert problem.startswith("This musubi-tuner has no option network_dim: it is of another version")
    script.write_text(written + "    parser.add_argument('--new', required=True)\n")
    assert "also needs the option new" in recipe.problems(settings, READY)[0]
    script.write_text("def main(:\n")
    assert "cannot be read: this musubi-tuner is of another version" in recipe.problems(settings, READY)[0]
    script.unlink()
    assert "There is no src/musubi_tuner/qwen_image_train_network.py" in recipe.problems(settings, READY)[0]


def test_only_what_musubi_tuner_uses_is_offered() -> None:
    (problem,) = unused_problems(NOWHERE, replace(PLAIN, clip_skip=2, unet_lr=1e-4))
    assert problem.startswith("musubi-tuner does not use: U-Net learning rate, Clip skip.")


def test_a_resumed_run_is_told_only_the_rest(tmp_path: Path) -> None:
    def command(start: Start, **changes: Any) -> list[str]:
        run = make_run(tmp_path, replace(PLAIN, **changes), dataset=replace(READY, image_count=12), start=start,
                       start_path=tmp_path / "x-000004-state")  # fmt: skip
        found = NOWHERE.command(run)
        script = ARCHITECTURES["qwen-image"].scripts[2]
        parser(TABLE[script]).parse_args(found[found.index(script) + 1 :])
        return found

    after_epoch = Start(attempt=1, path="x-000004-state", step=48, epoch=4)
    got = command(after_epoch, network_weights="/m/first.safetensors")
    assert {"--max_train_epochs=6", f"--resume={tmp_path / 'x-000004-state'}"} <= set(got)
    assert not any(part.startswith("--network_weights") for part in got)
    assert "--max_train_steps=70" in command(Start(attempt=1, path="x", step=50))  # of 120
    assert "--max_train_steps=52" in command(after_epoch, max_steps=100)
    weights = command(replace(after_epoch, is_state=False))
    assert f"--network_weights={tmp_path / 'x-000004-state'}" in weights


@pytest.mark.slow
def test_the_three_steps_run_and_what_they_write_is_found(tmp_path: Path) -> None:
    settings, rules = models(tmp_path)
    folder = installed("musubi-tuner", "MUSUBI_TUNER", tmp_path)
    module = tmp_path / "fake" / "accelerate" / "commands" / "launch.py"
    module.parent.mkdir(parents=True)
    # Stands for accelerate: notes what was launched, and the training leaves its file.
    module.write_text(
        "import json, pathlib, sys\n"
        "given = dict(part[2:].split('=', 1) for part in sys.argv[1:] if part.startswith('--') and '=' in part)\n"
        "print(json.dumps(next(part for part in sys.argv[1:] if part.endswith('.py'))))\n"
        "if 'output_name' in given:\n"
        "    pathlib.Path(given['output_dir'], given['output_name'] + '-000001.safetensors').write_bytes(b'12345')\n"
    )
    recipe = MusubiRecipe(folder, rules)
    run = make_run(tmp_path, settings)
    recipe.prepare(run)
    scripts = [
        json.loads(subprocess.run(command, check=True, capture_output=True, env={"PYTHONPATH": str(tmp_path / "fake")},
                                  timeout=60).stdout)
        for command in (*recipe.commands_before(run), recipe.command(run))
    ]  # fmt: skip
    assert scripts == [folder.at(script) for script in ARCHITECTURES["qwen-image"].scripts]
    (found,) = (file for file in recipe.collect(run.output_dir) if file.kind is ArtifactKind.CHECKPOINT)
    assert (found.epoch, found.size_bytes) == (1, 5)
