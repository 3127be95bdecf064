"""Configuration files: what is written is read back, and what is wrong is named by its key."""

from dataclasses import replace

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import InvalidRequest
from lib.jobs.config_file import MAX_FILE_BYTES, export_config, parse_config
from lib.jobs.secret_options import is_secret_option
from lib.jobs.training_settings import (
    EXTRA,
    NUMBERS,
    TrainingConfig,
    TrainingSettings,
    settings_from_payload,
    settings_payload,
)

CHARACTERS = st.characters(exclude_categories=("Cs", "Cc"))
TEXTS = st.text(CHARACTERS, max_size=40)
NAMES = TEXTS.map(str.strip).filter(bool)
OPTION_TEXTS = TEXTS.filter(lambda text: "=" not in text)
OPTION_NAMES = TEXTS.filter(lambda name: not is_secret_option(name))
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), FLOATS, OPTION_TEXTS)
RANGES = {
    rule.name: st.integers(int(rule.minimum), int(rule.maximum))
    if rule.is_integer
    else st.floats(rule.minimum, rule.maximum)
    for rule in NUMBERS
}
SETTINGS = st.builds(
    TrainingSettings,
    trainer=st.sampled_from(["tiny", "sd-scripts"]),
    base_model=TEXTS,
    sample_prompts=st.lists(TEXTS, max_size=3).map(tuple),
    extra=st.dictionaries(OPTION_NAMES, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=4),
    **RANGES,
)


@settings(max_examples=60, deadline=None)
@given(settings=SETTINGS, name=NAMES, description=TEXTS)
def test_an_exported_configuration_is_read_back_the_same(settings, name, description):
    config = TrainingConfig(id="", name=name, description=description, settings=settings)
    assert parse_config(export_config(config).encode()) == config
    assert settings_from_payload(settings_payload(settings)) == settings
    assert EXTRA.parse(EXTRA.text(settings.extra)) == settings.extra


def test_an_exported_file_is_pleasant_to_read():
    config = TrainingConfig(id="c1", name="Quick", settings=TrainingSettings(sample_prompts=('a "red" dot',)))
    lines = export_config(config).splitlines()
    assert lines[:4] == ['name = "Quick"', 'description = ""', "", "[settings]"]
    assert "learning_rate = 0.0001" in lines
    assert '    "a \\"red\\" dot",' in lines


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"naem": "x"}, "naem", "no such key"),
        ({"settings": {"lerning_rate": 1}}, "settings.lerning_rate", "no such key"),
        ({"settings": {"epochs": "ten"}}, "settings.epochs", "must be a number"),
        ({"settings": {"epochs": True}}, "settings.epochs", "must be a number"),
        ({"settings": {"epochs": 1001}}, "settings.epochs", "between 1 and 1000"),
        ({"settings": {"learning_rate": 2}}, "settings.learning_rate", "between 1e-06 and 1"),
        ({"settings": {"sample_prompts": [1]}}, "settings.sample_prompts", "list of texts"),
        ({"settings": {"extra": {"deep": {"er": 1}}}}, "settings.extra", "table or a time: 'deep'"),
        ({"settings": {"extra": {"deep": [{"er": 1}]}}}, "settings.extra", "table or a time: 'deep'"),
        ({"settings": {"extra": {"wandb_api_key": "x"}}}, "settings.extra", "setting LORA_TRAINER_ENV_WANDB_API_KEY"),
        ({"settings": {"extra": {"huggingface_token": "x"}}}, "settings.extra", "setting LORA_TRAINER_ENV_HF_TOKEN"),
        ({"settings": {"extra": {"network_args": ["api_key=x"]}}}, "settings.extra", "LORA_TRAINER_ENV_API_KEY"),
        ({"settings": {"extra": {"unet_lr": float("inf")}}}, "settings.extra", "not finite: 'unet_lr'"),
        ({"settings": {"extra": {f"a{n}": n for n in range(101)}}}, "settings.extra", "at most 100 lines, not 101"),
        ({"settings": {"sample_prompts": ["a"] * 201}}, "settings.sample_prompts", "at most 200 lines, not 201"),
        ({"settings": {"sample_prompts": ["a\x00b"]}}, "settings.sample_prompts", "control character (code 0)"),
        ({"settings": {"base_model": "a\nb"}}, "settings.base_model", "control character (code 10)"),
        ({"name": "a\x1bb"}, "name", "control character (code 27)"),
        ({"description": "d" * 2_001}, "description", "2,001 characters"),
        ({"settings": {"trainer": " "}}, "settings.trainer", "must not be empty"),
        ({"settings": []}, "settings", "A table is needed"),
        ({"name": " "}, "name", "empty"),
        ({"name": "x" * 101}, "name", "101 characters"),
    ],
)
def test_an_error_names_its_key(change, key, words):
    content = tomli_w.dumps({"name": "x", "settings": {}, **change}).encode()
    with pytest.raises(InvalidRequest) as caught:
        parse_config(content)
    assert words in caught.value.fields[key]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name = ", "not TOML"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), "larger than 1 MB"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"name = " + b"9" * 5_000, "number in it is too long"),
        (b'name = "a\\ud800"', "not TOML"),
        (b'name = "x"\n[settings]\nepochs = ' + b"9" * 400, "not a configuration"),
    ],
)
def test_a_file_that_is_no_configuration_says_why(content, words):
    with pytest.raises(InvalidRequest, match=words):
        parse_config(content)


def test_a_missing_name_is_named():
    with pytest.raises(InvalidRequest) as caught:
        parse_config(b"[settings]\n")
    assert set(caught.value.fields) == {"name"}


def test_a_jobs_copy_of_another_make_keeps_what_can_be_understood():
    payload = {"epochs": 7.0, "learning_rate": 1, "batch_size": "4", "seed": True, "extra": 1, "unet": "x"}
    assert settings_from_payload(payload) == replace(TrainingSettings(), epochs=7, learning_rate=1.0)
    assert settings_from_payload({"extra": {"a": None, "b": [{"c": None}]}}).extra == {"b": [{}]}, "TOML has no null"
    for value in (float("nan"), float("inf"), 10**400):
        assert settings_from_payload({"epochs": value, "learning_rate": value}) == TrainingSettings()


@pytest.mark.parametrize("text", ["clip_skip", "a = " + "[" * 100_000, "a = " + "9" * 5_000])
def test_further_options_that_cannot_be_read_say_so(text):
    with pytest.raises(ValueError, match="key = value"):
        EXTRA.parse(text)
