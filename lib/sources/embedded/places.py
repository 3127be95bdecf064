"""Where jobs may run, and what settings say about it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lib.embedded.worker.executor import no_executor
from lib.jobs.cluster import resources_in
from lib.jobs.training_settings import Parameter, TrainingSettings
from lib.ray_settings import LOCAL, RAY, RaySettings, trainer_problem

_OF_THE_CLUSTER = ("cluster_cpus", "cluster_memory_gb", "cluster_resources")


@dataclass(frozen=True, slots=True)
class Places:
    """The executors of the settings, the usual one first, and the cluster that is among them."""

    executors: tuple[str, ...] = (LOCAL,)
    ray: RaySettings | None = None

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The settings about it that a person may choose; none where there is only this machine."""
        if self.ray is None:
            return {}
        return {"where": Parameter(choices=self.executors), **{name: Parameter() for name in _OF_THE_CLUSTER}}

    def placed(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with the place that an empty one means; this machine is not named."""
        where = settings.where or self.executors[0]
        return replace(settings, where="" if where == LOCAL and LOCAL in self.executors else where)

    def problems(self, settings: TrainingSettings) -> dict[str, str]:
        """Setting -> why a job cannot run where it says."""
        where = settings.where or self.executors[0]
        if where not in self.executors:
            return {"where": no_executor(where)}
        problems = {}
        try:
            resources_in(settings.cluster_resources)
        except ValueError as error:
            problems["cluster_resources"] = str(error)
        if where == RAY and self.ray is not None and (problem := trainer_problem(settings.trainer, self.ray)):
            problems["trainer"] = problem
        return problems
