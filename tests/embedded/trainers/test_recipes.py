import json
import os
import sys
import tomllib
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.embedded.trainers.kohya_files import MAX_STEM_BYTES, file_stem, prompt_lines
from lib.embedded.trainers.recipe import TrainingRun, shown_command
from lib.embedded.trainers.registry import DEFAULT_RECIPES, load_recipes
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe, architecture
from lib.embedded.trainers.tiny import TinyRecipe
from lib.jobs.dataset import Dataset
from lib.jobs.job import ArtifactKind
from lib.jobs.training_settings import TrainingSettings
from lib.settings import Settings

READY = Dataset(id="d", name="D", image_count=3)
SD = SdScriptsRecipe(None)
SD_IN_OPT = SdScriptsRecipe(Path("/opt/sd"))


def make_run(tmp_path: Path, settings: TrainingSettings, **values: object) -> TrainingRun:
    return TrainingRun(
        **{
            "job_id": "job-1",
            "name": "sks кот ねこ v1",
            "settings": settings,
            "dataset": READY,
            "dataset_path": tmp_path / 'a "folder"\\x',
            "attempt_dir": tmp_path / "attempt",
            "output_dir": tmp_path / "attempt" / "output",
            **values,
        }  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("sks кот ねこ v1", "sks кот ねこ v1"),
        ("../../etc/passwd", "etc-passwd"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("<b>bold</b>", "b-bold-b"),
        ("![x](http://e.org/i.png)", "x-(http-e.org-i.png)"),
        ("", "lora"),
        ("../..", "lora"),
        ("🙂", "lora"),
        ("foo-000001", "foo_000001"),
        ("foo-step00000010", "foo_step00000010"),
        ("a-state", "a_state"),
        ("a\0b\nc", "a-b c"),
    ],
)
def test_file_stem_is_readable(name: str, stem: str) -> None:
    assert file_stem(name) == stem


@given(st.text(max_size=300) | st.text(alphabet="./\\-_ ‮א0s", max_size=300))
def test_file_stem_is_always_a_safe_component(name: str) -> None:
    stem = file_stem(name)
    assert 0 < len(stem.encode()) <= MAX_STEM_BYTES
    assert stem[0] not in ".- "
    assert stem[-1] not in ". "
    assert not any(unicodedata.category(character)[0] == "C" for character in stem)
    assert Path(stem).name == stem
    assert "\\" not in stem
    assert file_stem(stem) == stem


def test_sd_scripts_uses_the_cards_it_is_given(tmp_path: Path) -> None:
    run = make_run(tmp_path, TrainingSettings(trainer="sd-scripts", base_model="m/sd15"))
    assert "--num_processes=2" in SD_IN_OPT.command(replace(run, gpu_count=2))


def test_sd_scripts_command_line(tmp_path: Path) -> None:
    settings = TrainingSettings(
        trainer="sd-scripts",
        base_model="m/sd15",
        epochs=3,
        sample_prompts=("a cat",),
        extra={"min_snr_gamma": 5, "xformers": True, "network_args": ["a=1", "b=2"], "off": False},
    )
    run = make_run(tmp_path, settings)
    command = SD_IN_OPT.command(run)
    assert not run.attempt_dir.exists()  # the preview of the wizard touches nothing
    assert command[:2] == ["accelerate", "launch"]
    script = command.index(str(Path("/opt/sd/train_network.py")))
    launched = {"--num_processes=1", "--num_machines=1", "--mixed_precision=fp16", "--dynamo_backend=no"}
    assert set(command[2:script]) == {*launched, "--num_cpu_threads_per_process=1"}
    assert {
        "--pretrained_model_name_or_path=m/sd15",
        "--output_name=sks кот ねこ v1",
        "--save_model_as=safetensors",
        "--network_module=networks.lora",
        "--network_dim=16",
        "--network_alpha=8",
        "--learning_rate=0.0001",
        "--max_train_epochs=3",
        "--save_every_n_epochs=1",
        "--mixed_precision=fp16",
        "--gradient_checkpointing",
        "--sample_every_n_epochs=1",
        "--seed=42",
        "--min_snr_gamma=5",
        "--xformers",
    } <= set(command)
    assert command[-4:-1] == ["--network_args", "a=1", "b=2"] or command[-3:] == ["--network_args", "a=1", "b=2"]
    assert not any(part.startswith(("--lr", "--off")) for part in command)
    at_home = make_run(tmp_path, replace(settings, base_model="~/m.safetensors", extra={"vae": "~/v.safetensors"}))
    assert f"--pretrained_model_name_or_path={Path.home() / 'm.safetensors'}" in SD.command(at_home)
    assert SD.command(at_home)[-1] == f"--vae={Path.home() / 'v.safetensors'}"


