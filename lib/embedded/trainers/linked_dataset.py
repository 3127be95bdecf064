"""A folder of links to a dataset's images, for trainers that write into the folder that they read."""

import math
import shutil
from collections.abc import Iterable
from pathlib import Path

from lib.embedded.datasets.file_names import ENDINGS
from lib.embedded.datasets.summary import read_caption
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import TrainingSettings

# Pictures are told by their bytes, but not every trainer takes this ending.
_RENAMED = {".bmp": ".png"}


def linked_images(source: Path, folder: Path) -> Iterable[tuple[Path, str]]:
    """Make a link per image, and say its caption. Links have numbers: test.png would be a test image to some."""
    shutil.rmtree(folder, ignore_errors=True)  # of a start that was killed, perhaps with other images
    folder.mkdir(parents=True)
    images = sorted(path for path in source.iterdir() if path.suffix.lower() in ENDINGS)
    for number, image in enumerate(images):
        ending = image.suffix.lower()
        link = folder / f"{number:06d}{_RENAMED.get(ending, ending)}"
        link.symlink_to(image)
        yield link, read_caption(image.with_suffix(".txt"))


def words_problems(words: str, dataset: Dataset, where: str = "under Images and captions") -> list[str]:
    """Images without a caption need the words that are used instead."""
    if words or not dataset.uncaptioned:
        return []
    return [
        f"{len(dataset.uncaptioned)} of the dataset's images have no caption, such as {dataset.uncaptioned[0]}. "
        f"Caption them, or give the words that are used instead {where}."
    ]


def steps_of_epochs(images: int, settings: TrainingSettings, epochs: int) -> int:
    """Steps of some epochs without aspect ratio buckets, at least one. Each card gets its share of the batches.

    Args:
        images: With their repeats.
    """
    batches = math.ceil(images / settings.batch_size)
    return max(1, math.ceil(math.ceil(batches / settings.gpus) / settings.gradient_accumulation) * epochs)
