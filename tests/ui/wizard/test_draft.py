"""The wizard's draft, and the texts of its review: pure functions, no Streamlit run."""

from dataclasses import replace

import pytest

from lib.jobs.dataset import Dataset
from lib.jobs.job import Job, JobStatus
from lib.jobs.training_settings import SETTINGS, TrainingConfig, TrainingSettings, setting_problems, settings_payload
from lib.sources.protocol import Preview
from lib.ui.parts.settings_table import setting_rows, settings_table
from lib.ui.wizard.draft import (
    Draft,
    changed_settings,
    chosen_id,
    read_draft,
    starting_settings,
    time_limit_minutes,
    time_limit_problem,
)
from lib.ui.wizard.review_step import estimate_text, limit_warning, steps_text

VALUES = TrainingSettings(epochs=3, learning_rate=2e-4, batch_size=2, sample_prompts=("a", "b"))
JOB = Job(
    id="j1",
    name="first try",
    status=JobStatus.FAILED,
    dataset_id="d1",
    config_id="c1",
    settings=settings_payload(VALUES),
)
CONFIG = TrainingConfig(id="c1", name="Quick", settings=replace(VALUES, epochs=9, base_model="m|odel"))


def test_an_empty_url_is_an_empty_draft():
    assert read_draft({}) == Draft()


def test_the_job_fills_in_what_the_url_does_not_say():
    draft = read_draft({"from": "j1", "name": "second try", "epochs": "5", "step": "2"}, JOB)
    assert draft == Draft(
        step=2, dataset_id="d1", config_id="c1", name="second try", from_job="j1", changes={"epochs": "5"}
    )
    assert read_draft({"from": "j1", "name": ""}, JOB).name == ""


@pytest.mark.parametrize("step", ["0", "4", "x", "", "2.0", "²"])
def test_a_step_that_is_none_is_the_first(step):
    assert read_draft({"step": step}).step == 1


def test_a_name_is_read_as_it_is_whatever_its_length():
    assert len(read_draft({"name": "n" * 100_000}).name) == 100_000
    assert read_draft({"name": "\0 <b> ../ \u202e"}).name == "\0 <b> ../ \u202e"


def test_values_start_from_the_jobs_own_copy():
    assert starting_settings(CONFIG, JOB) == VALUES
    assert starting_settings(CONFIG, replace(JOB, settings={})) == CONFIG.settings
    assert starting_settings(CONFIG, None) == CONFIG.settings
    assert starting_settings(None, None) == TrainingSettings()


def test_every_value_survives_the_url():
    values = {"epochs": 7, "learning_rate": 1e-6, "seed": 2**31 - 1, "base_model": "x", "sample_prompts": ("c", "d")}
    changed, problems = changed_settings(VALUES, {name: SETTINGS[name].text(value) for name, value in values.items()})
    assert changed == replace(VALUES, **values)
    assert not problems


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "2.5"),
        ("epochs", "many"),
        ("learning_rate", "nan"),
        ("batch_size", "inf"),
        ("resolution", "9" * 500),
        ("seed", str(2**53)),
    ],
)
def test_a_value_that_is_no_number_of_its_kind_is_named_and_left_out(name, text):
    changed, problems = changed_settings(VALUES, {name: text})
    assert changed == VALUES
    assert problems == [f"{name}={text[:40]}"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "0"),
        ("learning_rate", "1e-7"),
        ("seed", "-1"),
        ("base_model", "m" * 1_001),
        ("sample_prompts", "p" * 5_001),
    ],
)
def test_a_value_out_of_range_is_kept_for_its_field_and_named_there(name, text):
    changed, problems = changed_settings(VALUES, {name: text})
    assert not problems
    assert list(setting_problems(changed)) == [name]
    assert not setting_problems(VALUES)


@pytest.mark.parametrize(
    ("wanted", "default", "chosen"),
    [("b", "", "b"), ("", "b", "b"), ("", "", "a"), ("gone", "b", ""), ("", "gone", "a")],
)
def test_what_is_chosen(wanted, default, chosen):
    assert chosen_id(wanted, ["a", "b"], default) == chosen


