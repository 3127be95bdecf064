"""Several datasets for one job: in the wizard, in the review, on the job's page, and in a retry."""

import json
from dataclasses import replace
from functools import partial

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest

from lib.jobs.dataset import Dataset
from lib.jobs.job import Job, JobStatus
from lib.jobs.more_data import MoreData, more_data_json
from lib.jobs.training_settings import TrainingConfig, TrainingSettings, settings_payload
from lib.sources.protocol import Action, Preview
from tests.making import NOW
from tests.pages.reading import button, labels, texts
from tests.pages.test_new_job import heading, param

DOG = MoreData(dataset_id="d2", name="Dog", repeats=5, class_tokens="a dog")
PERSON = MoreData(dataset_id="d3", name="Person", is_regularisation=True)
BOTH = more_data_json([replace(DOG, name=""), replace(PERSON, name="")])


@pytest.fixture
def filled(source):
    source.datasets.kept = {
        "d1": Dataset(id="d1", name="Fox", image_count=16, caption_count=16, created_at=NOW),
        "d2": Dataset(id="d2", name="Dog", image_count=4),
        "d3": Dataset(id="d3", name="Person", image_count=30),
        "d4": Dataset(id="d4", name="Without", image_count=0, status="empty"),
    }
    source.configs.kept = {"c1": TrainingConfig(id="c1", name="Quick", settings=TrainingSettings(epochs=2))}
    return source


@pytest.fixture
def open_wizard(open_page):
    return partial(open_page, "new_job")


def field(app: AppTest, label: str, number: int = 0):
    """A field of one of the lines."""
    kinds = [*app.selectbox, *app.number_input, *app.text_input, *app.checkbox]
    return next(each for each in kinds if each.label == label and each.key.startswith(f"wizard-further-{number}-"))


def said(app: AppTest) -> list[dict[str, object]]:
    return json.loads(param(app, "more") or "[]")


def test_datasets_are_added_changed_and_taken_out_again(filled, open_wizard):
    app = button(open_wizard(datasetId="d1"), "Add another dataset").click().run()
    assert said(app) == [{"dataset_id": "d2"}], "the first one that has images and is not chosen yet"
    field(app, "Repeats").set_value(5)
    field(app, "Caption prefix").set_value("sks dog, ")
    app = field(app, "Words instead of a caption").set_value("a dog").run()
    assert said(app)[0]["caption_prefix"] == "sks dog, "
    app = field(app, "Caption prefix").set_value("").run()
    app = button(app, "Add another dataset").click().run()
    assert field(app, "Further dataset", 1).value == "d3"
    app = field(app, "Regularisation", 1).check().run()
    assert param(app, "more") == BOTH
    assert button(app, "Add another dataset").disabled, "what is left has no images"
    app = app.button(key="further-0-out").click().run()
    assert said(app) == [{"dataset_id": "d3", "is_regularisation": True}]
    assert (field(app, "Further dataset").value, field(app, "Regularisation").value) == ("d3", True)
    app = app.button(key="further-0-out").click().run()
    assert param(app, "more") is None
    assert heading(app) == "Select Dataset"


def test_a_dataset_named_like_kohyas_folders_suggests_its_repeats_while_nothing_else_was_typed(filled, open_wizard):
    filled.datasets.kept["d5"] = Dataset(id="d5", name="10_cat", image_count=4, uncaptioned=("a.png",))
    app = button(open_wizard(datasetId="d1"), "Add another dataset").click().run()
    app = field(app, "Further dataset").select("d5").run()
    assert said(app) == [{"dataset_id": "d5", "repeats": 10, "class_tokens": "cat"}]
    assert field(app, "Repeats").value == 10
    app = field(app, "Further dataset").select("d3").run()
    assert said(app) == [{"dataset_id": "d3", "repeats": 10, "class_tokens": "cat"}], "what is there stays"