def test_a_shown_command_line_keeps_secrets_back_and_nothing_else(tmp_path: Path) -> None:
    # Jobs of former releases may hold secrets; new ones are refused.
    extra = {"huggingface_token": "S3CRET", "WANDB_API_KEY": ["S3CRET", "S3CRET"], "log_prefix": "a=b"}
    harmless = {"keep_tokens": 1, "max_token_length": 225, "shuffle_caption": True}
    settings = TrainingSettings(trainer="sd-scripts", base_model="m/sd15", extra={**extra, **harmless})
    command = SD.command(make_run(tmp_path, settings))
    shown = shown_command(command)
    assert {"--huggingface_token=S3CRET", "S3CRET"} <= set(command)  # the trainer gets it
    assert "S3CRET" not in " ".join(shown)
    assert {"--huggingface_token=(not shown)", "--WANDB_API_KEY", "--log_prefix=a=b", "--keep_tokens=1"} <= set(shown)
    assert [part for part in command if "S3CRET" not in part] == [part for part in shown if "(not shown)" not in part]


def test_sd_scripts_files(tmp_path: Path) -> None:
    settings = TrainingSettings(repeats=4, batch_size=2, sample_prompts=("a\ncat --d 7", "# no comment", " "))
    run = make_run(tmp_path, settings)
    SD.prepare(run)
    content = tomllib.loads((run.attempt_dir / "dataset.toml").read_text("utf-8"))
    (dataset,) = content["datasets"]
    assert (dataset["resolution"], dataset["batch_size"]) == (512, 2)
    assert dataset["subsets"] == [{"image_dir": str(run.dataset_path), "num_repeats": 4}]
    assert content["general"]["caption_extension"] == ".txt"
    prompts = next(part.split("=", 1)[1] for part in SD.command(run) if part.startswith("--sample_prompts="))
    assert Path(prompts).read_text("utf-8").splitlines() == [
        "a cat --d 7 --w 512 --h 512",
        "no comment --w 512 --h 512 --d 42",
    ]


@pytest.mark.parametrize(
    ("base_model", "extra", "expected"),
    [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", {}, "sd15"),
        ("stabilityai/stable-diffusion-xl-base-1.0", {}, "sdxl"),
        ("/models/ponySDXL_v6.safetensors", {}, "sdxl"),
        ("/models/sdxl.safetensors", {"architecture": "sd15"}, "sd15"),
        ("/models/xlarge.safetensors", {}, "sd15"),
    ],
)
def test_architecture(base_model: str, extra: dict[str, str], expected: str) -> None:
    assert architecture(TrainingSettings(base_model=base_model, extra=extra)) == expected


