"""Checks before a job exists: what would run, what prevents it, and how long it will take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.files.disk_space import free_bytes
from lib.embedded.store.jobs import Store
from lib.embedded.trainers.recipe import (
    NO_MORE,
    MoreFolder,
    Recipe,
    TrainingRun,
    base_problems,
    further_problems,
    unused_problems,
)
from lib.errors import StoreError
from lib.jobs.dataset import Dataset
from lib.jobs.job_request import JobRequest
from lib.jobs.more_data import more_data_problem
from lib.jobs.training_settings import job_name_problem, setting_problems
from lib.jobs.words import count_text, size_text
from lib.sources.embedded.places import Places
from lib.sources.protocol import Preview

# Placeholder in the shown command line for the id that the job will get.
ID_TO_COME = "JOB-ID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """Why a request cannot be accepted: by field, and what is about no single field."""

    fields: Mapping[str, str]
    others: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields or self.others)


class Planner:
    """Checks requests without side effects.

    Args:
        places: Where jobs may run.
        gpu_count: How many cards trainers may have; 0: none is known, so none is set aside.
    """

    def __init__(
        self,
        store: Store,
        recipes: Mapping[str, Recipe],
        data_dir: Path,
        places: Places,
        gpu_count: Callable[[], int] = lambda: 0,
    ) -> None:
        self._gpu_count = gpu_count
        self._store = store
        self._recipes = recipes
        self._data_dir = data_dir
        self._places = places

    def placed(self, request: JobRequest) -> JobRequest:
        """The request with the place that it means where it names none."""
        return replace(request, settings=self._places.placed(request.settings))

    def problems(self, request: JobRequest, dataset: Dataset | None, more: Sequence[MoreFolder] = NO_MORE) -> Problems:
        """Everything that prevents the job: what the preview shows is what ``create_job`` refuses.

        Args:
            more: The further datasets of the request that are there.
        """
        fields = self._field_problems(request, dataset, more)
        recipe = self._recipes.get(request.settings.trainer)
        if dataset is None or recipe is None or setting_problems(request.settings):
            return Problems(fields=fields)
        others = recipe.problems(request.settings, dataset) if dataset.image_count != 0 else ()
        others = (
            *unused_problems(recipe, request.settings, self._places.parameters),
            *self._gpu_problems(request, recipe),
            *others,
            *further_problems(recipe, request.settings, more),
            *base_problems(recipe, request.settings),
        )
        writes, free = recipe.expected_bytes(request.settings), self._free_bytes()
        if free < writes:
            disk = f"The training writes about {size_text(writes)}, but only {size_text(free)} are free."
            others = (*others, disk)
        return Problems(fields=fields, others=tuple(others))

    def _gpu_problems(self, request: JobRequest, recipe: Recipe) -> list[str]:
        wanted, count = request.settings.gpus, self._gpu_count()
        if request.settings.where or not recipe.uses_gpu or not 0 < count < wanted:
            return []
        return [f"The job asks for {wanted} GPUs, but this machine has {count} for trainers. Ask for fewer."]

    def _gpu_warnings(self, request: JobRequest, recipe: Recipe) -> list[str]:
        wanted = request.settings.gpus
        if request.settings.where or not recipe.uses_gpu or wanted == 1 or self._gpu_count():
            return []
        return [f"The job asks for {wanted} GPUs, but none is known here, so none is set aside. LORA_GPUS names them."]

    def _field_problems(
        self, request: JobRequest, dataset: Dataset | None, more: Sequence[MoreFolder]
    ) -> dict[str, str]:
        problems = setting_problems(request.settings)
        if not problems:
            problems |= self._places.problems(request.settings)
        if problem := job_name_problem(request.name):
            problems["name"] = problem
        if dataset is None:
            problems["dataset_id"] = "There is no such dataset."
        elif dataset.image_count == 0:
            problems["dataset_id"] = "The dataset has no images."
        if problem := more_data_problem(request.dataset_id, request.more_data) or _gone(request, more):
            problems["more_data"] = problem
        if request.settings.trainer not in self._recipes:
            problems["trainer"] = f"There is no trainer named {request.settings.trainer[:80]!r}."
        if request.time_limit_s is not None and not request.time_limit_s > 0:
            problems["time_limit_s"] = "The time limit must be more than zero."
        return problems

    def preview(self, request: JobRequest, dataset: Dataset | None, more: Sequence[MoreFolder] = NO_MORE) -> Preview:
        """The command line, problems, warnings, and an estimate if earlier jobs allow one."""
        found = self.problems(request, dataset, more)
        problems = (*found.fields.values(), *found.others)
        recipe = self._recipes.get(request.settings.trainer)
        if dataset is None or recipe is None or setting_problems(request.settings):
            return Preview(problems=problems)
        is_taken = bool(request.name.strip()) and self._store.has_name(request.name.strip())
        steps = recipe.steps(request.settings, dataset, more) if dataset.image_count else None
        estimate_s, basis = self._estimate(request, steps)
        training = self._training(request, dataset, more)
        return Preview(
            before=tuple(map(tuple, recipe.commands_before(training))),
            command=tuple(recipe.command(training)),
            problems=problems,
            warnings=(
                *recipe.warnings(request.settings),
                *self._gpu_warnings(request, recipe),
                *(["There is already a job with this name."] if is_taken else []),
            ),
            steps=steps,
            estimate_s=estimate_s,
            estimate_basis=basis,
            base_model=base.text if (base := recipe.base_model(request.settings)) else "",
            writes_bytes=recipe.expected_bytes(request.settings),
            free_bytes=self._free_bytes(),
        )

    def _training(self, request: JobRequest, dataset: Dataset, more: Sequence[MoreFolder]) -> TrainingRun:
        folder = AttemptFolder.of(self._data_dir, ID_TO_COME, 1)
        return TrainingRun(
            job_id=ID_TO_COME,
            name=request.name.strip(),
            settings=request.settings,
            dataset=dataset,
            dataset_path=Path(dataset.path or ""),
            attempt_dir=folder.path,
            output_dir=folder.output,
            gpu_count=request.settings.gpus,
            more=tuple(more),
        )

    def _free_bytes(self) -> int:
        try:
            return free_bytes(self._data_dir)
        except OSError as error:
            raise StoreError(f"The data folder {self._data_dir} cannot be used ({error.strerror or error}).") from error

    def _estimate(self, request: JobRequest, steps: int | None) -> tuple[float | None, str]:
        """The median pace of earlier jobs with this configuration times the steps to run, and what it is based on."""
        if not request.config_id or steps is None:
            return None, ""
        paces = [
            duration_s / progress.total_steps
            for duration_s, progress in self._store.former_runs(request.config_id)
            if progress.total_steps
        ]
        if not paces:
            return None, ""
        former = count_text(len(paces), "former job", "former jobs")
        return median(paces) * steps, f"Median pace of {former} with this configuration, for {steps:,} steps."


def _gone(request: JobRequest, more: Sequence[MoreFolder]) -> str:
    """The first further dataset that is not there any more, as a sentence."""
    there = {each.said.dataset_id for each in more}
    gone = next((each for each in request.more_data if each.dataset_id not in there), None)
    return f"The further dataset {(gone.name or gone.dataset_id)[:80]!r} is gone. Choose another one." if gone else ""
