"""A dashboard that is started again with other settings gets a worker that has them; trainings go on."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from lib.embedded.worker.launcher import SETTINGS_NAME, WorkerLauncher, settings_name
from lib.jobs.job import JobStatus
from lib.ray_settings import RaySettings
from lib.settings import S3Settings, Settings
from tests.embedded.scripted import REFERENCE, TRAIN
from tests.embedded.worker.test_worker import Yard
from tests.reaper import living
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with closing(Yard(tmp_path / "data")) as built:
        yield built


def workers(yard: Yard) -> list[psutil.Process]:
    return living(lambda each: {"lib.embedded.worker.worker", str(yard.folder)} <= {*each.cmdline()})


def launcher(yard: Yard, token: str, **more: str) -> WorkerLauncher:
    ray = RaySettings(address="http://127.0.0.1:9", token=token, **more) if token else None
    built = WorkerLauncher(yard.folder, recipes=REFERENCE, ray=ray)
    built.hand_over(settings_name(Settings(ray=ray)))
    return built


def replace(yard: Yard, token: str) -> psutil.Process:
    """Replace the worker, and wait until the next one works."""
    (former,) = workers(yard)
    new = launcher(yard, token)
    wait_for(lambda: former not in workers(yard) and new.is_running(), yard.worker_log)
    (now,) = workers(yard)
    return now


def test_a_worker_with_other_settings_is_replaced_and_its_training_goes_on(yard: Yard) -> None:
    job = yard.submit(f"while not (OUTPUT / 'go').exists(): time.sleep(0.02)\n{TRAIN}")
    launcher(yard, "").ensure()
    attempt = yard.source._files.attempt(job.id, 1)
    wait_for(lambda: attempt.path.exists() and attempt.started(), "no start")
    (former,) = workers(yard)
    launcher(yard, "")  # the same settings
    assert workers(yard) == [former]
    replace(yard, "wrong")
    now = replace(yard, "right")
    launcher(yard, "right", transport="s3")  # nobody could follow what runs over the shared folder
    launcher(yard, "")
    assert workers(yard) == [now]
    assert now.environ()["RAY_AUTH_TOKEN"] == "right"
    (attempt.output / "go").touch()
    wait_for(lambda: yard.source.get_job(job.id).status.is_terminal, yard.worker_log)
    ended = yard.source.get_job(job.id)
    assert (ended.status, ended.attempt) == (JobStatus.SUCCEEDED, 1)
    assert b"right" not in (yard.folder / SETTINGS_NAME).read_bytes()


def test_a_worker_of_unknown_settings_and_none_at_all_are_left_alone(yard: Yard) -> None:
    launcher(yard, "any")
    assert workers(yard) == []
    job = yard.submit("while not (OUTPUT / 'go').exists(): time.sleep(0.02)")
    WorkerLauncher(yard.folder, recipes=REFERENCE).ensure()
    attempt = yard.source._files.attempt(job.id, 1)
    wait_for(lambda: attempt.path.exists() and attempt.started(), "no start")
    (former,) = workers(yard)
    launcher(yard, "any")
    assert workers(yard) == [former]


def test_every_setting_counts() -> None:
    store = S3Settings(bucket="b", key="k", secret="one")
    named = {
        settings_name(each)
        for each in (
            Settings(),
            Settings(max_parallel=2),
            Settings(trainer_env={"A": "1"}),
            Settings(s3=store),
            Settings(s3=S3Settings(bucket="b", key="k", secret="two")),
            Settings(data_dir=Path(os.sep)),
        )
    }
    assert len(named) == 6
    assert settings_name(Settings(s3=store)) in named