def test_what_was_typed_and_next_clicked_in_one_go_is_kept(filled, open_wizard):
    app = button(open_wizard(datasetId="d1"), "Add another dataset").click().run()
    field(app, "Repeats").set_value(7)
    app = button(app, "Next").click().run()
    assert heading(app) == "Configure Training"
    assert said(app) == [{"dataset_id": "d2", "repeats": 7}]
    assert "Dataset: Fox (16 images), and 1 other" in texts(app)
    app = button(app, "Back").click().run()
    assert field(app, "Repeats").value == 7


def test_what_was_typed_in_one_line_while_another_is_taken_out_is_kept_and_not_mixed_up(filled, open_wizard):
    more = more_data_json([MoreData(dataset_id="d2"), MoreData(dataset_id="d3")])
    app = open_wizard(datasetId="d1", more=more)
    field(app, "Repeats", 0).set_value(7)
    field(app, "Words instead of a caption", 1).set_value("a person")
    app = app.button(key="further-0-out").click().run()
    assert said(app) == [{"dataset_id": "d3", "class_tokens": "a person"}]
    assert (field(app, "Repeats").value, field(app, "Words instead of a caption").value) == (1, "a person")


def test_a_second_run_before_the_browser_drew_the_first_one_sends_the_values_again(filled, open_wizard):
    app = open_wizard(datasetId="d3", more=more_data_json([DOG]))
    keys = ["wizard-dataset", *(f"wizard-further-0-{name}" for name in ("dataset_id", "repeats", "class_tokens"))]

    def sent():
        widgets = {each.key: each for each in (*app.selectbox, *app.number_input, *app.text_input)}
        return [widgets[key].proto.set_value for key in keys]

    app = app.run()
    assert sent() == [False] * 4, "the browser has them, and what is typed there stays"
    app = app._run(WidgetStates())  # a browser that knows of no widget yet
    assert sent() == [True] * 4
    assert (app.selectbox(key=keys[0]).value, field(app, "Repeats").value) == ("d3", 5)


def test_another_main_dataset_and_a_line_that_is_added_in_one_go_are_both_kept(filled, open_wizard):
    app = open_wizard(datasetId="d1")
    app.selectbox(key="wizard-dataset").select("d2")
    app = button(app, "Add another dataset").click().run()
    assert (param(app, "datasetId"), said(app)) == ("d2", [{"dataset_id": "d2"}])
    assert "The dataset 'd2' is chosen twice." in texts(app)


def test_the_review_shows_them_and_the_job_has_them(filled, open_wizard, open_page):
    sent = []
    filled.on_create = sent.append
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="both", more=BOTH)
    assert heading(app) == "Review and Start"
    told = 'Dog (4 images), 5 repeats, "a dog"; Person (30 images), 1 repeat, regularisation'
    assert f"**Further datasets:** {told}" in texts(app)
    # 16 × 1 + 4 × 5; the in-memory source counts nothing itself.
    assert "36 images with repeats × 2 epochs / batch size 1, with regularisation images, = 72 steps" in texts(app)
    button(app, "Start training").click().run()
    (request,) = sent
    assert request.more_data == (replace(DOG, name=""), replace(PERSON, name=""))
    (job,) = filled.jobs.values()
    assert job.more_data == (DOG, PERSON)
    details = open_page("job", id=job.id, view="details")
    assert 'Dog, 5 repeats, "a dog" => datasets?id=d2' in texts(details)
    assert "Person, 1 repeat, regularisation => datasets?id=d3" in texts(details)


def test_a_retry_and_a_copy_take_them_over_and_they_can_be_taken_out(filled, open_wizard):
    job = Job(id="j1", name="broke", status=JobStatus.FAILED, dataset_id="d1", config_id="c1", created_at=NOW)
    filled.add(replace(job, more_data=(DOG, PERSON), settings=settings_payload(TrainingSettings())))
    app = open_wizard(**{"from": "j1", "step": "3"})
    assert "**Further datasets:** Dog (4 images), 5 repeats" in texts(app)
    button(app, "Start training").click().run()
    assert filled.jobs["job-0002"].more_data == (DOG, PERSON)
    app = open_wizard(**{"from": "j1", "step": "1"})
    app = app.button(key="further-0-out").click().run()
    app = app.button(key="further-0-out").click().run()
    assert param(app, "more") == "[]", "otherwise those of the job would come back"
    assert "further-0-out" not in [each.key for each in app.button]


