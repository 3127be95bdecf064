"""Copies of finished files in a real S3 server: made by the real worker, used when the local files are gone."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from lib.artifacts.object_store import ObjectStore
from lib.embedded.trainers.recipe import FoundFile
from lib.embedded.worker.artifact_upload import ArtifactUpload
from lib.errors import ArtifactError, JobNotFound
from lib.jobs.job import ArtifactKind, Job, JobStatus, PresignedUrl
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.settings import load_settings
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.protocol import LocalFile
from tests.artifacts.s3_server import BUCKET, KEY, SECRET, S3Server, s3_server
from tests.embedded.scripted import FIRST, REFERENCE, TRAIN, WEIGHTS
from tests.embedded.worker.drill.processes import DATASET_ID, all_killed_at_the_end, make_dataset, wait_until
from tests.embedded.worker.test_worker import Yard
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

NAMES = ("lora-000001.safetensors", "lora.safetensors")
# A sample in a folder, with a name that has to be quoted in a link.
WITH_SAMPLE = TRAIN + "(OUTPUT / 'sample').mkdir(); (OUTPUT / 'sample' / 'a b_e000001_00.png').write_bytes(b'png')\n"


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The store, and the settings of it in the environment, where the worker finds them."""
    with s3_server(tmp_path / "s3") as running:
        values = {"S3_ENDPOINT": running.settings.endpoint, "S3_BUCKET": BUCKET, "S3_KEY": KEY, "S3_SECRET": SECRET}
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def source(tmp_path: Path, s3: S3Server) -> Iterator[EmbeddedSource]:
    """The embedded source as these settings make it, with the scripted trainer; its worker ends with the test."""
    data_dir, settings = tmp_path / "data", load_settings()
    assert settings.s3 is not None
    make_dataset(data_dir)
    opened = EmbeddedSource(data_dir, recipes=REFERENCE, files=ObjectStore(settings.s3))
    with all_killed_at_the_end(data_dir), closing(opened):
        yield opened


@pytest.fixture
def shelf(s3: S3Server) -> Iterator[ObjectStore]:
    """The store as somebody else sees it."""
    with closing(ObjectStore(s3.settings)) as opened:
        yield opened


def submit(source: EmbeddedSource, script: str = TRAIN) -> Job:
    settings = TrainingSettings(trainer="scripted", epochs=1, extra={"script": script})
    return source.create_job(
        JobRequest(name="shared", dataset_id=DATASET_ID, config_id=None, settings=settings, submission_id="one")
    )


def ended(source: EmbeddedSource, job: Job) -> Job:
    """The job after its worker has brought it to an end."""
    is_over = lambda: source.get_job(job.id).status.is_terminal  # noqa: E731
    wait_until(source.data_dir, is_over, "the job did not end")
    return source.get_job(job.id)


def keys(shelf: ObjectStore, job: Job) -> list[str]:
    """What the store has of a job, without the prefix."""
    return [each.key.removeprefix(f"jobs/{job.id}/") for each in shelf.list(f"jobs/{job.id}/")]


def fetched(source: EmbeddedSource, job: Job, artifact_id: str) -> tuple[bytes, str]:
    """What a click on Download brings from the store: the bytes, and the name that the browser is told."""
    located = source.locate_artifact(job.id, artifact_id)
    assert isinstance(located, PresignedUrl)
    answer = requests.get(located.url, timeout=30)
    assert answer.status_code == 200
    return answer.content, answer.headers["Content-Disposition"]


def test_the_worker_shares_the_files_of_a_job(source: EmbeddedSource, shelf: ObjectStore, tmp_path: Path) -> None:
    job = ended(source, submit(source, WITH_SAMPLE))
    assert (job.status, job.alarms) == (JobStatus.SUCCEEDED, ())
    assert keys(shelf, job) == sorted([*(f"1/{name}" for name in NAMES), "1/sample/a b_e000001_00.png"])
    assert {artifact.key for artifact in job.artifacts} == {each.key for each in shelf.list("jobs/")}
    assert isinstance(source.locate_artifact(job.id, "1/lora.safetensors"), LocalFile)

    shutil.rmtree(source.data_dir / "jobs" / job.id / "1" / "output")
    weights, disposition = fetched(source, job, "1/lora.safetensors")
    assert (weights, disposition) == (WEIGHTS, 'attachment; filename="lora.safetensors"')
    assert fetched(source, job, "1/lora-000001.safetensors")[0] == FIRST
    assert fetched(source, job, "1/sample/a b_e000001_00.png")[0] == b"png"
    assert [check.ok for check in source.health() if check.name == "Artifact store"] == [True]

    (tmp_path / "other").write_bytes(b"of another job")
    shelf.upload(tmp_path / "other", f"jobs/{job.id}-2/1/lora.safetensors")
    source.delete_job(job.id)
    assert [each.key for each in shelf.list("jobs/")] == [f"jobs/{job.id}-2/1/lora.safetensors"]
    with pytest.raises(JobNotFound):
        source.locate_artifact(job.id, "1/lora.safetensors")


