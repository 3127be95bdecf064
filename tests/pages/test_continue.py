"""The dialog that continues a job."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from streamlit.testing.v1 import AppTest

from lib import services
from lib.errors import InvalidRequest
from lib.jobs.job import Artifact, ArtifactKind, Job, JobStatus, Origin
from lib.jobs.resume import ResumePoint
from lib.jobs.training_settings import TrainingSettings, settings_payload
from lib.sources.memory import MemorySource
from tests.making import make_job
from tests.pages.reading import button, labels, texts, toasts

Open = Callable[..., AppTest]
STATE = ResumePoint(attempt=1, path="v1-000002-state", is_state=True, step=24, epoch=2)
WEIGHTS = ResumePoint(attempt=1, path="v1-000001.safetensors", is_state=False, step=12, epoch=1)
BROKEN = replace(STATE, path="v1-000003-state", problem="It was only half written: optimizer.bin is missing.")
FILE = Artifact(id="1/v1-000002-state/optimizer.bin", name="optimizer.bin", kind=ArtifactKind.STATE)


@dataclass(kw_only=True)
class ContinuedSource(MemorySource):
    """Keeps what it was asked to continue."""

    points: Sequence[ResumePoint] = (STATE, WEIGHTS, BROKEN)
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def resume_points(self, job_id: str) -> Sequence[ResumePoint]:
        return self.points

    def continue_job(self, job_id: str, point_id: str, more: int) -> Job:
        self.asked.append((job_id, point_id, more))
        if more == 7:
            raise InvalidRequest("What the training was to go on from is gone.", hint="Choose another state.")
        return self.retry_job(job_id)


@pytest.fixture
def source() -> Iterator[ContinuedSource]:
    """A cancelled job with a state, and one that was only watched."""
    memory = ContinuedSource()
    settings = settings_payload(TrainingSettings(epochs=3))
    job = make_job(1, JobStatus.CANCELLED, id="stopped", attempt=1, settings=settings, artifacts=(FILE,))
    memory.add(job, replace(job, id="watched", origin=Origin.WATCHED))
    services.connect(memory)
    yield memory
    services.connect(None)


def test_a_cancelled_job_with_a_state_is_continued_in_two_clicks(source: ContinuedSource, open_page: Open) -> None:
    app = open_page("job", id="stopped", attempt="1")
    app.button(key="main-continue").click().run()
    assert "The training goes on after epoch 2, up to 3 epochs in all." in texts(app)
    assert "v1-000003-state cannot be used. It was only half written: optimizer.bin is missing." in texts(app)
    app.number_input[0].set_value(2)
    app.run()
    assert "up to 5 epochs in all" in texts(app)
    button(app, "Continue from step 24").click().run()
    assert source.asked == [("stopped", "1/v1-000002-state", 2)]
    assert toasts(app) == ["Continues at step 24"]
    assert "Waiting to start" in texts(app)


def test_weights_alone_are_called_that(source: ContinuedSource, open_page: Open) -> None:
    app = open_page("job", id="stopped")
    app.button(key="menu-continue").click().run()
    app.selectbox(key="continue-from").select("1/v1-000001.safetensors").run()
    assert "Weights after epoch 1, step 12 (the optimizer starts anew)" in app.selectbox(key="continue-from").options
    button(app, "Continue with the weights of epoch 1").click().run()
    assert source.asked == [("stopped", "1/v1-000001.safetensors", 0)]


def test_what_a_trainer_does_differently_is_said(source: ContinuedSource, open_page: Open) -> None:
    source.points = (replace(STATE, note="It goes on in whole epochs."),)
    app = open_page("job", id="stopped")
    app.button(key="main-continue").click().run()
    assert "It goes on in whole epochs." in texts(app)


def test_what_cannot_be_continued_says_why_and_loses_nothing(source: ContinuedSource, open_page: Open) -> None:
    app = open_page("job", id="stopped")
    app.button(key="main-continue").click().run()
    app.number_input[0].set_value(7)
    app.run()
    button(app, "Continue from step 24").click().run()
    assert "What the training was to go on from is gone." in texts(app)
    assert app.number_input[0].value == 7
    source.points = (BROKEN,)
    app = open_page("job", id="stopped")
    app.button(key="main-continue").click().run()
    assert "There is nothing to go on from" in texts(app)
    assert "cannot be used" in texts(app)
    assert "Continue" not in labels(open_page("job", id="watched"))
