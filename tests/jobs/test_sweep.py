"""Sweeps: what is typed becomes values, and values become jobs."""

import pytest

from lib.errors import InvalidRequest
from lib.jobs.job import Job, JobStatus, Progress
from lib.jobs.job_request import JobRequest
from lib.jobs.sweep import best_jobs, count_problem, sweep_requests, values_from, values_text
from lib.jobs.training_settings import TrainingSettings

REQUEST = JobRequest(
    name=" Aria ", dataset_id="d", config_id=None, settings=TrainingSettings(seed=7), submission_id="token"
)


def test_each_value_counts_once_and_survives_being_written():
    values = values_from("learning_rate", "1e-4, 2e-4,0.0001,, 4e-4,")
    assert values == (1e-4, 2e-4, 4e-4)
    assert values_from("learning_rate", values_text(values)) == values
    assert values_from("optimizer", "AdamW8bit, Prodigy") == ("AdamW8bit", "Prodigy")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("learning_rate", "1e-4, 2e-x", "2e-x: must be a number."),
        ("network_dim", "8, 16.5", "16.5: must be a whole number."),
        ("learning_rate", "1e-4, 5", "5: must be between 1e-06 and 1."),
        ("learning_rate", " , ", "Enter at least one value."),
    ],
)
def test_a_bad_value_is_named(name, text, problem):
    with pytest.raises(ValueError, match=f"^{problem}$"):
        values_from(name, text)


def test_a_job_per_combination_is_named_by_what_differs():
    values = {"network_dim": (8, 16), "learning_rate": (1e-4, 2e-5), "epochs": (3,)}
    requests = sweep_requests(REQUEST, values)
    assert [each.name for each in requests] == [
        "Aria: LR 0.0001, rank 8",
        "Aria: LR 0.0001, rank 16",
        "Aria: LR 2e-5, rank 8",
        "Aria: LR 2e-5, rank 16",
    ]
    assert {(each.settings.epochs, each.settings.seed) for each in requests} == {(3, 7)}
    assert [(each.settings.learning_rate, each.settings.network_dim) for each in requests][2] == (2e-5, 8)
    assert len({each.submission_id for each in requests}) == 4


def test_no_more_than_32_jobs_and_nothing_that_is_a_text():
    most = {"seed": tuple(range(8)), "network_dim": (4, 8, 16, 32)}
    assert not count_problem(most)
    assert len(sweep_requests(REQUEST, most)) == 32
    with pytest.raises(InvalidRequest, match="make 33 jobs; at most 32"):
        sweep_requests(REQUEST, {"seed": tuple(range(33))})
    with pytest.raises(InvalidRequest, match="No job was created"):
        sweep_requests(REQUEST, {"base_model": ("a", "b")})


def test_the_best_have_the_smallest_losses_and_have_not_failed():
    losses = {"a": 0.3, "b": None, "c": float("nan"), "d": 0.1, "e": 0.2, "f": 0.01}
    jobs = [
        Job(
            id=name,
            name=name,
            status=JobStatus.FAILED if name == "f" else JobStatus.SUCCEEDED,
            progress=Progress(loss=loss),
        )
        for name, loss in losses.items()
    ]
    assert [job.id for job in best_jobs(jobs, 3)] == ["d", "e", "a"]
