"""Losses from TensorBoard event files, by the ``tensorboard`` package (never tensorflow)."""

import os
import stat
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from lib.errors import DashboardError
from lib.jobs.job import LossPoint
from lib.jobs.logs.losses import by_step

# Names of a step's loss in sd-scripts, OneTrainer and diffusers; the first one found in a file is used.
LOSS_TAGS = ("loss/current", "loss/train_step", "train_loss", "step_loss", "loss")
# sd-scripts, transformers, diffusers and SimpleTuner, ai-toolkit and OneTrainer.
LEARNING_RATE_TAGS = ("lr/unet", "lr/group0", "train/learning_rate", "learning_rate", "lr")
GRAD_NORM_TAGS = ("norm/avg_grad_norm", "train/grad_norm", "grad_norm")
# sd-scripts, OneTrainer (several concepts), transformers, Lightning and other scripts.
VALIDATION_TAGS = (
    *("loss/validation/step_average", "loss/validation_step/total_average", "eval/loss", "eval_loss", "val_loss"),
    *("validation_loss", "loss/val", "loss/validation", "val/loss"),
)
_CONCEPT = "loss/validation_step/"  # OneTrainer with one concept, whose name follows
# sd-scripts' own steps of this one are epochs: only its time says after which step it was measured.
_EPOCH_VALIDATION_TAG = "loss/validation/epoch_average"
_FILE_NAMES = "events.out.tfevents.*"


class EventFiles:
    """All event files below a folder; only new data is read. Not thread-safe.

    Args:
        since: Unix seconds; files that were not written after it are another run's.
    """

    def __init__(self, folder: Path, since: float = 0.0) -> None:
        self._folder = folder
        self._since = since
        self._readers: dict[Path, Any] = {}
        self._state: list[tuple[str, int, int]] = []
        self._points: list[LossPoint] = []

    def losses(self) -> list[LossPoint]:
        """The losses by step; a later file wins over an earlier one.

        A file that is still being written counts up to its last complete record.

        Raises:
            DashboardError: A file cannot be read.
        """
        try:
            found = [(path, path.lstat()) for path in self._folder.rglob(_FILE_NAMES)]
        except OSError as error:
            raise DashboardError(f"The event files cannot be read ({error.strerror or error}).") from error
        # A link leads elsewhere, and a pipe would never end.
        own = sorted((each for each in found if self._is_own(each[1])), key=lambda each: each[0].name)
        paths = [path for path, _ in own]
        state = [(str(path), facts.st_size, facts.st_mtime_ns) for path, facts in own]
        if state != self._state:
            self._points = by_step(point for path in paths for point in self._losses(path))
            self._state = state
        return self._points

    def _is_own(self, facts: os.stat_result) -> bool:
        return stat.S_ISREG(facts.st_mode) and facts.st_mtime >= self._since

    def _losses(self, path: Path) -> list[LossPoint]:
        try:
            if path not in self._readers:
                self._readers[path] = _reader(path)
            events = self._readers[path].Reload()
            tags = events.Tags()["scalars"]
            scalars, rates, norms = (
                _scalars(events, tags, names) for names in (LOSS_TAGS, LEARNING_RATE_TAGS, GRAD_NORM_TAGS)
            )
        except Exception as error:  # the package raises errors of several libraries for damaged files
            raise DashboardError(f"The event file {path.name} cannot be read ({type(error).__name__}).") from error
        validation_at = _validation(events, tags, scalars)
        rate_at, norm_at = ({scalar.step: scalar.value for scalar in series} for series in (rates, norms))
        return [
            LossPoint(
                step=scalar.step,
                loss=scalar.value,
                at=scalar.wall_time,
                learning_rate=rate_at.get(scalar.step),
                grad_norm=norm_at.get(scalar.step),
                validation_loss=validation_at.get(scalar.step),
            )
            for scalar in scalars
        ]


def _validation(events: Any, tags: Sequence[str], losses: Sequence[Any]) -> Mapping[int, float]:
    """Step of a loss -> the validation loss that was measured after it and before the next one."""
    concepts = [tag for tag in tags if tag.startswith(_CONCEPT)]
    found, place = _scalars(events, tags, (*VALIDATION_TAGS, *(concepts if len(concepts) == 1 else ()))), "step"
    if not found:
        found, place = _scalars(events, tags, (_EPOCH_VALIDATION_TAG,)), "wall_time"
    ordered = sorted(losses, key=attrgetter(place))
    places = [getattr(loss, place) for loss in ordered]
    return {
        ordered[max(0, bisect_right(places, getattr(each, place)) - 1)].step: each.value for each in found if ordered
    }


def _scalars(events: Any, tags: Sequence[str], names: Sequence[str]) -> Sequence[Any]:
    """The first of some series that there is."""
    tag = next((name for name in names if name in tags), None)
    series: Sequence[Any] = events.Scalars(tag) if tag else ()
    return series


def _reader(path: Path) -> Any:
    # It takes a second to import, and many installations never read such a file.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Scalars without limit, everything else as little as the reader can keep.
    limits = {"scalars": 0, "images": 1, "audio": 1, "histograms": 1, "compressedHistograms": 1, "tensors": 1}
    return EventAccumulator(str(path), size_guidance=limits)
