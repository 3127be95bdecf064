"""What people are told of a job."""

import pytest

from lib.jobs.failures.judge import Verdict
from lib.jobs.job import Failure, Job, JobLink, JobStatus, Progress, Stage
from lib.jobs.news import Event, Run, end_news, stall_news, sweep_news
from lib.jobs.stalls import SILENT_S, USUAL_S, is_stalled

RUN = Run(job_id="j1", attempt=2, name="red sneakers")


def test_the_end_in_words() -> None:
    (told,) = end_news(RUN, Verdict(status=JobStatus.SUCCEEDED), 3_725.4)
    assert (told.event, told.key, told.job_id) == (Event.FINISHED, "j1/2/finished", "j1")
    assert (told.title, told.body) == ("red sneakers finished", "It took 1 hour, 2 minutes and 5 seconds.")
    failure = Failure(cause="out_of_memory", message="The GPU ran out of memory.", hint="", evidence=())
    (told,) = end_news(RUN, Verdict(status=JobStatus.FAILED, failure=failure), 61)
    assert (told.event, told.title) == (Event.FAILED, "red sneakers failed")
    assert told.body == "The GPU ran out of memory. It ran for 1 minute and 1 second."
    (told,) = end_news(RUN, Verdict(status=JobStatus.LOST), 0)
    assert (told.title, told.body) == ("red sneakers was lost", "The cause is not known. It ran for 0 seconds.")


def test_what_goes_on_by_itself_says_from_where() -> None:
    (told,) = end_news(RUN, Verdict(status=JobStatus.LOST), 60, 1_200)
    assert told.body.endswith("It ran for 1 minute. It goes on by itself from step 1,200.")


def swept(number: int, status: JobStatus, loss: float | None = None) -> Job:
    sweep = JobLink(id="s1", name="aria")
    return Job(
        id=str(number), name=f"aria: rank {number}", status=status, attempt=1, sweep=sweep, progress=Progress(loss=loss)
    )


def test_a_sweep_is_told_once_all_its_jobs_have_ended() -> None:
    done = [swept(4, JobStatus.SUCCEEDED, 0.2), swept(8, JobStatus.SUCCEEDED, 0.1), swept(16, JobStatus.FAILED, 0.01)]
    sweep = JobLink(id="s1", name="aria")
    assert sweep_news(sweep, [*done, swept(32, JobStatus.PENDING)]) == []
    (told,) = sweep_news(sweep, done)
    assert (told.event, told.key, told.title) == (
        Event.FINISHED,
        "sweep/s1/3",
        "aria: all 3 jobs of the sweep have ended",
    )
    assert told.body == "2 succeeded, 1 failed. The smallest last loss is 0.1 (rank 8)."
    (told,) = sweep_news(sweep, done[2:])
    assert (told.title, told.body) == ("aria: its job has ended", "1 failed.")
    assert sweep_news(sweep, [swept(4, JobStatus.CANCELLED)] * 2) == []


def test_what_a_person_did_is_not_told_to_people() -> None:
    assert end_news(RUN, Verdict(status=JobStatus.CANCELLED), 5) == []


@pytest.mark.parametrize(
    ("alarm", "words"), [("nan_loss", "a loss"), ("inf_loss", "a loss"), ("nan_latents", "latents")]
)
def test_nan_is_told_even_when_it_came_in_the_last_line(alarm: str, words: str) -> None:
    told = end_news(RUN, Verdict(status=JobStatus.SUCCEEDED, alarms=("upload_failed", alarm)), 5)
    assert [each.event for each in told] == [Event.NAN, Event.FINISHED]
    assert words in told[0].body


def test_a_stall_says_for_how_long() -> None:
    assert "printed nothing for 15 minutes" in stall_news(RUN, 900.0).body


def test_how_long_is_too_long_depends_on_the_phase() -> None:
    loading = USUAL_S[Stage.LOADING_MODEL]
    assert not is_stalled(Progress(stage=Stage.LOADING_MODEL.value), loading)
    assert is_stalled(Progress(stage=Stage.LOADING_MODEL.value), loading + 1)
    stepping = Progress(stage=Stage.TRAINING.value, step=5)
    assert not is_stalled(stepping, SILENT_S)
    assert is_stalled(stepping, SILENT_S + 1)
    assert not is_stalled(Progress(stage=Stage.UPLOADING.value, step=5), 10 * SILENT_S), "the trainer has ended"