def test_another_configuration_keeps_those_of_the_job_that_is_left(filled, open_wizard):
    filled.configs.kept["c2"] = TrainingConfig(id="c2", name="Slow", settings=TrainingSettings(epochs=9))
    job = Job(id="j1", name="broke", status=JobStatus.FAILED, dataset_id="d1", config_id="c1", created_at=NOW)
    filled.add(replace(job, more_data=(DOG, PERSON), settings=settings_payload(TrainingSettings())))
    app = open_wizard(**{"from": "j1", "step": "2"})
    app = app.selectbox(key="wizard-config").select("c2").run()
    assert (param(app, "from"), param(app, "configId"), param(app, "more")) == (None, "c2", BOTH)
    assert "and 2 others" in texts(app)


def test_what_the_trainer_cannot_do_is_said_before_anything_is_queued(filled, open_wizard):
    problem = "musubi-tuner has no regularisation images. Take it out, or train on it as on any other."
    filled.on_preview = lambda request: Preview(problems=(problem,) if request.more_data else ())
    assert problem in texts(open_wizard(step="2", datasetId="d1", configId="c1", name="x", more=BOTH))
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x", more=BOTH)
    assert [each.value.replace("\\", "") for each in app.error] == [problem]
    assert button(app, "Start training").disabled
    assert problem not in texts(open_wizard(step="3", datasetId="d1", configId="c1", name="x"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([MoreData(dataset_id="d1")], "The dataset 'd1' is chosen twice."),
        ([MoreData(dataset_id="gone")], "The further dataset 'gone' is not there any more. Take it out."),
        ([MoreData(dataset_id="d4")], "The further dataset 'Without' has no images. Take it out."),
        ([MoreData(dataset_id="d2", repeats=0)], "Repeats must be between 1 and 1000 (the further dataset 'd2')."),
    ],
)
def test_a_link_with_what_cannot_be_used_leads_to_its_line(filled, open_wizard, more, words):
    app = open_wizard(step="3", datasetId="d1", configId="c1", name="x", more=more_data_json(more))
    assert heading(app) == "Select Dataset"
    assert words in texts(app)
    assert button(app, "Next").disabled
    app = app.button(key="further-0-out").click().run()
    assert not button(app, "Next").disabled


@pytest.mark.parametrize(
    "more",
    [
        "nonsense", "{}", '[{"dataset_id":"d2","repeats":1e99}]', "[" * 9_000, '[{"dataset_id":"d2","repeats":NaN}]',
        '[{"dataset_id":["d2"]}]', f'[{{"dataset_id":"d2","repeats":{"9" * 5_000}}}]',
        '[{"dataset_id":"d2","name":"Dog","repeats":5,"class_tokens":"\\ud800"}]', f"[{','.join(['{}'] * 10_000)}]",
    ],
)  # fmt: skip
def test_a_parameter_that_is_no_list_of_datasets_is_left_out_and_named(filled, open_wizard, more):
    app = open_wizard(datasetId="d1", more=more)
    assert f"left out: more={more[:40]}" in texts(app)
    assert "Take out" not in labels(app)


def test_too_many_are_left_out(filled, open_wizard):
    more = more_data_json([MoreData(dataset_id=f"d{number}") for number in range(21)])
    assert "left out: more=" in texts(open_wizard(datasetId="d1", more=more))


def test_a_source_that_takes_one_says_why(filled, open_wizard):
    filled.takes_more_data = False
    filled.refused = {Action.MORE_DATA: "One dataset per job here."}
    add = button(open_wizard(datasetId="d1"), "Add another dataset")
    assert (add.disabled, add.help) == (True, "One dataset per job here.")
