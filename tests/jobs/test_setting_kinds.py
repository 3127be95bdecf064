"""Training settings by their table: how values are read, checked and shown."""

from dataclasses import fields, replace

import pytest

from lib.jobs.setting_kinds import value_text
from lib.jobs.training_settings import (
    NUMBERS,
    PROMPTS,
    SETTINGS,
    TrainingSettings,
    setting_problems,
    settings_from_payload,
    settings_payload,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "0.0001"),
        (1e-6, "1e-6"),
        (16, "16"),
        ("", "none"),
        (("a", "b"), "a; b"),
        ({}, "none"),
        ({"a": True, "b": "True"}, "a = true, b = True"),
    ],
)
def test_values_read_well(value, text):
    assert value_text(value) == text


def test_ranges_have_their_units():
    texts = {number.name: number.range_text for number in NUMBERS}
    assert texts["learning_rate"] == "1e-6 to 1"
    assert texts["batch_size"] == "1 to 64 images per step"
    assert texts["resolution"] == "128 to 2048 px"


def test_prompts_are_lines():
    assert PROMPTS.parse(" a \n\n b\r\n") == ("a", "b")


def test_every_setting_is_in_the_table_and_its_default_is_fine():
    assert list(SETTINGS) == [each.name for each in fields(TrainingSettings)]
    assert setting_problems(TrainingSettings()) == {}
    assert settings_from_payload(settings_payload(TrainingSettings())) == TrainingSettings()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", 0, "Epochs must be between 1 and 1000."),
        ("epochs", 2.5, "Epochs must be a whole number."),
        ("learning_rate", float("nan"), "Learning rate must be a number."),
        ("trainer", " ", "Trainer must not be empty."),
        ("base_model", "m" * 1_001, "Base model must have at most 1,000 characters, not 1,001."),
        ("sample_prompts", ("p" * 5_001,), "Sample prompts must have at most 5,000 characters, not 5,001."),
        ("extra", {"a": {"b": 1}}, "Further options cannot hold a table or a time: 'a'."),
    ],
)
def test_what_is_wrong_with_a_value_is_said_with_its_label_and_beside_it_without(name, value, words):
    assert setting_problems(replace(TrainingSettings(), **{name: value})) == {name: words}
    note = SETTINGS[name].note(value)
    assert note[0].isupper()
    assert note.lower() in words.lower()


def test_no_two_settings_share_a_dictionary():
    first, second = TrainingSettings(), TrainingSettings()
    assert first.extra is not second.extra


@pytest.mark.parametrize("name", ["epochs", "learning_rate"])
def test_a_text_that_is_no_number_says_so(name):
    for text in ("many", "", "inf"):
        with pytest.raises(ValueError, match=r"Must be a (whole )?number\."):
            SETTINGS[name].parse(text)
