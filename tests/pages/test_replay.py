"""Every recorded run of a real trainer is played through supervisor, worker, store and page to its right end."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lib import services
from lib.embedded.trainers.kohya_files import collect_kohya
from lib.embedded.trainers.recipe import FoundFile, Recipe, TrainingRun
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.worker import Worker
from lib.jobs.dataset import Dataset
from lib.jobs.job import ArtifactKind, Job, JobStatus
from lib.jobs.training_settings import TrainingSettings
from lib.settings import Settings
from lib.ui.parts.text import escaped
from tests import replay_trainer
from tests.contract.houses import EmbeddedHouse
from tests.contract.test_changing import request_for
from tests.jobs.failures.test_judge import EXPECTED, RECORDINGS, SECOND
from tests.pages.reading import markdown
from tests.reaper import kill_all, working_on
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

LONGEST_S = 1.5
ENDS = {name: expected[:2] for name, expected in EXPECTED.items()} | {
    name: expected[:2] for name, expected in SECOND.items()
}
# Steps as the recordings' own last bars have them.
STEPS = {
    "diffusers-dreambooth-success": (40, 40),
    "diffusers-t2i-success": (48, 48),
    "sd-scripts-accelerate-child-sigkill-midrun": (4, 24),
    "sd-scripts-fail-corrupt-image": (2, 24),
    "sd-scripts-nan-loss": (8, 8),
    "sd-scripts-sigkill": (5, 24),
    "sd-scripts-simple-log-unbuffered-columns": (8, 8),
    "sd-scripts-success": (24, 24),
    "sd-scripts-success-one-pipe": (16, 16),
    "sd-aspects-batch4": (6, 6),
    "sd-buckets-gradacc": (4, 4),
    "sd-cancel-in-sampling": (3, 6),
    "sd-fp16-on-cpu": (0, 3),
    "sd-full-preset": (6, 6),
    "sd-outside-terminal": (6, 6),
    "sd-save-every-2-steps": (3, 3),
    "sd-success-samples-state": (36, 36),
    "sd-weights-wrong-dim": (3, 3),
    "toolkit-success": (8, 8),
}


def folder_of(name: str) -> Path:
    return RECORDINGS.with_name("trainers" if name in EXPECTED else "trainers-2") / name


class ReplayRecipe(Recipe):
    """Plays the recording that the settings name."""

    name = "replay"
    label = "replay"
    uses_gpu = False

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """None."""
        return ()

    def command(self, run: TrainingRun) -> list[str]:
        """Python without site packages, which starts fast."""
        script, played = replay_trainer.__file__, str(folder_of(run.settings.extra["recording"]))
        return [sys.executable, "-I", "-S", script, played, str(run.output_dir), str(LONGEST_S)]

    def prepare(self, run: TrainingRun) -> None:
        """Nothing."""

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far."""
        return collect_kohya(output_dir)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """Next to nothing."""
        return 1


def recipes(_settings: Settings) -> tuple[Recipe, ...]:
    """What worker and dashboard build."""
    return (ReplayRecipe(),)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedHouse, dict[str, Job]]]:
    """All recordings, played side by side."""
    folder = tmp_path_factory.mktemp("replay") / "data"
    with closing(EmbeddedHouse(folder, recipes=f"{__name__}:recipes", live_clock=True)) as house:
        ids = {}
        for name in ENDS:
            settings = TrainingSettings(trainer="replay", epochs=1, extra={"recording": name})
            request = replace(request_for(house, name), name=name, settings=settings)
            ids[name] = house.source.create_job(request).id
        limits = WorkerLimits(write_every_s=0.1)
        recipe = {"replay": ReplayRecipe()}
        with closing(Worker(folder, recipes=recipe, max_parallel=len(ids), limits=limits)) as worker:
            # Name -> the step at which a person cancelled it.
            cancelled = {ids["sd-cancel-in-sampling"]: 3, ids["sd-full-weights-cancel"]: 1}

            def is_over() -> bool:
                worker.tick()
                jobs = [house.source.get_job(job_id) for job_id in ids.values()]
                for job in jobs:
                    at = cancelled.get(job.id, -1)
                    if job.progress.step == at and job.status.is_active and not job.cancelling:
                        house.source.cancel_job(job.id)
                return all(job.status.is_terminal for job in jobs)

            wait_for(is_over, "not all recordings came to their end", poll_s=0.05)
        yield house, {name: house.source.get_job(job_id) for name, job_id in ids.items()}
        kill_all(lambda: working_on(folder))


@pytest.mark.parametrize("name", ENDS)
def test_a_recording_is_replayed_to_the_truth(
    played: tuple[EmbeddedHouse, dict[str, Job]], name: str, open_page: Callable[..., AppTest]
) -> None:
    house, jobs = played
    job, meta = jobs[name], json.loads((folder_of(name) / "meta.json").read_text())
    status, cause = ENDS[name]
    assert (job.status.value, job.failure.cause if job.failure else "") == (status, cause)
    assert job.attempts[0].exit_code == (-15 if job.status is JobStatus.CANCELLED else replay_trainer.end_of(meta))
    if name in STEPS:
        assert (job.progress.step, job.progress.total_steps) == STEPS[name]
    _check_files(job, meta)
    _check_curve(house, job, name)
    services.connect(house.source)
    try:
        page = markdown(open_page("job", id=job.id))
    finally:
        services.connect(None)
    assert job.status.label in page
    if job.failure:
        assert escaped(job.failure.message)[:40] in page
    elif name in STEPS:
        assert f"Step {STEPS[name][0]}/{STEPS[name][1]}" in page


def _check_files(job: Job, meta: dict[str, object]) -> None:
    found = {artifact.id.partition("/")[2]: artifact for artifact in job.artifacts}
    written = [path for path in replay_trainer.output_files(meta) if path != "sample/prompt.txt"]
    assert sorted(found) == sorted(written)
    loras = [file for file in found.values() if file.kind in (ArtifactKind.LORA, ArtifactKind.CHECKPOINT)]
    assert len(loras) == sum(path.endswith(".safetensors") and "-state/" not in path for path in written)
    assert {file.kind for path, file in found.items() if "-state/" in path} <= {ArtifactKind.STATE}
    assert {file.kind for path, file in found.items() if path.startswith("sample/")} <= {ArtifactKind.SAMPLE}


def _check_curve(house: EmbeddedHouse, job: Job, name: str) -> None:
    """The curve of the log is that of TensorBoard, where that was recorded, up to the digits of the bar."""
    recorded = folder_of(name) / "tensorboard.json"
    if not recorded.exists():
        return
    (scalars,) = [each["scalars"] for each in json.loads(recorded.read_text()).values() if each.get("scalars")]
    tag = next((tag for tag in ("loss/average", "loss", "train_loss") if tag in scalars), None)
    points = house.source.loss_points(job.id, attempt=1)
    assert tag
    assert abs(len(points) - scalars[tag]["n"]) <= 1  # a killed trainer printed one step more than it wrote
    for loss, truth in ((points[0].loss, scalars[tag]["first"]), (points[-1].loss, scalars[tag]["last"])):
        if len(points) == scalars[tag]["n"]:
            assert str(loss) == str(truth) == "nan" or loss == pytest.approx(truth, rel=0.01)
