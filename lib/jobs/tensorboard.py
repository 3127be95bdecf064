"""Losses from TensorBoard event files, by the optional ``tensorboard`` package (never tensorflow)."""

from pathlib import Path

from lib.errors import DashboardError
from lib.jobs.job import LossPoint
from lib.jobs.metrics import by_step

# The loss of one step as sd-scripts, OneTrainer and diffusers name it; the first one found in a file counts.
LOSS_TAGS = ("loss/current", "loss/train_step", "train_loss", "step_loss", "loss")
_INSTALL_HINT = "Install the optional reader: uv sync --extra tensorboard"


def read_tensorboard(folder: Path) -> list[LossPoint]:
    """The losses in all event files below ``folder``, by step; a later file wins over an earlier one.

    A file that is still being written counts as far as it is complete.

    Raises:
        DashboardError: The package is not installed, or a file cannot be read.
    """
    points: list[LossPoint] = []
    for path in sorted(folder.rglob("events.out.tfevents.*"), key=lambda path: path.name):
        points.extend(_losses(path))
    return by_step(points)


def _losses(path: Path) -> list[LossPoint]:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise DashboardError("TensorBoard event files cannot be read here.", hint=_INSTALL_HINT) from error
    # Scalars without limit, everything else as little as the reader can keep.
    limits = {"scalars": 0, "images": 1, "audio": 1, "histograms": 1, "compressedHistograms": 1, "tensors": 1}
    try:
        events = EventAccumulator(str(path), size_guidance=limits).Reload()
        tags = events.Tags()["scalars"]
        tag = next((name for name in LOSS_TAGS if name in tags), None)
        scalars = events.Scalars(tag) if tag else []
    except (OSError, ValueError, KeyError) as error:
        raise DashboardError(f"The event file {path.name} cannot be read ({type(error).__name__}).") from error
    return [LossPoint(step=scalar.step, loss=scalar.value, at=scalar.wall_time) for scalar in scalars]
