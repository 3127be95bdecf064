"""Whether a training that has not done its first step should have done it by now."""

from lib.jobs.job import Progress, Stage

# How long each phase before the first step may be quiet, in seconds: reading a model of 20 GB from a slow disk,
# caching a large video, compiling for the first step.
USUAL_S = {
    Stage.QUEUED: 900.0,
    Stage.LOADING_MODEL: 900.0,
    Stage.CACHING_LATENTS: 1_800.0,
    Stage.TRAINING: 300.0,
}


# Between two steps a checkpoint is saved and samples are made, which takes minutes at most.
SILENT_S = 600.0
_NOT_TRAINING = frozenset({Stage.UPLOADING.value, Stage.FINISHED.value})


def usual_start_s(progress: Progress) -> float | None:
    """How long the phase before the first step may take; None once a step was done, or in another phase."""
    if progress.step or progress.stage is None:
        return None
    return {stage.value: usual for stage, usual in USUAL_S.items()}.get(progress.stage)


def is_stalled_at_start(progress: Progress, quiet_s: float) -> bool:
    """Whether a phase before the first step is quiet for longer than it usually takes.

    Args:
        progress: Where the training stands.
        quiet_s: For how long it has printed nothing.
    """
    usual = usual_start_s(progress)
    return usual is not None and quiet_s > usual


def is_stalled(progress: Progress, quiet_s: float) -> bool:
    """Whether a running training is quiet for longer than it usually is, in whatever phase."""
    if progress.stage in _NOT_TRAINING:
        return False
    return quiet_s > (usual_start_s(progress) or SILENT_S)
