"""A job that is to be created."""

from dataclasses import dataclass

from lib.jobs.more_data import MoreData
from lib.jobs.training_settings import TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job to create. The same ``submission_id`` never makes a second job.

    ``retry_of`` is the id of the job whose values it takes; ``notify`` says whether people are told of its events;
    ``more_data`` are the datasets beside the main one.
    """

    name: str
    dataset_id: str
    config_id: str | None
    settings: TrainingSettings
    submission_id: str
    time_limit_s: float | None = None
    retry_of: str | None = None
    notify: bool = True
    more_data: tuple[MoreData, ...] = ()
