"""The datasets that a request or a job names, as they are now."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lib.embedded.trainers.recipe import MoreFolder
from lib.errors import DatasetError, InvalidRequest
from lib.jobs.dataset import Dataset
from lib.jobs.job import Job
from lib.jobs.job_request import JobRequest
from lib.jobs.more_data import MoreData, named
from lib.sources.parts import Datasets


class ChosenData:
    """Looks datasets up by their ids."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets

    def main(self, dataset_id: str) -> Dataset | None:
        """The dataset; None when it is gone."""
        try:
            return self._datasets.get(dataset_id)
        except DatasetError:
            return None

    def more(self, more: Sequence[MoreData]) -> tuple[MoreFolder, ...]:
        """Those of the further datasets that are there."""
        found = ((each, self.main(each.dataset_id)) for each in more)
        return tuple(
            MoreFolder(said=replace(each, name=dataset.name), dataset=dataset, path=Path(dataset.path or ""))
            for each, dataset in found
            if dataset
        )

    def with_names(self, request: JobRequest) -> JobRequest:
        """The request with the names of its further datasets, and its own name without spaces around it."""
        names = {each.said.dataset_id: each.said.name for each in self.more(request.more_data)}
        return replace(request, name=request.name.strip(), more_data=named(request.more_data, names))

    def require(self, job: Job) -> None:
        """Raise InvalidRequest unless all datasets of a job that is to run again are there."""
        used = {job.dataset_id or "": job.dataset_name, **{each.dataset_id: each.name for each in job.more_data}}
        for dataset_id, name in used.items():
            if self.main(dataset_id) is None:
                raise InvalidRequest(
                    f"The dataset {(name or dataset_id)!r} is gone, so the job cannot run again.",
                    hint="Start a new job with another dataset.",
                )
