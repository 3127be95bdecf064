"""A sweep from the wizard to its list: several values in a field, one job per combination, compared and cancelled."""

from functools import partial

import pytest

from lib.jobs.dataset import Dataset
from lib.jobs.job import Job, JobLink, JobStatus, Progress
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.sources.protocol import Action, Preview
from lib.ui.job_list.sweep import compared
from tests.making import NOW
from tests.pages.reading import button, texts, toasts

STEP_2 = {"step": "2", "datasetId": "d", "configId": "c", "name": "aria"}


@pytest.fixture
def filled(source):
    source.datasets.kept = {"d": Dataset(id="d", name="Alpha", image_count=16)}
    source.configs.kept = {"c": TrainingConfig(id="c", name="Quick", settings=TrainingSettings(epochs=9))}
    return source


@pytest.fixture
def open_wizard(open_page):
    return partial(open_page, "new_job")


def field(app, label):
    (found,) = [each for each in [*app.text_input, *app.number_input, *app.multiselect] if each.label == label]
    return found


def test_several_values_in_a_field_make_one_job_per_combination(filled, open_wizard):
    app = open_wizard(**STEP_2, network_dim="8")
    app = field(app, "Try several values of").set_value(["learning_rate", "network_dim"]).run()
    rates, dims = field(app, "Learning rate, several"), field(app, "Network dim (rank), several")
    assert (rates.value, dims.value) == ("0.0001", "8"), "they start from what the fields said"
    rates.set_value("1e-4, 2e-4, 4e-4")
    app = dims.set_value("8, 16").run()
    assert "A sweep of 6 jobs" in texts(app)
    filled.on_preview = lambda request: Preview(command=("train", request.name), estimate_s=60)
    app = button(app, "Next").click().run()
    assert "| Learning rate | **0.0001, 0.0002, 0.0004** | 0.0001 |" in texts(app)
    assert "**Jobs:** 6, one for each combination" in texts(app)
    assert "about 6m 0s (an estimate: all jobs one after the other" in texts(app)
    app = button(app, "Start 6 trainings").click().run()
    assert [job.name for job in filled.jobs.values()][:2] == [
        "aria: LR 0.0001, rank 8",
        "aria: LR 0.0001, rank 16",
    ]
    assert len(filled.jobs) == 6
    (sweep,) = {job.sweep for job in filled.jobs.values()}
    assert f"jobs?sweep={sweep.id}" in texts(app)


def test_a_typo_in_one_value_is_named_stays_and_queues_nothing(filled, open_wizard):
    app = open_wizard(**{**STEP_2, "step": "3"}, learning_rate="1e-4, 2e-x")
    assert "2e-x: must be a number." in texts(app)
    assert field(app, "Learning rate, several").value == "1e-4, 2e-x"
    app = button(app, "Next").click().run()
    assert [each.value.replace("\\", "") for each in app.error] == [
        "Not yet:\n- Try several values of: Learning rate: 2e-x: must be a number."
    ]
    field(app, "Learning rate, several").set_value("1e-4")
    app = button(app, "Next").click().run()
    assert button(app, "Start training"), "a single value is a single job"
    assert not filled.jobs


def test_a_setting_taken_out_of_the_sweep_keeps_its_first_value(filled, open_wizard):
    app = open_wizard(**STEP_2, epochs="3,5")
    app = field(app, "Try several values of").set_value([]).run()
    assert field(app, "Epochs").value == 3


def test_too_many_combinations_are_counted(filled, open_wizard):
    app = open_wizard(**STEP_2, seed=",".join(map(str, range(11))), network_dim="4,8,16")
    assert "These values make 33 jobs; at most 32 at once." in texts(app)


def test_what_stands_against_one_of_them_is_said_of_it_and_starts_none(filled, open_wizard):
    def preview(request):
        return Preview(problems=("Too large.",) if request.settings.network_dim > 64 else ())

    filled.on_preview = preview
    app = open_wizard(**{**STEP_2, "step": "3"}, network_dim="8,128")
    assert "aria: rank 128: Too large." in texts(app)
    both = open_wizard(**{**STEP_2, "step": "3"}, network_dim="8,128", seed="1,2")
    assert "aria: rank 128, seed 1 and 1 more: Too large." in texts(both)
    assert button(app, "Start 2 trainings").disabled


def test_a_source_without_sweeps_says_so_and_offers_none(filled, open_wizard):
    filled.refused = {Action.SWEEP: "No sweeps here."}
    app = open_wizard(**STEP_2, learning_rate="1e-4,2e-4")
    assert "One value per field: No sweeps here." in texts(app)
    assert not app.multiselect
    assert "left out: learning_rate=1e-4,2e-4" in texts(app)


def swept(number, status=JobStatus.SUCCEEDED):
    return Job(
        id=f"j{number}",
        name=f"aria: Seed {number}",
        status=status,
        created_at=NOW,
        started_at=None if status is JobStatus.PENDING else NOW,
        sweep=JobLink(id="s1", name="aria"),
        progress=Progress(loss=1 / (number + 1)),
    )


def test_the_list_of_a_sweep_compares_its_best_and_cancels_what_is_left(source, open_page):
    source.add(*(swept(number) for number in range(8)), Job(id="x", name="another", status=JobStatus.SUCCEEDED))
    source.add(swept(8, JobStatus.RUNNING), swept(9, JobStatus.PENDING))
    app = open_page("jobs", sweep="s1")
    assert "Sweep **aria**, 10 jobs: 1 pending, 1 running, 8 succeeded" in texts(app)
    assert "another" not in texts(app)
    # Side by side they are told apart by what differs.
    assert list(app.dataframe[0].value["Name"])[:2] == ["Seed 9", "Seed 8"]
    assert "Seed 9 => job?id=j9" in texts(app)
    ids = ",".join(f"j{number}" for number in range(8, 0, -1))
    assert f"Compare the 8 with the smallest last loss so far => compare?ids={ids}" in texts(app).replace("%2C", ",")
    app = app.button(key="sweep-cancel").click().run()
    app = app.button(key="dialog-confirm").click().run()
    assert [each for each in toasts(app) if "Cancelling 2 jobs" in each]
    assert {job.status for job in source.jobs.values()} == {JobStatus.SUCCEEDED, JobStatus.CANCELLED}
    app = app.button(key="leave-sweep").click().run()
    assert "another" in texts(app)


def test_few_jobs_are_all_compared_once_they_began():
    label, jobs = compared([swept(0), swept(1), swept(2, JobStatus.PENDING)])
    assert (label, [job.id for job in jobs]) == ("Compare", ["j0", "j1"])
