"""What the wizard's draft names, as it is now: datasets, configuration, the job it starts from; and what is missing."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.dataset import Dataset
from lib.jobs.job import Job
from lib.jobs.query import JobQuery
from lib.jobs.sweep import SweepValues
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.sources.protocol import Action
from lib.ui.wizard.draft import (
    Draft,
    changed_settings,
    chosen_id,
    dataset_problem,
    read_draft,
    settings_problem,
    starting_settings,
    swept_values,
    time_limit_minutes,
    unknown_parameters,
)
from lib.ui.wizard.more_data_fields import more_problem
from lib.ui.wizard.navigation import load_origin, suggested_name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A draft and what it names.

    Attributes:
        origin: The job whose values are taken where the draft says nothing else.
        datasets: All there are, by id.
        dataset, config: Those chosen; None while none is, or when it is gone.
        before: The settings before any change.
        settings: With the changes, and the first of several values.
        limit_min: The time limit in minutes.
        data_problem, settings_problem: Why the first step, and the second one, is not complete; empty when it is.
        bad_parameters: What the link says and cannot be used.
    """

    draft: Draft
    origin: Job | None
    datasets: Mapping[str, Dataset]
    configs: Sequence[TrainingConfig]
    dataset: Dataset | None
    config: TrainingConfig | None
    before: TrainingSettings
    settings: TrainingSettings
    swept: SweepValues
    limit_min: int | None
    data_problem: str
    settings_problem: str
    bad_parameters: Sequence[str]

    @property
    def has_settings(self) -> bool:
        """Whether a configuration was chosen, or a job to start from."""
        return self.config is not None or self.origin is not None

    @property
    def step(self) -> int:
        """The step to show: the wanted one, or the first that is not complete."""
        return min(self.draft.step, 1 if self.data_problem else 2 if self.settings_problem else 3)


def load_chosen() -> Chosen:
    """What the URL says. Raises SourceError."""
    params, origin = st.query_params.to_dict(), load_origin()
    is_unnamed = origin is not None and "name" not in params
    draft = read_draft(
        params,
        origin,
        suggested_name=suggested_name(origin) if origin and is_unnamed else "",
        can_sweep=not services.source().reason_against(Action.SWEEP),
    )
    datasets, configs = services.list_datasets(), services.list_configs()
    by_id = {each.id: each for each in datasets}
    usual = "" if draft.dataset_id else usual_dataset(datasets)
    dataset = by_id.get(chosen_id(draft.dataset_id, list(by_id), usual))
    config_id = chosen_id(draft.config_id, [each.id for each in configs])
    config = next((each for each in configs if each.id == config_id), None)

    before = starting_settings(config, origin)
    settings, bad_values = changed_settings(before, draft.changes)
    settings, swept, sweep_problem = swept_values(settings, draft.swept)
    limit_min, bad_limit = time_limit_minutes(draft.time_limit)
    takes_uploads = not services.reason_against(Action.CHANGE_DATASETS)
    return Chosen(
        draft=draft,
        origin=origin,
        datasets=by_id,
        configs=configs,
        dataset=dataset,
        config=config,
        before=before,
        settings=settings,
        swept=swept,
        limit_min=limit_min,
        data_problem=dataset_problem(dataset, takes_uploads=takes_uploads)
        or more_problem(dataset.id if dataset else "", draft.more_data, by_id),
        settings_problem=settings_problem(
            draft.name,
            settings,
            limit_min,
            has_settings=config is not None or origin is not None,
            sweep_problem=sweep_problem,
        ),
        bad_parameters=[*unknown_parameters(params), *bad_values, *bad_limit],
    )


def usual_dataset(datasets: Sequence[Dataset]) -> str:
    """The id of the dataset that is most likely wanted: that of the last job, else the newest; one with images."""
    usable = {each.id: each for each in datasets if each.image_count != 0}
    with suppress(DashboardError):  # the wizard works without the jobs, too
        for job in services.latest_jobs(JobQuery()).value.jobs:
            if job.dataset_id in usable:
                return job.dataset_id
    return max(usable.values(), key=lambda each: each.created_at or _EPOCH, default=Dataset(id="", name="")).id
