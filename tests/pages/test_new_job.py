"""The wizard, step by step, in every state."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from streamlit.testing.v1 import AppTest

from lib import services
from lib.errors import InvalidRequest, SourceUnavailable, StoreError, SubmissionUnsure
from lib.jobs.dataset import Dataset
from lib.jobs.job import Failure, Job, JobLink, JobStatus
from lib.jobs.training_settings import TrainingConfig, TrainingSettings, settings_payload
from lib.sources.memory import NO_DATASETS, MemoryDatasets, MemorySource
from lib.sources.protocol import Action, Preview
from lib.ui.wizard.draft import STEPS
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


def steps(app: AppTest):
    """The control that shows the three steps and leads to one."""
    (control,) = [each for each in app.get("button_group") if each.key == "wizard-step"]
    return control


def heading(app: AppTest) -> str:
    """The step that is shown; the control says the same."""
    (header,) = app.header
    assert STEPS[steps(app).value - 1] == header.value
    return header.value


def test_three_steps_make_one_job(filled, open_wizard):
    app = open_wizard()
    assert heading(app) == "Select Dataset"
    assert list(steps(app).options) == [
        "1 · Select Dataset",
        "2 · Configure Training",
        "3 · Review and Start",
    ]
    app = box(app, "Dataset").select("d1").run()
    assert param(app, "datasetId") == "d1"
    app = button(app, "Next").click().run()
    assert heading(app) == "Configure Training"
    assert box(app, "Configuration").value == "c1"
    app = box(app, "Job name").set_value("my job").run()
    app = box(app, "Epochs").set_value(5).run()
    assert "the configuration says 9" in texts(app)
    app = box(app, "Time limit (minutes)").set_value(90).run()
    assert "stopped after 1h 30m 0s" in texts(app)
    app = button(app, "Next").click().run()
    assert [each.value for each in app.subheader] == ["What is different"]
    assert "| Epochs | **5** | 9 |" in texts(app)
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
    assert [(request.time_limit_s, request.retry_of) for request in sent] == [(5_400, None)]
    assert job.time_limit_s == 5_400


def test_next_without_a_name_stays_and_says_so(filled, open_wizard):
    app = button(open_wizard(step="2", datasetId="d1", name=" "), "Next").click().run()
    assert heading(app) == "Configure Training"
    assert texts(app).count("Give the job a name first") == 2, "beside the field and above the button"
    box(app, "Job name").set_value("now it has one")
    app = button(app, "Next").click().run()  # typed and clicked in one go
    assert heading(app) == "Review and Start"
    assert "**Job name:** now it has one" in texts(app)


def test_what_is_out_of_range_or_too_long_stays_as_typed_and_next_says_the_limit(filled, open_wizard):
    app = open_wizard(step="2", datasetId="d1", configId="c1")
    box(app, "Job name").set_value("n" * 201)
    box(app, "Batch size").set_value(65)
    box(app, "Time limit (minutes)").set_value(43_201)
    app = button(app, "Next").click().run()
    assert heading(app) == "Configure Training"
    (refusal,) = [each.value.replace("\\", "") for each in app.error]
    assert "Job name: The job name has 201 characters; at most 200 are allowed." in refusal
    assert "Batch size: Must be between 1 and 64." in refusal
    assert "Time limit (minutes): Must be between 1 and 43200" in refusal
    assert (len(box(app, "Job name").value), box(app, "Batch size").value) == (201, 65)
    box(app, "Job name").set_value("n" * 200)
    box(app, "Batch size").set_value(64)
    box(app, "Time limit (minutes)").set_value(None)
    app = button(app, "Next").click().run()
    assert heading(app) == "Review and Start"
    assert not app.error


def test_a_link_to_the_review_with_a_value_out_of_range_leads_to_its_field(filled, open_wizard):
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x", batch_size="0")
    assert heading(app) == "Configure Training"
    assert "Must be between 1 and 64" in texts(app)
    app = box(app, "Batch size").set_value(4).run()
    assert heading(app) == "Configure Training", "a mended field does not leave the step"


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


def test_a_retry_starts_at_its_settings_under_a_new_name_and_both_jobs_know_each_other(filled, open_wizard):
    app = open_wizard(**{"from": "j1"})
    assert heading(app) == "Configure Training"
    assert (box(app, "Job name").value, box(app, "Batch size").value) == ("broke (2)", 4)
    assert "Retry of" in texts(app)
    assert "broke => job?id=j1" in texts(app)
    assert "the configuration says 1" in texts(app)
    app = box(app, "Learning rate").set_value(5e-4).run()
    app = button(app, "Next").click().run()
    assert "| Setting | This job | Configuration | Job before |" in texts(app)
    assert "| Batch size | **4** | 1 | :gray[4] |" in texts(app)
    assert "| Learning rate | **0.0005** | 0.001 | 0.001 |" in texts(app)
    app = button(app, "Start training").click().run()
    made = filled.get_job("job-0002")
    assert (made.name, made.dataset_id, made.retry_of) == ("broke (2)", "d2", JobLink(id="j1", name="broke"))
    assert filled.get_job("j1").retried_as == (JobLink(id="job-0002", name="broke (2)"),)
    services.forget_reads()
    assert box(open_wizard(**{"from": "j1"}), "Job name").value == "broke (3)"
    assert box(open_wizard(**{"from": "job-0002"}), "Job name").value == "broke (3)"


def test_what_takes_over_the_values_of_a_success_is_no_retry_of_it(filled, open_wizard):
    filled.add(replace(filled.jobs["j1"], status=JobStatus.SUCCEEDED))
    app = open_wizard(**{"from": "j1"})
    assert "Starts from the job" in texts(app)
    assert box(app, "Job name").value == "broke (2)"
    app = button(app, "Next").click().run()
    button(app, "Start training").click().run()
    assert filled.jobs["job-0002"].retry_of is None


def test_the_suspected_settings_come_first_with_the_reason(filled, open_wizard):
    failure = Failure(cause="nan_loss", message="The loss became *NaN*.", hint="Lower the learning rate.")
    filled.add(replace(filled.jobs["j1"], failure=failure))
    assert "Suspected cause" not in texts(open_wizard(**{"from": "j1"}))
    app = open_wizard(**{"from": "j1", "mark": "learning_rate,base_model,trainer,nonsense"})
    assert "Suspected cause" in texts(app)
    assert "The loss became *NaN*. Lower the learning rate." in texts(app)
    assert "left out: mark=nonsense" in texts(app)
    assert app.number_input[0].label == "Learning rate"
    assert app.text_input[0].label == "Base model"
    labels_of_fields = [each.label for each in [*app.number_input, *app.text_input]]
    assert len(labels_of_fields) == len(set(labels_of_fields)), "a marked field is not there twice"
    box(app, "Learning rate").set_value(1e-5)
    app = button(app, "Next").click().run()
    assert "| Learning rate | **1e-5** |" in texts(app)
    app = button(app, "Back").click().run()
    app = button(app, "Reset to the configuration").click().run()
    assert "Suspected cause" not in texts(app), "it belongs to the job, which is dropped"


def jump(app: AppTest, step: int) -> AppTest:
    """Click on a step."""
    return steps(app).set_value(step).run()


def test_a_click_on_a_step_leads_there_and_keeps_what_was_entered(filled, open_wizard):
    app = jump(open_wizard(), 2)
    assert heading(app) == "Configure Training"
    assert param(app, "datasetId") == "d2"
    box(app, "Job name").set_value("clicked")
    app = jump(app, 3)
    assert heading(app) == "Review and Start"
    assert "**Job name:** clicked" in texts(app)
    app = jump(app, 1)
    assert heading(app) == "Select Dataset"
    box(app, "Dataset").set_value("d1")
    app = jump(app, 3)
    assert heading(app) == "Review and Start"
    assert (param(app, "datasetId"), param(app, "name")) == ("d1", "clicked")


def test_a_step_that_cannot_be_reached_yet_says_why(filled, open_wizard):
    app = jump(open_wizard(), 3)
    assert heading(app) == "Configure Training"
    assert "Give the job a name first" in texts(app)
    app = jump(app, 3)
    assert heading(app) == "Configure Training"
    assert "Not yet" in texts(app)
    filled.datasets.kept = {"d3": filled.datasets.kept["d3"]}
    services.forget_reads()
    app = jump(open_wizard(), 2)
    assert heading(app) == "Select Dataset"
    assert "The dataset has no images." in texts(app)


def test_a_link_to_a_step_opens_it_once_those_before_are_complete(filled, open_wizard):
    assert heading(open_wizard(step="2")) == "Configure Training"
    assert heading(open_wizard(step="3", name="x")) == "Review and Start"
    assert heading(open_wizard(step="3")) == "Configure Training"
    assert heading(open_wizard(step="2", datasetId="d3")) == "Select Dataset"
    assert heading(open_wizard(**{"from": "j1", "step": "1"})) == "Select Dataset"


def test_a_source_that_takes_no_uploads_sends_nobody_to_upload(filled, open_wizard):
    app = open_wizard(datasetId="d3")
    assert "The dataset has no images. Choose another one." in texts(app)
    kept, filled.datasets, filled.refused = filled.datasets.kept, Uploadable(filled), {}
    filled.datasets.kept = kept
    assert "The dataset has no images. Upload some first." in texts(open_wizard(datasetId="d3"))


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
    assert "2 values differ from the configuration: Epochs, Batch size" in texts(app)
    app = button(app, "Reset to the configuration").click().run()
    assert (box(app, "Batch size").value, box(app, "Epochs").value) == (1, 9)
    assert box(app, "Job name").value == "broke (2)"
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
    def refuse(request):
        if request.name == "taken":
            raise InvalidRequest("The job cannot be created.", fields={"name": "The job name is taken."})

    filled.on_create = refuse
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="taken")
    app = button(app, "Start training").click().run()
    assert "Job name: The job name is taken." in texts(app)
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
    assert heading(app) == "Select Dataset"
    app = box(app, "Dataset").select("d2").run()
    for _ in range(2):
        app = button(app, "Next").click().run()
    assert heading(app) == "Review and Start"
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


def test_the_review_counts_no_repeats_that_the_source_ignores(filled, open_wizard):
    filled.used_settings = frozenset(settings_payload(SETTINGS)) - {"repeats"}
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x", repeats="7")
    assert "16 images × 1 repeat × 9 epochs" in texts(app)


@pytest.mark.parametrize("name", [FOREIGN, "n" * 200, "a/../b", "新しい 🎉"])
def test_any_name_can_be_reviewed_and_sent(filled, open_wizard, name):
    app = open_wizard(step="3", datasetId="d2", configId="c2", name=name)
    assert not app.exception
    assert not app.error
    assert "![](" not in markdown(app).replace(app.code[0].value, "")
    button(app, "Start training").click().run()
    assert filled.jobs["job-0002"].name == name.strip()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("n" * 5_000, "The job name has 5,000 characters; at most 200 are allowed."),
        ("\0nul", "The job name has a control character (code 0). Remove it."),
    ],
)
def test_a_name_that_cannot_be_used_is_shown_in_its_field_as_it_is(filled, open_wizard, name, problem):
    app = open_wizard(step="3", datasetId="d2", configId="c2", name=name)
    assert heading(app) == "Configure Training"
    assert box(app, "Job name").value == name
    assert texts(app).count(problem) == 2, "beside the field and above the button"


def test_values_that_cannot_be_used_are_named(filled, open_wizard):
    app = open_wizard(step="2", epochs="0", seed="x", learning_rate="1", timeLimit="-1")
    assert "left out: seed=x" in texts(app)
    assert (box(app, "Epochs").value, box(app, "Learning rate").value) == (0, 1.0)
    assert box(app, "Time limit (minutes)").value == -1
    assert texts(app).count("Must be between") == 2


def test_a_dataset_without_images_goes_no_further(filled, open_wizard):
    app = open_wizard(step="3", datasetId="d3", name="x")
    assert heading(app) == "Select Dataset"
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
    assert f"There are no datasets yet. {NO_DATASETS}" in texts(app)
    assert "upload" not in texts(app).lower()
    assert button(app, "Next").disabled
    source.datasets = Uploadable(source)
    source.refused = {}
    services.forget_reads()
    assert "There are no datasets yet. Create one and upload images first." in texts(open_wizard())


class Uploadable(MemoryDatasets):
    """Datasets that can be created."""

    def __init__(self, source: MemorySource) -> None:
        super().__init__(source._called)

    def create(self, name: str) -> Dataset:
        raise NotImplementedError


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
    odd = TrainingSettings(network_dim=0.5)  # type: ignore[arg-type]
    filled.configs.kept["c1"] = TrainingConfig(id="c1", name="Quick", settings=odd)
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x")
    assert box(app, "Network dim (rank)").value == 0.5
    assert "Must be between 1 and 1000000." in texts(app)
    app = box(app, "Network dim (rank)").set_value(4.0).run()
    button(app, "Next").click().run()
    assert param(app, "network_dim") == "4"


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
    assert heading(app) == "Review and Start"
    assert (param(app, "name"), param(app, "learning_rate"), param(app, "timeLimit")) == ("first", "0.0005", "90")


def test_another_configuration_chosen_right_before_the_click_is_the_one_that_counts(filled, open_wizard):
    app = open_wizard(step="2", datasetId="d1", configId="c1", name="first")
    box(app, "Epochs").set_value(3).run()
    box(app, "Configuration").set_value("c2")
    button(app, "Next").click().run()
    assert (param(app, "configId"), param(app, "epochs"), param(app, "step")) == ("c2", None, "3")


def test_a_job_may_be_kept_from_sending_notifications(filled, open_wizard):
    url = {"step": "3", "datasetId": "d1", "configId": "c1", "name": "quiet"}
    assert not open_wizard(**url).toggle, "this source sends none"
    filled.notifies = True
    app = open_wizard(**url)
    assert [each.value for each in app.toggle] == [True]
    app = app.toggle[0].set_value(False).run()
    assert app.query_params["notify"] == "0"
    made, create = [], filled.create_job
    filled.create_job = lambda request: made.append(request) or create(request)
    button(app, "Start training").click().run()
    assert [request.notify for request in made] == [False]
    assert [each.value for each in open_wizard(**url, notify="0").toggle] == [False]
