"""No further option and no sample prompt of a configuration makes sd-scripts write, read or run what it should not.

The oracle is argparse itself, with every option of the real parser: whatever our checks let through is put on the
command line and parsed as sd-scripts parses it, abbreviations included.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib.embedded.trainers import sd_scripts_options
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.parser_source import Kind, Option, options_from, read_options
from lib.embedded.trainers.sd_scripts import OWN_KEYS, SdScriptsRecipe
from lib.embedded.trainers.sd_scripts_options import FILES, REFUSED, RULES, SET_BY_DASHBOARD, prompt_problem
from lib.jobs.training_settings import TrainingSettings, setting_problems
from lib.settings import TrainingRules
from tests.embedded.trainers.test_recipes import READY, make_run

TABLE = Path(sd_scripts_options.__file__).with_suffix(".json")
OPTIONS = options_from(json.loads(TABLE.read_text()))
SETTINGS = TrainingSettings(trainer="sd-scripts", base_model="owner/model")
RECIPE = SdScriptsRecipe(None)
HOSTILE_VALUES = (
    *("/etc/passwd", "../../x", "~/.ssh/id_rsa", "..", ".", "C:\\x", "\\\\host\\share", "http://evil.test/x"),
    *("os.system", "builtins.eval", "evil", "a.b.C", "networks.lora;x", "lycoris.kohya.x", "x=/etc/passwd"),
    *("--config_file=/tmp/x", "-x", "--", "a\0b", "a\nb", "\ud800", "a\u202eb", "", " ", "x" * 501),
    *(float("nan"), float("inf"), -1, 1e300, 10**30, True, 5),
    *(["--config_file", "/tmp/x"], ["a", "-o"], [], ["a"] * 51, [["a"]], ["preset=/etc/passwd"], {"a": 1}, None),
)


def parser() -> argparse.ArgumentParser:
    """The options of sd-scripts as its own parser has them."""
    made = argparse.ArgumentParser(exit_on_error=False)
    for name, option in OPTIONS.items():
        if option.kind is Kind.SWITCH:
            made.add_argument(f"--{name}", action="store_true")
        else:
            type_ = {Kind.INTEGER: int, Kind.NUMBER: float}.get(option.kind, str)
            made.add_argument(f"--{name}", type=type_, nargs="*" if option.is_list else None)
    return made


PARSER = parser()


def problems(extra: Mapping[str, Any], recipe: SdScriptsRecipe = RECIPE, **values: Any) -> list[str]:
    """What prevents a job with these options, apart from the missing checkout."""
    settings = replace(SETTINGS, extra=extra, **values)
    found = [*setting_problems(settings).values(), *recipe.problems(settings, READY)]
    return [each for each in found if "sd-scripts is not set up" not in each]


def parsed(tmp_path: Path, extra: Mapping[str, Any]) -> dict[str, Any]:
    command = RECIPE.command(make_run(tmp_path, replace(SETTINGS, extra=extra)))
    script = next(index for index, part in enumerate(command) if part.endswith("train_network.py"))
    return vars(PARSER.parse_args(command[script + 1 :]))


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_whatever_is_let_through_changes_that_option_only_and_names_nothing(name: str, tmp_path: Path) -> None:
    usual = parsed(tmp_path, {})
    for value in HOSTILE_VALUES:
        if problems({name: value}):
            continue
        found = parsed(tmp_path, {name: value})
        changed = {key for key in found if found[key] != usual[key]}
        assert changed <= {name}, value
        assert name not in SET_BY_DASHBOARD or not changed, value
        assert name not in REFUSED, value
        texts = found[name] if isinstance(found[name], list) else [found[name]]
        is_free = RULES.texts.get(name) is sd_scripts_options._FREE  # a caption's or metadata's words name nothing
        for text in (each for each in texts if isinstance(each, str) and not is_free):
            assert not set("/\\~") & set(text), value
            assert name not in RULES.words or text in RULES.words[name], value


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - OWN_KEYS))
def test_an_abbreviation_is_no_option(name: str) -> None:
    short = next(name[:size] for size in range(1, len(name) + 1) if _begins_one(name[:size]) or size == len(name))
    for part in {short, name[:-1]} - set(OPTIONS):
        assert "no option" in " ".join(problems({part: True})), part


def _begins_one(part: str) -> bool:
    """Whether argparse would take it for an option."""
    return sum(name.startswith(part) for name in OPTIONS) == 1


@pytest.mark.parametrize(
    "name",
    [
        *(
            "-output_dir",
            "--output_dir",
            "output-dir",
            "output_dir=x",
            "output dir",
            "",
            "x\0",
            "ｏutput_dir",
            "İ",
            "1x",
        ),
        *("no_such_option", "OUTPUT_DIR", "Output_Dir", "output_dir ", "config_file\n", "__class__", "help", "h"),
        *sorted(SET_BY_DASHBOARD),
        *sorted(REFUSED),
        *sorted(FILES - {"vae"}),  # which may be a name on the hub
        *("wandb_api_key", "huggingface_token", "api_key", "WANDB_API_KEY", "my_password", "client_secret"),
    ],
)
def test_a_name_that_is_no_option_to_pass_on_is_refused(name: str) -> None:
    for value in ("x", True, 1, ["x"]):
        found = problems({name: value})
        assert found, value
        assert all(len(each) < 400 and each.endswith((".", "?")) for each in found)


@pytest.mark.parametrize("name", sorted({*SET_BY_DASHBOARD, "wandb_api_key", "huggingface_token"}))
def test_some_are_refused_even_where_any_option_is_allowed(name: str) -> None:
    lenient = SdScriptsRecipe(None, ModelFiles(rules=TrainingRules(allow_any_option=True)))
    assert problems({name: "x"}, lenient)
    assert problems({"network_args": ["a=1", "--output_dir", "/tmp"]}, lenient)


def test_any_option_can_be_allowed_and_the_wizard_is_told() -> None:
    lenient = SdScriptsRecipe(None, ModelFiles(rules=TrainingRules(allow_any_option=True)))
    extra = {"dataset_class": "my.Dataset", "clip_skip": 2, "future_option": "x"}
    assert problems(extra, lenient) == []
    (warning,) = lenient.warnings(replace(SETTINGS, extra=extra))
    assert warning.endswith("without a check: dataset_class, future_option.")
    assert lenient.warnings(replace(SETTINGS, extra={"clip_skip": 2})) == ()
    assert RECIPE.warnings(replace(SETTINGS, extra=extra)) == ()


@pytest.mark.parametrize(
    "extra",
    [
        {"min_snr_gamma": 5, "xformers": True, "noise_offset": 0.0357, "clip_skip": 2},
        {"optimizer_type": "Prodigy", "optimizer_args": ["decouple=True", "weight_decay=0.01", "betas=0.9,0.99"]},
        {"optimizer_type": "adamw8bit", "lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3},
        {"network_module": "lycoris.kohya", "network_args": ["conv_dim=4", "algo=lokr", "preset=attn-mlp"]},
        {"lr_scheduler": "adafactor:1e-5", "lr_warmup_steps": 0.1, "unet_lr": 1e-4, "text_encoder_lr": [1e-5, 0]},
        {"log_with": "wandb", "wandb_run_name": "run 1", "save_precision": "bf16", "mixed_precision": "bf16"},
        {"training_comment": "trained / tested by ann", "metadata_tags": "a, b", "keep_tokens_separator": "|||"},
        {"architecture": "sdxl", "max_token_length": 225, "base_weights_multiplier": [-0.5, 1]},
        {"resume": None, "shuffle_caption": False},
    ],
)
def test_what_people_use_is_let_through(extra: dict[str, Any], tmp_path: Path) -> None:
    extra = {name: value for name, value in extra.items() if value is not None}
    assert problems(extra) == []
    assert parsed(tmp_path, extra)


@pytest.mark.parametrize(
    "prompt",
    [
        *("a --cn /etc/passwd", "a --CN /etc/passwd", "cn /etc/passwd", "CN /x", "# cn /x", "a\n--cn /x", "a\t--cn /x"),
        *("a --w 512 --cn x", "a --controlnet x", "a --", "a -- cn x", "a --from_file /etc/passwd"),
    ],
)
def test_a_prompt_opens_no_file(prompt: str) -> None:
    assert problems({}, sample_prompts=(prompt,))


@pytest.mark.parametrize(
    "prompt", ["a photo", "a --w 512 --h 768 --d 1 --s 30 --l 7.5", "a --n bad, ugly", "acne --D 4"]
)
def test_a_usual_prompt_is_let_through(prompt: str) -> None:
    assert prompt_problem(prompt) == ""
    assert problems({}, sample_prompts=(prompt,)) == []


def test_the_options_are_read_from_the_source_of_the_checkout(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "train_util.py").write_text(
        "def add_arguments(parser):\n"
        "    parser.add_argument('--switch', action='store_true')\n"
        "    parser.add_argument('-c', '--choice', type=str, choices=[None, 'a', 'b'])\n"
        "    if True:\n        parser.add_argument('--many', type=float, nargs='*')\n"
        "    def int_or_float(x): pass\n"
        "    parser.add_argument('--either', type=int_or_float)\n    add_more(parser)\n"
        "def add_more(parser):\n    parser.add_argument('--text', default='')\n    add_arguments(parser)\n"
        "def never_called(parser):\n    parser.add_argument('--never')\n"
    )
    (tmp_path / "train_network.py").write_text(
        "import torch\nimport library.train_util as train_util\nraise SystemExit('it must not be run')\n"
        "def setup_parser():\n    parser = argparse.ArgumentParser()\n    train_util.add_arguments(parser)\n"
    )
    (tmp_path / "sdxl_train_network.py").write_text(
        "import train_network\ndef setup_parser():\n    p = train_network.setup_parser()\n"
        "    p.add_argument('--xl', type=int)\n"
    )
    expected = {
        "switch": Option(kind=Kind.SWITCH),
        "choice": Option(choices=("a", "b")),
        "many": Option(kind=Kind.NUMBER, is_list=True),
        "either": Option(kind=Kind.NUMBER),
        "text": Option(default="''"),
    }
    assert read_options(tmp_path, "train_network.py") == expected
    assert read_options(tmp_path, "sdxl_train_network.py") == {**expected, "xl": Option(kind=Kind.INTEGER)}
    assert "no option clip_skip" in " ".join(problems({"clip_skip": 2}, SdScriptsRecipe(tmp_path)))
    (tmp_path / "train_network.py").write_text("def setup_parser(: broken")
    assert read_options(tmp_path, "train_network.py") is None
    assert read_options(tmp_path, "no_such.py") is None
    assert "no option" not in " ".join(problems({"clip_skip": 2}, SdScriptsRecipe(tmp_path)))
