"""The wizard, step by step, in every state."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from streamlit.testing.v1 import AppTest

from lib import services
from lib.errors import InvalidRequest, SourceUnavailable, StoreError, SubmissionUnsure
from lib.jobs.dataset import Dataset
from lib.jobs.job import Job, JobStatus
from lib.jobs.training_settings import TrainingConfig, TrainingSettings, settings_payload
from lib.sources.protocol import Action, Preview
from tests.making import NOW
from tests.pages.reading import button, markdown, texts

SETTINGS = TrainingSettings(epochs=9, learning_rate=1e-3)
FOREIGN = "<b>x</b> ![](http://x.example/y.png) \u202e\u0627 ../ $a$"


@pytest.fixture
def filled(source):
    """A source with two datasets, two configurations and a failed job."""
    source.datasets.kept = {
        "d1": Dataset(id="d1", name="Alpha", image_count=16, caption_count=16),
        "d2": Dataset(id="d2", name=FOREIGN, image_count=4),
        "d3": Dataset(id="d3", name="Without", image_count=0, status="empty"),
    }
    source.configs.kept = {
        "c1": TrainingConfig(id="c1", name="Quick", settings=SETTINGS, is_default=True),
        "c2": TrainingConfig(id="c2", name=FOREIGN, settings=TrainingSettings(epochs=2), description=FOREIGN),
    }
    job = Job(id="j1", name="broke", status=JobStatus.FAILED, dataset_id="d2", config_id="c1", created_at=NOW)
    source.add(replace(job, settings=settings_payload(replace(SETTINGS, batch_size=4))))
    return source


@pytest.fixture
def open_wizard(open_page):
    """``open_wizard(step="2")``."""
    return partial(open_page, "new_job")


def test_the_dataset_of_the_last_job_is_chosen_else_the_newest_with_images(source, open_wizard):
    sets = [("d1", "Aaa", 0, 9), ("d2", "Bbb", 4, 1), ("d3", "Ccc", 4, 3), ("d4", "Ddd", None, 2)]
    source.datasets.kept = {
        id_: Dataset(id=id_, name=name, image_count=count, created_at=NOW + timedelta(days=day))
        for id_, name, count, day in sets
    }
    assert box(open_wizard(), "Dataset").value == "d3"
    for number, used in enumerate(("d4", "d2", "d1", "gone")):
        at = NOW + timedelta(hours=number)
        source.add(Job(id=used, name=used, status=JobStatus.FAILED, dataset_id=used, created_at=at))
    services.forget_reads()
    app = open_wizard()
    assert box(app, "Dataset").value == "d2"
    assert not button(app, "Next").disabled
    assert box(open_wizard(datasetId="d1"), "Dataset").value == "d1"


def box(app: AppTest, label: str):
    return next(each for each in [*app.selectbox, *app.text_input, *app.number_input] if each.label == label)


def param(app: AppTest, name: str) -> str | None:
    values = app.query_params.get(name)
    return values[0] if isinstance(values, list) else values


def progress(app: AppTest) -> tuple[int, str]:
    (bar,) = app.get("progress")
    return bar.proto.value, bar.proto.text


def test_three_steps_make_one_job(filled, open_wizard):
    app = open_wizard()
    assert [each.value for each in app.header] == ["Select Dataset"]
    assert progress(app) == (33, "Step 1 of 3")
    app = box(app, "Dataset").select("d1").run()
    assert param(app, "datasetId") == "d1"
    app = button(app, "Next").click().run()
    assert [each.value for each in app.header] == ["Configure Training"]
    assert box(app, "Configuration").value == "c1"
    app = box(app, "Job name").set_value("my job").run()
    app = box(app, "Epochs").set_value(5).run()
    assert "the configuration says 9" in texts(app)
    app = box(app, "Time limit (minutes)").set_value(90).run()
    assert "stopped after 1h 30m 0s" in texts(app)
    app = button(app, "Next").click().run()
    assert progress(app) == (100, "Step 3 of 3")
    assert "**Time limit:** 1h 30m 0s" in texts(app)
    assert "16 images × 1 repeat × 5 epochs / batch size 1 = 80 steps" in texts(app)
    assert "train my job" in app.code[0].value.replace("'", "")
    assert {name: param(app, name) for name in ("datasetId", "configId", "name", "epochs", "timeLimit", "step")} == {
        "datasetId": "d1",
        "configId": "c1",
        "name": "my job",
        "epochs": "5",
        "timeLimit": "90",
        "step": "3",
    }
    sent = []
    filled.on_create = sent.append
    app = button(app, "Start training").click().run()
    (job,) = [each for each in filled.jobs.values() if each.name == "my job"]
    assert (job.dataset_id, job.config_id, job.status) == ("d1", "c1", JobStatus.PENDING)
    assert [request.time_limit_s for request in sent] == [5_400]
    assert job.time_limit_s == 5_400


def test_next_without_a_name_stays_and_says_so(filled, open_wizard):
    app = button(open_wizard(step="2", datasetId="d1", name=" "), "Next").click().run()
    assert [each.value for each in app.header] == ["Configure Training"]
    assert texts(app).count("Give the job a name first") == 2, (
        "beside the field and, on a phone far from it, the button"
    )
    box(app, "Job name").set_value("now it has one")
    app = button(app, "Next").click().run()  # typed and clicked in one go
    assert [each.value for each in app.header] == ["Review and Start"]
    assert "**Job name:** now it has one" in texts(app)


def test_what_is_out_of_range_or_too_long_stays_as_typed_and_next_says_the_limit(filled, open_wizard):
    app = open_wizard(step="2", datasetId="d1", configId="c1")
    box(app, "Job name").set_value("n" * 201)
    box(app, "Batch size").set_value(65)
    box(app, "Time limit (minutes)").set_value(43_201)
    app = button(app, "Next").click().run()
    assert [each.value for each in app.header] == ["Configure Training"]
    (refusal,) = [each.value.replace("\\", "") for each in app.error]
    assert "Job name: The job name has 201 characters; at most 200 are allowed." in refusal
    assert "Batch size: Must be between 1 and 64." in refusal
    assert "Time limit (minutes): Must be between 1 and 43200" in refusal
    assert (len(box(app, "Job name").value), box(app, "Batch size").value) == (201, 65)
    box(app, "Job name").set_value("n" * 200)
    box(app, "Batch size").set_value(64)
    box(app, "Time limit (minutes)").set_value(None)
    app = button(app, "Next").click().run()
    assert [each.value for each in app.header] == ["Review and Start"]
    assert not app.error


def test_a_link_to_the_review_with_a_value_out_of_range_leads_to_its_field(filled, open_wizard):
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x", batch_size="0")
    assert [each.value for each in app.header] == ["Configure Training"]
    assert "Must be between 1 and 64" in texts(app)
    app = box(app, "Batch size").set_value(4).run()
    assert [each.value for each in app.header] == ["Configure Training"], "a mended field does not leave the step"


def test_a_default_that_nobody_touched_is_in_the_link_too(filled, open_wizard):
    app = button(open_wizard(), "Next").click().run()
    app = button(app, "Next").click().run()
    assert {name: param(app, name) for name in ("datasetId", "configId")} == {"datasetId": "d2", "configId": "c1"}


def test_back_keeps_what_was_chosen(filled, open_wizard):
    app = open_wizard(step="3", datasetId="d2", configId="c2", name="kept", epochs="7")
    app = button(app, "Back").click().run()
    assert box(app, "Configuration").value == "c2"
    assert (box(app, "Job name").value, box(app, "Epochs").value) == ("kept", 7)
    app = button(app, "Back").click().run()
    assert box(app, "Dataset").value == "d2"


def test_another_configuration_starts_from_its_values(filled, open_wizard):
    app = open_wizard(step="2", configId="c1", name="kept", epochs="7")
    app = box(app, "Configuration").select("c2").run()
    assert (box(app, "Epochs").value, box(app, "Job name").value) == (2, "kept")
    assert param(app, "epochs") is None


def test_a_retry_takes_dataset_name_and_the_jobs_own_settings(filled, open_wizard):
    app = open_wizard(**{"from": "j1", "step": "2"})
    assert (box(app, "Job name").value, box(app, "Batch size").value) == ("broke", 4)
    assert "Starts from the job broke" in texts(app)
    assert "the configuration says 1" in texts(app)
    app = box(app, "Learning rate").set_value(5e-4).run()
    app = button(app, "Next").click().run()
    app = button(app, "Start training").click().run()
    made = filled.jobs["job-0002"]
    assert (made.name, made.dataset_id) == ("broke", "d2")


def test_a_retry_offers_the_jobs_time_limit_and_one_that_was_emptied_stays_empty(filled, open_wizard):
    filled.add(replace(filled.jobs["j1"], time_limit_s=5_400))
    app = open_wizard(**{"from": "j1", "step": "2"})
    limit = box(app, "Time limit (minutes)")
    assert limit.value == 90
    app = button(limit.set_value(None).run(), "Next").click().run()
    assert "**Time limit:** none" in texts(app)
    app = button(app, "Back").click().run()
    assert box(app, "Time limit (minutes)").value is None
    app = open_wizard(**{"from": "j1", "step": "2", "epochs": "3"})
    app = button(app, "Reset to the configuration").click().run()
    assert box(app, "Time limit (minutes)").value == 90


def test_a_reset_goes_back_to_the_configuration(filled, open_wizard):
    app = open_wizard(**{"from": "j1", "step": "2", "epochs": "3"})
    app = button(app, "Reset to the configuration").click().run()
    assert (box(app, "Batch size").value, box(app, "Epochs").value) == (1, 9)
    assert box(app, "Job name").value == "broke"
    assert "configuration says" not in texts(app)


def test_the_same_draft_makes_no_second_job(filled, open_wizard):
    url = {"step": "3", "datasetId": "d1", "configId": "c1", "name": "twice", "draft": "draft-1"}
    for _ in range(2):
        button(open_wizard(**url), "Start training").click().run()
    assert len([job for job in filled.jobs.values() if job.name == "twice"]) == 1


def test_a_link_that_was_used_before_says_so_and_offers_another(filled, open_wizard):
    filled.now = lambda: NOW - timedelta(minutes=2)
    url = {"step": "3", "datasetId": "d1", "configId": "c1", "name": "old", "draft": "draft-1"}
    app = button(open_wizard(**url), "Start training").click().run()
    assert "was started already" in texts(app)
    app = button(app, "Start another one like it").click().run()
    assert param(app, "draft") is None
    app = button(app, "Start training").click().run()
    assert len([job for job in filled.jobs.values() if job.name == "old"]) == 2


def test_a_refusal_is_said_and_the_button_works_again(filled, open_wizard):
    app = open_wizard(step="3", datasetId="d1", configId="c1", name=" ")
    app = button(app, "Start training").click().run()
    assert "The job name is empty" in texts(app)
    assert not button(app, "Start training").disabled
    app = button(app, "Back").click().run()
    app = box(app, "Job name").set_value("named").run()
    app = button(app, "Next").click().run()
    button(app, "Start training").click().run()
    assert [job.name for job in filled.jobs.values()] == ["broke", "named"]


def test_a_refusal_names_the_fields_by_their_labels(filled, open_wizard):
    def refuse(_request):
        raise InvalidRequest("The job cannot be created.", fields={"dataset_id": "There is no such dataset."})

    filled.on_create = refuse
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x")
    app = button(app, "Start training").click().run()
    assert "- Dataset: There is no such dataset." in texts(app)


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (SubmissionUnsure("No answer: it may or may not have been created."), "It is not known whether the job was"),
        (SourceUnavailable("No answer."), "The job was not created"),
        (StoreError("The disk is full."), "The job was not created"),
    ],
)
def test_what_became_of_a_failed_submission_is_said_truly(filled, open_wizard, error, title):
    def fail(_request):
        raise error

    filled.on_create = fail
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x")
    app = button(app, "Start training").click().run()
    (shown,) = [each.value for each in app.error]
    assert title in shown
    draft = param(app, "draft")
    app = button(app, "Start training").click().run()
    assert param(app, "draft") == draft, "asking again is the same submission"
    is_unsure = isinstance(error, SubmissionUnsure)
    assert any(each.label == "Start another one like it" for each in app.button) is is_unsure
    if is_unsure:
        app = button(app, "Start another one like it").click().run()
        assert param(app, "draft") is None
        assert not button(app, "Start training").disabled


def test_a_refused_submission_is_forgotten_with_its_draft(filled, open_wizard):
    """The dataset went while the job was being sent: the refusal must not turn up beside the next choice."""
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x")

    def fail(_request):
        del filled.datasets.kept["d1"]
        services.forget_reads()
        raise InvalidRequest("The job cannot be created.")

    filled.on_create = fail
    app = button(app, "Start training").click().run()
    assert [each.value for each in app.header] == ["Select Dataset"]
    app = box(app, "Dataset").select("d2").run()
    for _ in range(2):
        app = button(app, "Next").click().run()
    assert [each.value for each in app.header] == ["Review and Start"]
    assert not app.error


def test_a_time_limit_below_the_estimate_is_warned_of_and_not_refused(filled, open_wizard):
    filled.on_preview = lambda _request: Preview(estimate_s=401.0)
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x", timeLimit="1")
    assert [each.value.replace("\\", "") for each in app.warning] == [
        "The time limit of 1m 0s is shorter than the estimated 6m 41s: the training would be stopped before its end."
    ]
    assert not button(app, "Start training").disabled


def test_what_a_source_cannot_carry_stands_in_the_review(filled, open_wizard):
    warnings = ("The API knows no time limit; it is left out.", "Seed is left out.")
    filled.on_preview = lambda _request: Preview(warnings=warnings)
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x", timeLimit="5")
    assert [each.value.replace("\\", "") for each in app.warning] == list(warnings)
    assert not button(app, "Start training").disabled


@pytest.mark.parametrize("name", [FOREIGN, "n" * 5_000, "a/../b", "\0nul", "新しい 🎉"])
def test_any_name_can_be_reviewed_and_sent(filled, open_wizard, name):
    app = open_wizard(step="3", datasetId="d2", configId="c2", name=name)
    assert not app.exception
    assert not app.error
    assert "![](" not in markdown(app).replace(app.code[0].value, "")
    button(app, "Start training").click().run()
    assert filled.jobs["job-0002"].name == name.strip()


def test_values_that_cannot_be_used_are_named(filled, open_wizard):
    app = open_wizard(step="2", epochs="0", seed="x", learning_rate="1", timeLimit="-1")
    assert "left out: seed=x" in texts(app)
    assert (box(app, "Epochs").value, box(app, "Learning rate").value) == (0, 1.0)
    assert box(app, "Time limit (minutes)").value == -1
    assert texts(app).count("Must be between") == 2


def test_a_dataset_without_images_goes_no_further(filled, open_wizard):
    app = open_wizard(step="3", datasetId="d3", name="x")
    assert [each.value for each in app.header] == ["Select Dataset"]
    assert button(app, "Next").disabled
    assert "no images" in texts(app)


@pytest.mark.parametrize(("gone", "step"), [({"datasetId": "gone"}, "1"), ({"configId": "gone"}, "3")])
def test_a_choice_that_is_gone_is_said(filled, open_wizard, gone, step):
    app = open_wizard(step=step, **gone)
    assert "gone is not there any more" in texts(app)
    assert button(app, "Next").disabled


def test_a_job_to_start_from_that_is_gone_is_said_and_the_wizard_goes_on(filled, open_wizard):
    app = open_wizard(**{"from": "gone"})
    assert "no job with the id" in texts(app)
    assert not button(app, "Next").disabled


def test_nothing_to_choose_from(source, open_wizard):
    app = open_wizard()
    assert "There are no datasets yet" in texts(app)
    assert button(app, "Next").disabled


def test_a_source_that_is_down_is_said(filled, open_wizard):
    filled.failing = SourceUnavailable("The source does not answer.", hint="Try again.")
    app = open_wizard()
    assert "The source does not answer" in texts(app)
    filled.failing = None
    assert [each.value for each in button(app, "Retry").click().run().header] == ["Select Dataset"]
    assert not app.exception


def test_a_source_that_creates_no_jobs_says_why(filled, open_wizard):
    filled.refused = {Action.CREATE: "Jobs are made elsewhere."}
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x")
    assert "Jobs are made elsewhere" in texts(app)
    assert button(app, "Start training").disabled


def test_what_a_link_says_and_the_wizard_does_not_have_is_named(filled, open_wizard):
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x", learningRate="1", epochs="4")
    (said,) = [each.value.replace("\\", "") for each in app.warning]
    assert said == "The link has values that cannot be used and were left out: learningRate=1"
    assert not open_wizard(step="3", datasetId="d1", configId="c1", name="x", timeLimit="5", draft="a").warning


def test_what_stands_against_a_configuration_is_said_when_it_is_chosen(filled, open_wizard):
    def preview(request):
        return Preview(problems=() if request.settings.base_model else ("No base model is set.",))

    filled.on_preview = preview
    app = open_wizard(step="2", datasetId="d1", configId="c1")
    assert [each.value for each in app.warning] == ["No base model is set\\."]
    app = box(app, "Base model").set_value("sd15").run()
    assert not app.warning
    assert "No base model is set" in app.success[0].value, "the box stays, so that nothing moves"


def test_a_fraction_where_a_whole_number_belongs_is_shown_as_it_is(filled, open_wizard):
    odd = TrainingSettings(network_alpha=0.5)  # type: ignore[arg-type]
    filled.configs.kept["c1"] = TrainingConfig(id="c1", name="Quick", settings=odd)
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x")
    assert box(app, "Network alpha").value == 0.5
    assert "Must be between 1 and 512." in texts(app)
    app = box(app, "Network alpha").set_value(4.0).run()
    button(app, "Next").click().run()
    assert param(app, "network_alpha") == "4"


def test_a_click_right_after_typing_takes_along_what_was_typed(filled, open_wizard):
    """The browser sends the click with the URL it had before it heard of the change."""
    app = open_wizard(step="2", datasetId="d1", configId="c1")
    box(app, "Job name").set_value("first")
    box(app, "Learning rate").set_value(0.0005)
    box(app, "Time limit (minutes)").set_value(90)
    app.run()
    for name in ("name", "learning_rate", "timeLimit"):
        del app.query_params[name]
    button(app, "Next").click().run()
    assert [each.value for each in app.header] == ["Review and Start"]
    assert (param(app, "name"), param(app, "learning_rate"), param(app, "timeLimit")) == ("first", "0.0005", "90")


def test_another_configuration_chosen_right_before_the_click_is_the_one_that_counts(filled, open_wizard):
    app = open_wizard(step="2", datasetId="d1", configId="c1", name="first")
    box(app, "Epochs").set_value(3).run()
    box(app, "Configuration").set_value("c2")
    button(app, "Next").click().run()
    assert (param(app, "configId"), param(app, "epochs"), param(app, "step")) == ("c2", None, "3")