def test_sd_scripts_problems_say_what_to_do(tmp_path: Path) -> None:
    def problems(checkout: Path | None, dataset: Dataset = READY, **values: object) -> str:
        settings = TrainingSettings(**{"base_model": "a/b", **values})  # type: ignore[arg-type]
        return " ".join(SdScriptsRecipe(checkout).problems(settings, dataset))

    assert "SD_SCRIPTS_DIR" in problems(None)
    assert "train_network.py" in problems(tmp_path)
    for name in ("train_network.py", "venv/bin/python"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert problems(tmp_path) == ""
    assert "sdxl_train_network.py" in problems(tmp_path, extra={"architecture": "sdxl"})
    assert "No base model" in problems(tmp_path, base_model=" ")
    assert "/no/such" in problems(tmp_path, base_model="/no/such.safetensors")
    assert "set by the dashboard" in problems(tmp_path, extra={"output_dir": "/tmp"})
    assert "cannot be an option's name" in problems(tmp_path, extra={"a b": 1})
    assert "no option output_di. Did you mean" in problems(tmp_path, extra={"output_di": "/tmp"})
    assert "no images" in problems(tmp_path, Dataset(id="d", name="D", image_count=0))
    command = SdScriptsRecipe(tmp_path).command(make_run(tmp_path, TrainingSettings()))
    assert command[:3] == [
        str(tmp_path / "venv/bin/python"),
        "-m",
        "accelerate.commands.launch",
    ]


def test_tiny_command_and_problems(tmp_path: Path) -> None:
    tiny = TinyRecipe()
    settings = TrainingSettings(sample_prompts=("x",))
    run = make_run(tmp_path, settings)
    command = tiny.command(run)
    assert command[:3] == [sys.executable, "-m", "lib.tiny_trainer"]
    assert not run.attempt_dir.exists()
    assert tiny.problems(settings, READY) == []
    broken = Dataset(id="d", name="D", image_count=3, undecodable=("a.png",))
    assert "a.png" in tiny.problems(settings, broken)[0]
    (problem,) = tiny.problems(replace(settings, extra={"clip_skip": 2, "b": True}), READY)
    assert "b, clip_skip" in problem
    assert "not an image model" in tiny.label
    assert tiny.expected_bytes(settings) < SD.expected_bytes(settings)


def test_collect_reads_names_as_sd_scripts_writes_them(tmp_path: Path) -> None:
    run = make_run(tmp_path, TrainingSettings(sample_prompts=("a cat", "a dog")))
    SD.prepare(run)
    names = (
        "v1.safetensors",
        "v1-000002.safetensors",
        "v1-step00000010.safetensors",
        "v1-000002-state/model.safetensors",
        "sample/sks кот ねこ v1_e000001_00_20261123155321_42.png",
        "sample/v1_000040_01_20261123155322.png",
        "notes.txt",
        ".v1.123.part",
    )
    for name in names:
        (run.output_dir / name).parent.mkdir(exist_ok=True)
        (run.output_dir / name).write_bytes(b"12345")
    (run.output_dir / "link.safetensors").symlink_to(tmp_path)
    in_latin_1 = os.fsencode(run.output_dir / "s") + b"\xe9lfie.safetensors"
    Path(os.fsdecode(in_latin_1)).write_bytes(b"12345")
    found = {file.path: file for file in SD.collect(run.output_dir)}
    facts = {p: (f.kind, f.epoch, f.step, f.prompt_index, f.prompt) for p, f in found.items()}
    assert facts == {
        names[0]: (ArtifactKind.LORA, None, None, None, None),
        names[1]: (ArtifactKind.CHECKPOINT, 2, None, None, None),
        names[2]: (ArtifactKind.CHECKPOINT, None, 10, None, None),
        names[3]: (ArtifactKind.STATE, 2, None, None, None),
        names[4]: (ArtifactKind.SAMPLE, 1, None, 0, "a cat"),
        names[5]: (ArtifactKind.SAMPLE, None, 40, 1, "a dog"),
        names[6]: (ArtifactKind.OTHER, None, None, None, None),
    }
    assert found[names[0]].size_bytes == 5
    assert SD.collect(tmp_path / "missing") == []


def test_prompts_survive_as_lines() -> None:
    settings = TrainingSettings(sample_prompts=("  two \n lines", "", "# hash"))
    assert prompt_lines(settings) == ["two lines", "hash"]
    assert json.dumps(prompt_lines(settings))


def test_the_recipes_are_built_from_the_settings(tmp_path: Path) -> None:
    def named(settings: Settings) -> str:
        recipe = load_recipes(DEFAULT_RECIPES, settings)["sd-scripts"]
        return " ".join(recipe.problems(TrainingSettings(base_model="a/b"), READY))

    assert {"tiny", "sd-scripts"} <= set(load_recipes(DEFAULT_RECIPES, Settings()))
    assert "Set SD_SCRIPTS_DIR" in named(Settings())
    assert f"no train_network.py in {tmp_path}" in named(Settings(trainer_paths={"SD_SCRIPTS_DIR": tmp_path}))
