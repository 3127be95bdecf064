"""The embedded source beside its database: starting the worker, and losses from event files."""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lib.embedded.worker.launcher import WorkerLauncher
from lib.errors import InvalidRequest
from lib.jobs.job import JobStatus, LossPoint
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.settings import TrainingRules
from lib.sources.embedded.source import EmbeddedSource
from tests.contract.houses import EmbeddedHouse, IdleLauncher
from tests.contract.test_changing import request_for
from tests.contract.test_reading import known_jobs
from tests.jobs.recordings import FOLDER
from tests.replay_trainer import weights


@pytest.fixture
def house(tmp_path: Path) -> Iterator[EmbeddedHouse]:
    built = EmbeddedHouse(tmp_path / "house")
    yield built
    built.close()


def test_a_worker_that_cannot_be_started_costs_no_job(house: EmbeddedHouse) -> None:
    house.source._launcher = WorkerLauncher(house.source.data_dir)
    (house.source.data_dir / "worker.log").mkdir()
    job = house.source.create_job(request_for(house))
    assert job.status is JobStatus.PENDING
    worker = {check.name: check for check in house.source.health()}["Worker"]
    assert (worker.ok, "Is a directory" in worker.message) == (False, True)


def test_the_preview_has_every_command_and_asks_for_no_more_cards_than_there_are(tmp_path: Path) -> None:
    commands = tmp_path / "commands.toml"
    program = sys.executable
    commands.write_text(f'[mine]\nargv = ["{program}", "train"]\nbefore = [["{program}", "cache", "--token=x"]]\n')
    source = EmbeddedSource(
        tmp_path / "data", gpus=["0", "1"], trainer_paths={"LORA_COMMANDS": commands}, launcher=IdleLauncher(tmp_path)
    )
    with closing(source):
        dataset = source.datasets.create("Portraits")
        (source.data_dir / "datasets" / dataset.id / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        request = JobRequest(
            name="x",
            dataset_id=dataset.id,
            config_id=None,
            settings=TrainingSettings(trainer="mine", gpus=3),
            submission_id="x",
        )
        found = source.preview(request)
        assert found.before == ((program, "cache", "--token=(not shown)"),)
        assert found.command == (program, "train")
        told = "The job asks for 3 GPUs, but this machine has 2 for trainers. Ask for fewer."
        assert told in found.problems
        with pytest.raises(InvalidRequest, match="asks for 3 GPUs"):
            source.create_job(request)
        assert told not in source.preview(replace(request, settings=replace(request.settings, gpus=2))).problems


def test_a_lora_given_as_base_model_is_refused_by_preview_and_create(tmp_path: Path) -> None:
    model = tmp_path / "sdxl.safetensors"
    model.write_bytes(weights("fox", 1.0))
    rules = TrainingRules(model_dirs=(tmp_path,))
    with closing(EmbeddedSource(tmp_path / "data", rules=rules, launcher=IdleLauncher(tmp_path))) as source:
        dataset = source.datasets.create("Portraits")
        (source.data_dir / "datasets" / dataset.id / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        settings = TrainingSettings(trainer="sd-scripts", base_model=str(model))
        request = JobRequest(name="x", dataset_id=dataset.id, config_id=None, settings=settings, submission_id="x")
        (told,) = [each for each in source.preview(request).problems if "is a LoRA" in each]
        with pytest.raises(InvalidRequest) as refused:
            source.create_job(request)
        assert told in f"{refused.value} {refused.value.hint}"


def test_a_long_worker_log_is_put_aside(tmp_path: Path) -> None:
    starter = WorkerLauncher(tmp_path, most_log_bytes=3)
    starter._argv = [sys.executable, "-S", "-c", ""]
    for content in (b"old", b"long", b"longer"):
        (tmp_path / "worker.log").write_bytes(content)
        starter._start()
    assert (tmp_path / "worker.log.1").read_bytes() == b"longer"
    assert (tmp_path / "worker.log").read_bytes() == b""


def test_losses_of_each_step_come_from_event_files_where_there_are_some(house: EmbeddedHouse) -> None:
    job = known_jobs()[0]
    house.put_jobs([job])
    house.put_losses(job, [LossPoint(step=1, loss=9.0)])
    assert [point.loss for point in house.source.loss_points(job.id, attempt=1)] == [9.0]
    recorded = next(FOLDER.glob("sd-scripts-success/logs/**/events.out.tfevents.*"))
    events = house.source._files.attempt(job.id, 1).event_logs / "20260310" / recorded.name
    events.parent.mkdir(parents=True)
    whole = recorded.read_bytes()
    read = []
    for size in (10, len(whole) // 2, len(whole)):  # as it grows
        events.write_bytes(whole[:size])
        read.append(house.source.loss_points(job.id, attempt=1))
    assert [point.loss for point in read[0]] == [9.0]
    assert [point.step for point in read[2]] == list(range(1, 25))
    assert read[1] == read[2][: len(read[1])]
    assert 5 < len(read[1]) < 24
    assert all(point.at for point in read[2])


def test_what_event_files_lack_beside_the_losses_is_the_logs_and_what_they_have_is_theirs(house: EmbeddedHouse) -> None:
    job = known_jobs()[0]
    house.put_jobs([job])
    house.put_losses(job, [LossPoint(step=3, loss=9.0, learning_rate=0.5, grad_norm=1.5)])
    recorded = next(FOLDER.glob("sd-scripts-success/logs/**/events.out.tfevents.*"))
    events = house.source._files.attempt(job.id, 1).event_logs / recorded.name
    events.parent.mkdir(parents=True)
    events.write_bytes(recorded.read_bytes())
    points = {point.step: point for point in house.source.loss_points(job.id, attempt=1)}
    assert (points[3].grad_norm, points[4].grad_norm) == (1.5, None)
    assert points[3].loss != 9.0
    assert 0 < (points[3].learning_rate or 0) < 0.01, "both know it, and the log rounds"
