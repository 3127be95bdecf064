"""The wizard's draft, and the texts of its review: pure functions, no Streamlit run."""

from dataclasses import replace
from functools import partial

import pytest

from lib.jobs.dataset import Dataset
from lib.jobs.job import Job, JobStatus
from lib.jobs.training_settings import SETTINGS, TrainingConfig, TrainingSettings, setting_problems, settings_payload
from lib.sources.protocol import Preview
from lib.ui.parts.settings_table import setting_rows, settings_table
from lib.ui.wizard.draft import (
    Draft,
    DraftData,
    changed_settings,
    chosen_id,
    dataset_problem,
    name_problem,
    next_name,
    read_draft,
    settings_problem,
    starting_settings,
    time_limit_minutes,
    time_limit_problem,
    unknown_parameters,
)
from lib.ui.wizard.review_step import changes_table, estimate_text, limit_warning, steps_text, sweep_disk_warning

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
    draft = read_draft({"from": "j1", "name": "second try", "epochs": "5"}, JOB, suggested_name="first try (2)")
    assert draft == Draft(
        step=2, dataset_id="d1", config_id="c1", name="second try", from_job="j1", changes={"epochs": "5"}
    )
    assert read_draft({"from": "j1", "name": ""}, JOB, suggested_name="first try (2)").name == ""
    assert read_draft({"from": "j1"}, JOB, suggested_name="first try (2)").name == "first try (2)"
    assert read_draft({"from": "j1", "step": "1"}, JOB).step == 1
    assert read_draft({"from": "gone"}).step == 1


@pytest.mark.parametrize(
    ("name", "taken", "suggested"),
    [
        ("killed one", [], "killed one (2)"),
        ("killed one", ["Killed  One (2)", "killed one (3)"], "killed one (4)"),
        ("killed one (2)", ["killed one", "killed one (2)"], "killed one (3)"),
        ("killed one (9)", [], "killed one (10)"),
        ("epoch (1)", [], "epoch (1) (2)"),
        ("v(2)", [], "v(2) (2)"),
        ("(2)", [], "(2) (2)"),
        ("n" * 200, [], "n" * 196 + " (2)"),
    ],
)
def test_another_try_gets_the_next_free_number(name, taken, suggested):
    assert next_name(name, taken) == suggested
    assert not name_problem(suggested)


def test_marks_are_settings_that_have_a_field():
    params = {"mark": "learning_rate,,batch_size,trainer,nonsense"}
    assert read_draft(params).marks == ("learning_rate", "batch_size")
    assert unknown_parameters(params) == ["mark=nonsense"]


def test_a_step_is_complete_when_nothing_is_missing_or_out_of_range():
    problem = partial(settings_problem, settings=VALUES, limit_min=None, has_settings=True)
    assert problem("x") == ""
    assert problem(" ") == "Give the job a name first."
    assert problem("n" * 201) == "The job name has 201 characters; at most 200 are allowed."
    assert problem("x", settings=replace(VALUES, batch_size=65)) == "Batch size must be between 1 and 64."
    assert problem("x", limit_min=0).startswith("Time limit (minutes): Must be between 1")
    assert problem("x", has_settings=False) == "Choose a configuration first."


def test_only_where_images_can_be_uploaded_is_it_advised():
    empty = Dataset(id="d", name="d", image_count=0)
    assert dataset_problem(None, takes_uploads=True) == "Choose a dataset first."
    assert dataset_problem(empty, takes_uploads=True) == "The dataset has no images. Upload some first."
    assert dataset_problem(empty, takes_uploads=False) == "The dataset has no images. Choose another one."
    assert not dataset_problem(replace(empty, image_count=None), takes_uploads=True)


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
    data = DraftData(main=Dataset(id="d1", name="d", image_count=17))
    text = steps_text(data, replace(VALUES, repeats=2))
    assert text == "17 images × 2 repeats × 3 epochs / batch size 2 = 51 steps"
    in_buckets = steps_text(data, replace(VALUES, repeats=2), 60)
    assert in_buckets == "17 images × 2 repeats × 3 epochs / batch size 2 within each aspect ratio = 60 steps"
    one = DraftData(main=Dataset(id="d1", name="d", image_count=1))
    shared = replace(VALUES, repeats=2, gpus=2, gradient_accumulation=2)
    assert "/ 2 batches per step / 2 cards = 20 steps" in steps_text(data, shared, 20)
    assert steps_text(one, TrainingSettings(epochs=1)) == "1 image × 1 repeat × 1 epoch / batch size 1 = 1 step"
    assert steps_text(DraftData(main=Dataset(id="d", name="d")), VALUES).startswith("unknown")


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


def test_the_review_begins_with_what_differs_and_says_from_what():
    others = {"Configuration": CONFIG.settings, "Job before": replace(VALUES, seed=7)}
    assert changes_table(VALUES, others).splitlines() == [
        "| Setting | This job | Configuration | Job before |",
        "|---|---|---|---|",
        "| Base model | **none** | m\\|odel | :gray[none] |",
        "| Epochs | **3** | 9 | :gray[3] |",
        "| Seed | **42** | :gray[42] | 7 |",
    ]
    assert changes_table(VALUES, {"Configuration": VALUES}) == ""
    assert changes_table(VALUES, {}) == ""


def test_the_review_shows_no_secret():
    assert "s3cret" not in changes_table(VALUES, {"Configuration": replace(VALUES, extra={"hf_token": "s3cret"})})
    secret = replace(VALUES, extra={"hf_token": "s3cret", "clip_skip": 2})
    rows = setting_rows(
        settings_payload(secret), replace(CONFIG, settings=replace(secret, extra={"hf_token": "s3cret"}))
    )
    assert rows[-1].value == "hf_token = (not shown), clip_skip = 2"
    assert rows[-1].configured == "hf_token = (not shown)"


@pytest.mark.parametrize(
    ("writes", "free", "is_said"),
    [((6, 6), 10, True), ((6, 3), 10, False), ((12, 6), 10, False), ((6, 6), None, False)],
)
def test_a_sweep_that_the_disk_holds_only_in_part_is_warned_of(
    writes: tuple[int, ...], free: int | None, is_said: bool
) -> None:
    """What not even one job has room for is refused, not warned of."""
    previews = [Preview(writes_bytes=each << 30, free_bytes=None if free is None else free << 30) for each in writes]
    told = "The 2 jobs together write about 12 GB, but only 10 GB are free: "
    assert sweep_disk_warning(previews).startswith(told) is is_said
    assert bool(sweep_disk_warning(previews)) is is_said