def test_a_store_that_is_down_costs_the_copies_and_nothing_else(
    source: EmbeddedSource, shelf: ObjectStore, s3: S3Server
) -> None:
    s3.stop()
    job = ended(source, submit(source))
    assert (job.status, job.alarms, job.progress.fraction) == (JobStatus.SUCCEEDED, ("upload_failed",), 1.0)
    said = (source.data_dir / "worker.log").read_text()
    assert "was not copied" in said
    assert "does not answer" in said
    assert SECRET not in said
    located = source.locate_artifact(job.id, "1/lora.safetensors")
    assert isinstance(located, LocalFile)
    assert located.path.read_bytes() == WEIGHTS
    assert [check.ok for check in source.health() if check.name == "Artifact store"] == [False]

    # What was not copied then is not copied later; a retry trains anew and copies its own files.
    s3.start()
    source.retry_job(job.id)
    job = ended(source, job)
    assert (job.attempt, job.alarms, job.attempts[0].alarms) == (2, (), ("upload_failed",))
    assert keys(shelf, job) == [f"2/{name}" for name in NAMES]
    for attempt in ("1", "2"):
        shutil.rmtree(source.data_dir / "jobs" / job.id / attempt / "output")
    assert fetched(source, job, "2/lora.safetensors")[0] == WEIGHTS
    with pytest.raises(ArtifactError, match="not in the store"):
        source.locate_artifact(job.id, "1/lora.safetensors")

    # A job whose copies cannot be deleted now is there until they can.
    s3.stop()
    with pytest.raises(ArtifactError, match="does not answer"):
        source.delete_job(job.id)
    s3.start()
    assert source.get_job(job.id).status is JobStatus.SUCCEEDED
    source.delete_job(job.id)
    assert keys(shelf, job) == []


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with closing(Yard(tmp_path / "yard")) as built:
        yield built


class Slow:
    """A store that takes its time, and then breaks in a way nobody thought of."""

    def __init__(self) -> None:
        self.is_asked, self.go_on = threading.Event(), threading.Event()

    def upload(self, path: Path, key: str) -> None:
        self.is_asked.set()
        self.go_on.wait(PATIENCE_S)
        raise RuntimeError("cannot schedule new futures after shutdown")


def test_a_worker_that_dies_while_it_copies_leaves_the_copying_to_the_next(yard: Yard, shelf: ObjectStore) -> None:
    slow = Slow()
    job = yard.submit()
    job = yard.run_until(
        yard.hire(upload_to=slow, upload_pauses_s=(0.0,)), job, lambda now: now.progress.stage == "uploading"
    )
    assert (job.status, slow.is_asked.wait(PATIENCE_S)) == (JobStatus.RUNNING, True)
    job = yard.run_to_end(job, upload_to=shelf)
    assert (job.status, job.attempt, job.alarms) == (JobStatus.SUCCEEDED, 1, ())
    assert keys(shelf, job) == [f"1/{name}" for name in NAMES]
    slow.go_on.set()
    # The thread of the worker that died lives on here, as it could not if a whole process had died.
    for thread in [each for each in threading.enumerate() if each.name == f"upload-{job.id}/1"]:
        thread.join(PATIENCE_S)


class Picky:
    """A store that refuses one file always and another one once."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.has_failed = False

    def upload(self, path: Path, key: str) -> None:
        if path.name == "never" or (path.name == "late" and not self.has_failed):
            self.has_failed = self.has_failed or path.name == "late"
            raise ArtifactError("Not now.")
        self.kept.append(path.name)


def test_a_file_that_fails_does_not_cost_the_others(tmp_path: Path) -> None:
    files = [
        FoundFile(path=name, kind=ArtifactKind.OTHER, size_bytes=1, modified_at=datetime.now(UTC))
        for name in ("never", "late", "good")
    ]
    picky = Picky()
    copy = ArtifactUpload(picky, "job/1", tmp_path, files, (0.0, 0.0))
    copy._thread.join(PATIENCE_S)
    assert picky.kept == ["good", "late"]
    assert copy.keys == {"good": "jobs/job/1/good", "late": "jobs/job/1/late"}
    assert copy.alarms == ("upload_failed",)


def test_more_files_than_one_list_tells_are_deleted(s3: S3Server, shelf: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for number in range(5):
        shelf.upload(tmp_path / "file", f"jobs/many/{number}")
    with closing(ObjectStore(s3.settings, most_listed=2)) as short_sighted:
        assert short_sighted.delete_prefix("jobs/many/") == 5
    assert shelf.list("jobs/many/") == []


def test_whatever_breaks_while_copying_is_an_alarm(yard: Yard) -> None:
    slow = Slow()
    slow.go_on.set()
    job = yard.run_to_end(yard.submit(), upload_to=slow, upload_pauses_s=(0.0,))
    assert (job.status, job.alarms) == (JobStatus.SUCCEEDED, ("upload_failed",))
