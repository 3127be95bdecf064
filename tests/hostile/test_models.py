"""Which files a configuration may name as models: below the operator's folders, .safetensors, never the data folder."""

from pathlib import Path

import pytest

from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe
from lib.settings import TrainingRules
from tests.hostile.test_options import problems


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Folders ``models`` (the operator's), ``data`` (the dashboard's, below ``models`` too) and ``elsewhere``."""
    for name in (
        *("models/good.safetensors", "models/deep/er.safetensors", "models/pickle.ckpt", "models/safetensors"),
        *("models/folder/unet/x.safetensors", "models/mixed/unet/x.bin", "models/state/random_states_0.pkl"),
        *("models/data/datasets/d/evil.safetensors", "elsewhere/other.safetensors", "models2/x.safetensors"),
        *("working/local/model/model_index.json", "elsewhere/hidden.bin", "models/UPPER.SafeTensors", "models/x.txt"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for link, target in {
        "models/to-data.safetensors": "models/data/datasets/d/evil.safetensors",
        "models/to-elsewhere.safetensors": "elsewhere/other.safetensors",
        "models/linked-folder": "elsewhere",
        "models/circle.safetensors": "models/circle.safetensors",
        "models/dangling.safetensors": "nowhere",
        "models/inside.safetensors": "models/good.safetensors",
        "models/disguised.ckpt": "models/good.safetensors",
        "elsewhere/in.safetensors": "models/good.safetensors",
    }.items():
        (tmp_path / link).symlink_to(tmp_path / target)
    return tmp_path


def models(place: Path, **rules: bool) -> ModelFiles:
    return ModelFiles(
        rules=TrainingRules(model_dirs=(place / "models",), **rules),
        data_dir=place / "models" / "data",
        working_dir=place / "working",
    )


GOOD = (
    "models/good.safetensors",
    "models/deep/er.safetensors",
    "models/folder",
    "models/inside.safetensors",
    "models/UPPER.SafeTensors",
)
NEVER = (
    *("elsewhere/other.safetensors", "models2/x.safetensors", "models/../elsewhere/other.safetensors", "models/no"),
    *("models/data/datasets/d/evil.safetensors", "models/to-data.safetensors", "models/to-elsewhere.safetensors"),
    *(
        "models/linked-folder/other.safetensors",
        "models/circle.safetensors",
        "models/dangling.safetensors",
        "models/data",
    ),
    *("models/data/../data/datasets/d/evil.safetensors", "models/good.safetensors/x", "models/good.safetensors\0", ""),
    "models/deep/../../elsewhere/other.safetensors",
)
PICKLES = (
    *(
        "models/pickle.ckpt",
        "models/safetensors",
        "models/mixed",
        "models/state",
        "models/x.txt",
        "models/disguised.ckpt",
    ),
)


@pytest.mark.parametrize("name", GOOD)
def test_a_model_below_the_operators_folder_is_taken(name: str, place: Path) -> None:
    assert models(place).problem(str(place / name), "The model") == ""


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("pickles", [False, True])
def test_nothing_else_of_this_machine_is(name: str, pickles: bool, place: Path) -> None:
    problem = models(place, allow_pickles=pickles).problem(f"{place}/{name}", "The model")
    assert problem.endswith(".")
    assert len(problem) < 500


def test_a_folder_that_holds_the_data_folder_is_a_pickle_or_not_but_the_data_folder_never_is(place: Path) -> None:
    assert "data folder" in models(place).problem(f"{place}/models/data/datasets/d", "The model")


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_needs_the_setting(name: str, place: Path) -> None:
    path = f"{place}/{name}"
    assert "LORA_ALLOW_PICKLES=1" in models(place).problem(path, "The model")
    assert models(place, allow_pickles=True).problem(path, "The model") == ""


@pytest.mark.parametrize(
    "name", ["owner/model", "stabilityai/stable-diffusion-xl-base-1.0", "gpt2", "a/b.c_d-e", "0x/1", "A" * 96]
)
def test_a_name_on_the_hub_is_taken(name: str, tmp_path: Path) -> None:
    assert ModelFiles(working_dir=tmp_path).problem(name, "The model") == ""
    assert ModelFiles(working_dir=tmp_path).problem(name, "The weights", may_be_hub=False) != ""


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a/b/c",
            "a//b",
            "/a",
            "a/",
            "a/../b",
            "a/..b",
            "..",
            ".",
            "./a",
            "../a/b",
            "~/a",
            "~nobody-here/a",
            "~",
            "a\\b",
        ),
        *(
            "http://evil.test/x",
            "https://evil.test/a",
            "file:///etc/passwd",
            "s3://b/k",
            "\\\\host\\share",
            "C:\\a",
            "c:a",
        ),
        *(
            "a b/c",
            "a/b\n",
            "a/b\0",
            "a/b?x",
            "a/b@main",
            "a/b#c",
            "-a/b",
            "--config=x",
            "a/-b",
            "а/b",
            "ａ/b",
            "a/b--c",
        ),
        *("a/b.ckpt", "a/b.bin", "x.safetensors", "data.pt", "\ud800", "a/\u202eb", "a:b/c", "a" * 97, "a/" + "b" * 97),
    ],
)
def test_anything_else_is_no_name_on_the_hub(name: str, place: Path) -> None:
    assert models(place).problem(name, "The model").endswith(".")


def test_a_hub_name_that_is_a_path_where_trainers_run_is_refused(place: Path) -> None:
    assert "also a file of this machine" in models(place).problem("local/model", "The model")


@pytest.mark.parametrize("option", ["vae", "network_weights", "base_weights", "resume"])
def test_the_options_that_name_models_follow_the_same_rules(option: str, place: Path) -> None:
    recipe = SdScriptsRecipe(None, models(place))
    assert problems({option: f"{place}/models/good.safetensors"}, recipe) == []
    for name in (*NEVER, *PICKLES):
        if "\0" not in name:
            assert problems({option: f"{place}/{name}"}, recipe), name
    assert bool(problems({option: "owner/name"}, recipe)) == (option != "vae")
    assert problems({option: [f"{place}/models/good.safetensors", "/etc/passwd"]}, recipe)
