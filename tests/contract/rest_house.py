"""The InfluencerAI source in front of a real local HTTP server."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from lib.embedded.store.side_table import SideTable
from lib.jobs.job import Job, LossPoint
from lib.settings import InfluencerSettings
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.job_history import JobHistory
from lib.sources.influencerai.source import InfluencerSource
from tests.contract.houses import Clock
from tests.sources.influencerai.api_server import EMAIL, PASSWORD, ApiServer, iso
from tests.sources.influencerai.conftest import AT_ONCE, PATIENT


class RestHouse:
    """Jobs lie in the API; logs and losses are what the source remembers of its answers."""

    beyond: ClassVar = {
        "test_a_listed_job_keeps_what_is_known": "The API keeps no cause, hint or evidence of a failure.",
        "test_preview_does_nothing": "The worker of the deployment builds the command line.",
        "test_retry": "A retry makes a new job.",
        "test_names_of_configurations_differ_by_more_than_case": "The API tells names apart by case.",
    }

    def __init__(self, folder: Path) -> None:
        self._clock = Clock()
        self._api = ApiServer()
        self._api.now = self._clock
        self._api.datasets = [{"id": "portraits", "meta": {"name": "Portraits", "imageCount": 1}, "status": "ready"}]
        self._api.configs = [
            {"id": "quick", "name": "Quick", "modelName": "sdxl", "epochs": 3, "meta": {}, "isDefault": True}
        ]
        self._api.start()
        settings = InfluencerSettings(api_url=self._api.url, email=EMAIL, password=PASSWORD)
        client = InfluencerClient(settings, limits=PATIENT)
        side_table = SideTable(folder, "here")
        self.source = InfluencerSource(
            client, files=None, side_table=side_table, now=self._clock, intervals=AT_ONCE, background=False
        )
        self.dataset_id, self.config_id = "portraits", "quick"

    def put_jobs(self, jobs: Sequence[Job]) -> None:
        for job in sorted(jobs, key=lambda each: str(each.created_at)):
            self._api.add_job(job.id, **_row(job))

    def put_dataset(self, name: str) -> str:
        raise NotImplementedError  # the API's jobs have one dataset

    def put_log(self, job: Job, data: bytes) -> None:
        self._remember(job, lambda history: history.runs[-1].log.data.extend(data))

    def put_losses(self, job: Job, points: Sequence[LossPoint]) -> None:
        self._remember(job, lambda history: history.runs[-1].losses.update({point.step: point for point in points}))

    def pass_time(self, span: timedelta) -> None:
        self._clock.time += span

    def close(self) -> None:
        self.source.close()
        self._api.stop()

    def _remember(self, job: Job, change: Any) -> None:
        self.source.get_job(job.id)

        def changed(history: JobHistory) -> bool:
            change(history)
            return True

        assert self.source._histories.read(job.id, changed)


def _row(job: Job) -> dict[str, Any]:
    times = {name: getattr(job, f"{name}_at") for name in ("created", "started", "updated", "finished")}
    done = job.progress
    percent = None if done.fraction is None else done.fraction * 100
    return {
        **{f"{name}At": iso(at) if at else None for name, at in times.items()},
        "status": job.raw_status,
        "payload": {
            "trainingName": job.name,
            "datasetId": job.dataset_id,
            "datasetPath": f"/datasets/{job.dataset_name}",
            "config": {"id": job.config_id, "name": job.config_name, **job.settings},
        },
        "result": {"progress": {"percent": percent, "step": done.step, "totalSteps": done.total_steps}},
    }