def test_nothing_can_be_chosen_from_nothing():
    assert chosen_id("", [], "a") == ""


def test_the_review_counts_the_steps():
    dataset = Dataset(id="d1", name="d", image_count=17)
    assert (
        steps_text(dataset, replace(VALUES, repeats=2)) == "17 images × 2 repeats × 3 epochs / batch size 2 = 51 steps"
    )
    one = Dataset(id="d1", name="d", image_count=1)
    assert steps_text(one, TrainingSettings(epochs=1)) == "1 image × 1 repeat × 1 epoch / batch size 1 = 1 step"
    assert steps_text(Dataset(id="d", name="d"), VALUES).startswith("unknown")


def test_an_estimate_is_called_one():
    assert estimate_text(Preview(estimate_s=200, estimate_basis="Median of 2 former jobs.")) == (
        "about 3m 20s (an estimate: median of 2 former jobs)"
    )
    assert estimate_text(Preview()).startswith("unknown: the pace of a former job")


@pytest.mark.parametrize(("limit_s", "estimate_s"), [(None, 401.0), (60.0, None), (60.0, 60.0), (600.0, 401.0)])
def test_a_time_limit_that_is_long_enough_or_cannot_be_judged_is_not_warned_of(limit_s, estimate_s):
    assert limit_warning(limit_s, estimate_s) == ""


@pytest.mark.parametrize(("text", "minutes"), [("", None), ("1", 1), ("43200", 43_200)])
def test_a_time_limit_is_in_minutes(text, minutes):
    assert time_limit_minutes(text) == (minutes, [])

    assert not time_limit_problem(minutes)


@pytest.mark.parametrize("text", ["1.5", "²", "9" * 500, "none", "--5"])
def test_a_time_limit_that_is_no_number_is_named_and_left_out(text):
    assert time_limit_minutes(text) == (None, [f"timeLimit={text[:40]}"])


@pytest.mark.parametrize("minutes", [0, 43_201, -5])
def test_a_time_limit_out_of_range_is_kept_for_its_field_and_named_there(minutes):
    assert time_limit_minutes(str(minutes)) == (minutes, [])
    assert "between 1 and 43200" in time_limit_problem(minutes)


@pytest.mark.parametrize(("limit_s", "minutes"), [(5_400, "90"), (61.5, "2"), (0.2, "1"), (None, "")])
def test_a_jobs_time_limit_is_offered_in_whole_minutes_unless_the_url_says_another(limit_s, minutes):
    job = replace(JOB, time_limit_s=limit_s)
    assert read_draft({"from": "j1"}, job).time_limit == minutes
    assert read_draft({"from": "j1", "timeLimit": ""}, job).time_limit == ""
    assert read_draft({"from": "j1", "timeLimit": "7"}, job).time_limit == "7"


def test_one_of_a_unit_is_one():
    values = {row.label: row.value for row in setting_rows(settings_payload(TrainingSettings(epochs=1, repeats=3)))}
    assert (values["Epochs"], values["Batch size"]) == ("1 pass over the dataset", "1 image per step")
    assert values["Repeats"] == "3 times each image per epoch"


def test_the_review_marks_what_differs_and_escapes_it():
    rows = {row.label: row for row in setting_rows(settings_payload(VALUES), CONFIG)}
    assert {label for label, row in rows.items() if row.configured} == {"Epochs", "Base model"}
    assert rows["Epochs"].configured == "9"
    table = settings_table(list(rows.values()))
    assert "| Epochs | :orange[**3 passes over the dataset**, changed: the configuration says 9] |" in table
    assert "m\\|odel" in table
    assert "changed" not in settings_table(setting_rows(settings_payload(VALUES)))


def test_the_review_shows_no_secret():
    secret = replace(VALUES, extra={"hf_token": "s3cret", "clip_skip": 2})
    rows = setting_rows(
        settings_payload(secret), replace(CONFIG, settings=replace(secret, extra={"hf_token": "s3cret"}))
    )
    assert rows[-1].value == "hf_token = (not shown), clip_skip = 2"
    assert rows[-1].configured == "hf_token = (not shown)"
