"""Every page in front of a source that implements only what it must: the rest is empty or disabled with a reason."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

import pytest
from streamlit.testing.v1 import AppTest

from lib import services
from lib.errors import DatasetError, InvalidRequest, JobNotFound, NotSupported
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import JobPage, JobQuery, select_jobs
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.sources.protocol import Action, HealthCheck, JobSource, LogChunk
from tests.making import NOW
from tests.pages.reading import labels, texts

JOB = Job(id="j1", name="Aria", status=JobStatus.FAILED, attempt=1, created_at=NOW - timedelta(hours=1))


class MinimalSource(JobSource):
    """One job that has failed, with a log."""

    name = "minimal"

    def list_jobs(self, query: JobQuery) -> JobPage:
        return select_jobs([JOB], query, NOW)

    def count_by_status(self) -> Mapping[JobStatus, int]:
        return {JOB.status: 1}

    def get_job(self, job_id: str) -> Job:
        if job_id != JOB.id:
            raise JobNotFound(job_id)
        return JOB

    def read_log(self, job_id: str, *, attempt: int, offset: int, limit: int = 1 << 20) -> LogChunk:
        data = b"it broke\n"
        return LogChunk(offset=offset, data=data[offset : offset + limit], size_bytes=len(data))

    def health(self) -> Sequence[HealthCheck]:
        return [HealthCheck(name="Source", ok=True, message="fine", checked_at=NOW)]


@pytest.fixture
def minimal() -> Iterator[MinimalSource]:
    source = MinimalSource()
    services.connect(source)
    yield source
    services.connect(None)


def test_what_is_not_implemented_is_refused_with_a_reason(minimal: MinimalSource) -> None:
    reasons = {action: minimal.reason_against(action) for action in Action}
    assert reasons.pop(Action.RETRY_IN_PLACE) == ""
    assert reasons[Action.CANCEL] == "The source minimal cannot cancel jobs."
    assert reasons[Action.CHANGE_DATASETS] == "The source minimal cannot change datasets."
    assert all(reasons.values())
    config = TrainingConfig(id="", name="Quick", settings=TrainingSettings())
    for refused in (
        lambda: minimal.cancel_job("j1"),
        lambda: minimal.datasets.create("Shapes"),
        lambda: minimal.datasets.images("d1"),
        lambda: minimal.configs.save(config),
        lambda: minimal.require(Action.DELETE),
    ):
        with pytest.raises(NotSupported):
            refused()
    with pytest.raises(DatasetError):
        minimal.datasets.get("d1")
    with pytest.raises(InvalidRequest):
        minimal.configs.get("c1")


@pytest.mark.parametrize(
    ("page", "params", "said"),
    [
        ("overview", {}, "fine"),
        ("jobs", {}, "1 job"),
        ("job", {"id": "j1"}, "it broke"),
        ("job", {"id": "j1", "view": "details"}, "Aria"),
        ("new_job", {}, "cannot create jobs"),
        ("datasets", {}, "cannot change datasets"),
        ("configs", {}, "cannot change configurations"),
    ],
)
def test_every_page_opens(
    minimal: MinimalSource, open_page: Callable[..., AppTest], page: str, params: dict[str, str], said: str
) -> None:
    app = open_page(page, **params)
    assert not app.exception
    assert [
        error.value for error in app.error if "unexpected" in error.value or "cannot be loaded" in error.value
    ] == []
    shown = "\n".join(
        str(element.value).replace("\\", "")
        for kind in ("title", "markdown", "caption", "info", "code", "dataframe")
        for element in app.get(kind)
    )
    assert said in shown


def test_what_cannot_be_done_with_a_job_is_said_instead_of_offered(
    minimal: MinimalSource, open_page: Callable[..., AppTest]
) -> None:
    app = open_page("job", id="j1")
    assert {"Retry", "Cancel", "Delete"}.isdisjoint(labels(app))
    assert [button.label for button in app.button if button.disabled] == []
    for deed in ("retry", "delete"):
        assert f"The source minimal cannot {deed} jobs." in texts(app)
