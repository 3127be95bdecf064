"""How sd-scripts puts images into aspect ratio buckets: each bucket is cut into batches of its own.

``BucketManager`` in library/train_util.py and ``make_bucket_resolutions`` in library/model_util.py, at 48d368f.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SMALLEST_PX, LARGEST_PX, STEP_PX = 256, 1024, 64  # where nothing is said
Size = tuple[int, int]  # width and height in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """The limits of buckets, in pixels.

    Attributes:
        resolution: The size whose area no bucket exceeds.
        smallest, largest: Sides of a bucket.
        step: What the sides of a bucket are divisible by.
        no_upscale: An image is only made smaller, so its own size makes the bucket.
    """

    resolution: Size
    smallest: int = SMALLEST_PX
    largest: int = LARGEST_PX
    step: int = STEP_PX
    no_upscale: bool = False

    @property
    def problem(self) -> str:
        """Why sd-scripts would end before it begins; empty when it would not. Without upscaling it has no limits."""
        smallest, largest = self._limits()
        if self.step > (min(self.resolution) if self.no_upscale else self.smallest):
            what = "resolution" if self.no_upscale else f"smallest bucket side ({self.smallest})"
            return f"The bucket step is larger than the {what}. Lower it."
        if self.no_upscale or smallest <= min(self.resolution) <= max(self.resolution) <= largest:
            return ""
        is_small = min(self.resolution) < smallest
        way, side, px = ("smaller", "smallest", smallest) if is_small else ("larger", "largest", largest)
        return f"The resolution is {way} than the {side} bucket side ({px}). Change that side, or switch buckets off."

    def batches(self, sizes: Mapping[Size, int], *, repeats: int = 1, batch_size: int) -> int:
        """Batches of an epoch.

        Args:
            sizes: Size of images -> how many have it.
            repeats: How often each image counts.
        """
        known = [] if self.no_upscale else self._resolutions()
        counts: Counter[Size] = Counter()
        for size, count in sizes.items():
            counts[self._own_bucket(size) if self.no_upscale else _nearest(size, known)] += count
        return sum(math.ceil(count * repeats / batch_size) for count in counts.values())

    def _limits(self) -> tuple[int, int]:
        """The sides of buckets in whole steps, at least one."""
        smallest = max(1, self.smallest // self.step) * self.step
        return smallest, math.ceil(self.largest / self.step) * self.step

    def _resolutions(self) -> list[Size]:
        """Every bucket there may be, by width."""
        area, step, (smallest, largest) = self.resolution[0] * self.resolution[1], self.step, self._limits()
        square = max(1, int(math.sqrt(area) // step)) * step
        found = {(square, square)}
        for width in range(smallest, largest + 1, step):
            height = min(largest, area // width // step * step)
            if height >= smallest:
                found |= {(width, height), (height, width)}
        return sorted(found)

    def _own_bucket(self, size: Size) -> Size:
        """The size of an image, made smaller where its area is too large, rounded down to whole steps."""
        (width, height), area = size, self.resolution[0] * self.resolution[1]
        if width * height > area:
            aspect = width / height
            by_width = self._rounded(math.sqrt(area * aspect))
            by_height = self._rounded(area / math.sqrt(area * aspect))
            from_width = abs(by_width / max(1, self._rounded(by_width / aspect)) - aspect)
            from_height = abs(self._rounded(by_height * aspect) / max(1, by_height) - aspect)
            if from_width < from_height:
                width, height = by_width, int(by_width / aspect + 0.5)
            else:
                width, height = int(by_height * aspect + 0.5), by_height
        return width - width % self.step, height - height % self.step

    def _rounded(self, side: float) -> int:
        whole = int(side + 0.5)
        return whole - whole % self.step


def regularisation_counts(images: Sequence[tuple[Size, int, int]], train_images: int) -> Counter[Size]:
    """Size -> how often regularisation images of it are shown in an epoch: as often as train images, or a little more.

    ``DreamBoothDataset`` in library/train_util.py goes through them, at first with their repeats, then once each, until
    there are enough; what is left over is not used. Which images those are depends on their names: here, on their size.

    Args:
        images: Size, how many have it, and their repeats.
        train_images: Images that are learned, with repeats.
    """
    shown: Counter[Size] = Counter()
    missing = train_images
    for size, count, repeats in images:
        used = min(count, math.ceil(missing / repeats))
        shown[size] += used * repeats
        missing -= used * repeats
        if missing <= 0:
            return shown
    rounds, left = divmod(missing, sum(count for _, count, _ in images) or 1)
    for size, count, _ in images:
        shown[size] += rounds * count + min(count, left)
        left -= min(count, left)
    return shown


def _nearest(size: Size, known: list[Size]) -> Size:
    """The bucket of exactly this size, else the one whose aspect ratio is nearest; of equal ones the first."""
    if size in known:
        return size
    aspect = size[0] / size[1]
    return min(known, key=lambda bucket: abs(bucket[0] / bucket[1] - aspect))
