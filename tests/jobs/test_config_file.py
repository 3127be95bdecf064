"""Configuration files: what is written is read back, and what is wrong is named by its key."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import InvalidRequest
from lib.jobs.config_file import (
    FORMATS,
    MAX_FILE_BYTES,
    export_config,
    extra_text,
    parse_config,
    parse_extra,
    settings_from_payload,
    settings_payload,
)
from lib.jobs.training_settings import RANGES, TrainingConfig, TrainingSettings

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
NAMES = TEXTS.map(str.strip).filter(bool)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, width=64), TEXTS)
NUMBERS = {
    rule.name: st.integers(int(rule.minimum), int(rule.maximum))
    if rule.is_integer
    else st.floats(rule.minimum, rule.maximum)
    for rule in RANGES
}
SETTINGS = st.builds(
    TrainingSettings,
    trainer=st.sampled_from(["tiny", "sd-scripts"]),
    base_model=TEXTS,
    sample_prompts=st.lists(TEXTS, max_size=3).map(tuple),
    extra=st.dictionaries(TEXTS, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=4),
    **NUMBERS,
)


@settings(max_examples=60, deadline=None)
@given(settings=SETTINGS, name=NAMES, description=TEXTS, file_format=st.sampled_from(FORMATS))
def test_an_exported_configuration_is_read_back_the_same(settings, name, description, file_format):
    config = TrainingConfig(id="", name=name, description=description, settings=settings)
    content = export_config(config, file_format).encode()
    assert parse_config(content, filename=f"any.{file_format}") == config
    assert settings_from_payload(settings_payload(settings)) == settings
    assert parse_extra(extra_text(settings.extra)) == settings.extra


def test_an_exported_file_is_pleasant_to_read():
    config = TrainingConfig(id="c1", name="Quick", settings=TrainingSettings(sample_prompts=('a "red" dot',)))
    lines = export_config(config, "toml").splitlines()
    assert lines[:4] == ['name = "Quick"', 'description = ""', "", "[settings]"]
    assert "learning_rate = 0.0001" in lines
    assert 'sample_prompts = ["a \\"red\\" dot"]' in lines


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"naem": "x"}, "naem", "no such key"),
        ({"settings": {"lerning_rate": 1}}, "settings.lerning_rate", "no such key"),
        ({"settings": {"epochs": "ten"}}, "settings.epochs", "integer"),
        ({"settings": {"epochs": True}}, "settings.epochs", "integer"),
        ({"settings": {"epochs": 1001}}, "settings.epochs", "between 1 and 1000"),
        ({"settings": {"learning_rate": 2}}, "settings.learning_rate", "between 1e-06 and 1"),
        ({"settings": {"sample_prompts": [1]}}, "settings.sample_prompts.0", "string"),
        ({"settings": {"extra": {"deep": {"er": 1}}}}, "settings.extra.deep", "valid"),
        ({"settings": {"trainer": " "}}, "settings.trainer", "at least 1"),
        ({"settings": []}, "settings", "dict"),
        ({"name": " "}, "name", "empty"),
        ({"name": "x" * 101}, "name", "101 characters"),
    ],
)
def test_an_error_names_its_key(change, key, words):
    content = json.dumps({"name": "x", "settings": {}, **change}).encode()
    with pytest.raises(InvalidRequest) as caught:
        parse_config(content, filename="x.JSON")
    assert words in caught.value.fields[key]


@pytest.mark.parametrize(
    ("content", "filename", "words"),
    [
        (b"name = ", "x.toml", "not TOML"),
        (b'{"name": ', "x.json", "line 1"),
        (b"\xff\xfe\x00", "x.toml", "not UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), "x.toml", "larger than 1 MB"),
        (b"[" * 100_000, "x.json", "nested too deeply"),
        (b"a = " + b"[" * 100_000, "x.toml", "nested too deeply"),
        (b'{"name": ' + b"9" * 5_000 + b"}", "x.json", "number that is too long"),
        (b'{"name": "a\\ud800"}', "x.json", "half a character"),
        (b'name = "x"\n[settings]\nepochs = ' + b"9" * 400, "x.toml", "cannot be used"),
        (b"[1]", "x.json", "not a configuration"),
    ],
)
def test_a_file_that_is_no_configuration_says_why(content, filename, words):
    with pytest.raises(InvalidRequest, match=words):
        parse_config(content, filename=filename)


def test_a_missing_name_is_named():
    with pytest.raises(InvalidRequest) as caught:
        parse_config(b"[settings]\n", filename="x.toml")
    assert set(caught.value.fields) == {"name"}


def test_a_jobs_copy_of_another_make_keeps_what_can_be_understood():
    payload = {"epochs": 7.0, "learning_rate": 1, "batch_size": "4", "seed": True, "extra": 1, "unet": "x"}
    assert settings_from_payload(payload) == replace(TrainingSettings(), epochs=7, learning_rate=1.0)
    for value in (float("nan"), float("inf"), 10**400):
        assert settings_from_payload({"epochs": value, "learning_rate": value}) == TrainingSettings()


@pytest.mark.parametrize("text", ["clip_skip", "a = " + "[" * 100_000, "a = " + "9" * 5_000])
def test_further_options_that_cannot_be_read_say_so(text):
    with pytest.raises(InvalidRequest) as caught:
        parse_extra(text)
    assert "key = value" in caught.value.fields["extra"]
