"""Commands of an administrator's file: what is in it is run as it is, what cannot be run is said in plain words."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lib.embedded.trainers.command import command_recipes, read_commands
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.recipe import Recipe
from lib.embedded.trainers.registry import recipes
from lib.jobs.training_settings import TrainingSettings
from lib.settings import Settings, TrainingRules
from tests.embedded.trainers.test_recipes import READY, make_run

SETTINGS = TrainingSettings(trainer="mine", base_model="m/sd15", sample_prompts=("a cat; rm -rf $HOME", "b"))


def recipe_of(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "commands.toml"
    path.write_text(text, "utf-8")
    (recipe,) = command_recipes(path, ModelFiles())
    return recipe


def problem_of(tmp_path: Path, text: str, settings: TrainingSettings = SETTINGS) -> str:
    return " ".join(recipe_of(tmp_path, text).problems(settings, READY))


def test_placeholders_become_single_arguments_and_no_shell_sees_them(tmp_path: Path) -> None:
    script = "import sys; print(*sys.argv[1:], sep='|')"
    recipe = recipe_of(
        tmp_path,
        f"""
        [mine]
        label = "My own"
        uses_gpu = false
        argv = [{sys.executable!r}, "-c", {script!r}, "--data={{dataset}}", "--out={{output}}", "--name={{name}}",
                "--rank={{network_dim}}", "$(id); `id` {{{{x}}}}", "--base={{base_model}}", "{{sample_prompts}}"]
        before = [[{sys.executable!r}, "-c", "pass", "{{dataset}}"]]
        """,
    )
    run = make_run(tmp_path, SETTINGS)
    assert (recipe.name, recipe.label, recipe.uses_gpu) == ("mine", "My own", False)
    assert not recipe.problems(SETTINGS, READY)
    assert recipe.commands_before(run) == [[sys.executable, "-c", "pass", str(run.dataset_path)]]
    said = subprocess.run(recipe.command(run), capture_output=True, text=True, check=True).stdout.strip().split("|")
    assert said == [
        f"--data={run.dataset_path}",
        f"--out={run.output_dir}",
        "--name=sks кот ねこ v1",
        "--rank=16",
        "$(id); `id` {x}",
        "--base=m/sd15",
        "a cat; rm -rf $HOME",
        "b",
    ]
    nothing = replace(run, settings=replace(SETTINGS, base_model="", sample_prompts=()))
    assert recipe.command(nothing)[-1] == "$(id); `id` {x}"  # what is empty is left out, not passed on as ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[mine]\nargv = ["true", "{datset}"]', "unknown value {datset}. Known: dataset, output, name, prompts"),
        ('[mine]\nargv = ["true", "{name.__class__}"]', "unknown value {name.__class__}"),
        ('[mine]\nargv = ["true", "{name!r}"]', "unknown value {name}"),
        ('[mine]\nargv = ["true", "{0}"]', "unknown value {0}"),
        ('[mine]\nargv = ["true", "{extra}"]', "unknown value {extra}"),
        ('[mine]\nargv = ["true", "{name"]', "a brace without its partner in '{name'"),
        ('[mine]\nargv = ["{base_model}"]', "lets a value choose its program"),
        ('[mine]\nargv = ["true", "--p={sample_prompts}"]', "must be a whole argument"),
        ('[mine]\nargv = "train.sh && rm -rf /"', "needs its arguments as a list of texts"),
        ('[mine]\nargv = ["true", 1]', "needs its arguments as a list of texts"),
        ("[mine]\nargv = []", "needs its arguments as a list of texts"),
        ("[mine]", "needs its arguments as a list of texts"),
        ('[mine]\nargv = ["true"]\nbefore = ["true"]', "needs its arguments as a list of texts"),
        ('[mine]\nargv = ["true"]\nshell = true', "has the unknown key 'shell'"),
        ('["My trainer"]\nargv = ["true"]', "lower case letters, digits and hyphens"),
        ('mine = "true"', "is no table"),
        ('[mine]\nargv = ["true"', "cannot be used: "),
        ('[mine]\nargv = ["no-such-program-here"]', "The program no-such-program-here of the command mine was not"),
        (
            '[mine]\nargv = ["true"]\nbefore = [["no-such-one"], ["true"]]',
            "The program no-such-one of the command mine",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_in_plain_words(tmp_path: Path, text: str, words: str) -> None:
    assert words in problem_of(tmp_path, text)


def test_values_that_the_command_would_misunderstand_are_refused(tmp_path: Path) -> None:
    text = '[mine]\nargv = ["true", "{base_model}", "{sample_prompts}"]'
    assert not problem_of(tmp_path, text)
    assert "Base model begins with a hyphen" in problem_of(tmp_path, text, replace(SETTINGS, base_model="--evil"))
    assert "Sample prompts begins" in problem_of(tmp_path, text, replace(SETTINGS, sample_prompts=("a", "-x")))
    assert "no further options" in problem_of(tmp_path, text, replace(SETTINGS, extra={"a": 1}))
    assert "/etc/passwd" in problem_of(tmp_path, text, replace(SETTINGS, base_model="/etc/passwd"))
    assert not problem_of(tmp_path, '[mine]\nargv = ["true"]', replace(SETTINGS, base_model="/etc/passwd"))


def test_a_file_that_cannot_be_read_is_a_trainer_that_says_so(tmp_path: Path) -> None:
    for name, data, reason in (
        ("gone", None, "No such file"),
        ("binary", b"\xff\xfe", "codec can't decode"),
        ("big", b"#" * (2 << 20), "more than 1 MB"),
    ):
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        (command,) = read_commands(path)
        assert reason in command.problem
        assert str(path) in command.problem
    (folder,) = read_commands(tmp_path)
    assert "Is a directory" in folder.problem


def test_commands_are_offered_beside_the_trainers_but_not_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "commands.toml"
    path.write_text('[tiny]\nargv = ["true"]\n[mine]\nargv = ["true"]', "utf-8")
    rules = TrainingRules(model_dirs=(tmp_path,))
    found = {each.name: each for each in recipes(Settings(trainer_paths={"LORA_COMMANDS": path}, rules=rules))}
    assert next(iter(found)) == "tiny"
    assert found["tiny"].label.startswith("tiny (CPU check")
    assert list(found)[-1] == "mine"
