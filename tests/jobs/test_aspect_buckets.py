"""Steps where images have several shapes, as sd-scripts counts them."""

import pytest

from lib.jobs.aspect_buckets import Buckets, Size, regularisation_counts

SQUARE = Buckets(resolution=(512, 512))


@pytest.mark.parametrize(
    ("buckets", "sizes", "batch_size", "batches"),
    [
        # Recorded: sd-aspects-batch4 (buckets 64x192, 128x128 and 192x64) and sd-buckets-gradacc.
        (Buckets(resolution=(128, 128), smallest=64), {(512, 512): 4, (640, 256): 1, (256, 640): 1}, 4, 3),
        (Buckets(resolution=(128, 128), smallest=64), {(512, 512): 6}, 2, 3),
        (SQUARE, {(512, 512): 3, (510, 512): 1}, 4, 1),
        (SQUARE, {(512, 512): 3, (300, 512): 1}, 4, 2),
        (Buckets(resolution=(512, 768)), {(512, 768): 2, (1024, 1536): 2}, 4, 1),
        # Refused by the recipe, which still shows what it would count.
        (Buckets(resolution=(128, 128), step=256), {(512, 512): 3, (640, 256): 1}, 4, 1),
    ],
)
def test_batches_are_cut_from_each_bucket(
    buckets: Buckets, sizes: dict[Size, int], batch_size: int, batches: int
) -> None:
    assert buckets.batches(sizes, repeats=1, batch_size=batch_size) == batches


def test_repeats_fill_a_bucket_before_it_is_cut() -> None:
    sizes = {(512, 512): 1, (300, 512): 1}
    assert SQUARE.batches(sizes, repeats=4, batch_size=4) == 2
    assert SQUARE.batches(sizes, repeats=5, batch_size=4) == 4


@pytest.mark.parametrize(
    ("size", "bucket"),
    [((512, 512), (512, 512)), ((300, 200), (256, 192)), ((1000, 1000), (512, 512)), ((2000, 1000), (640, 320))],
)
def test_without_upscaling_an_images_own_size_makes_the_bucket(size: Size, bucket: Size) -> None:
    assert Buckets(resolution=(512, 512), no_upscale=True)._own_bucket(size) == bucket


@pytest.mark.parametrize(
    ("images", "train_images", "shown"),
    [
        ([((512, 512), 3, 1)], 10, {(512, 512): 10}),  # more than once each
        ([((512, 512), 20, 1)], 10, {(512, 512): 10}),  # the rest is not used
        ([((512, 512), 20, 4)], 10, {(512, 512): 12}),  # whole repeats at first
        ([((512, 512), 2, 2), ((300, 512), 1, 1)], 7, {(512, 512): 6, (300, 512): 1}),
        ([((512, 512), 2, 2), ((300, 512), 1, 1)], 4, {(512, 512): 4}),
    ],
)
def test_regularisation_images_are_shown_as_often_as_the_others(
    images: list[tuple[Size, int, int]], train_images: int, shown: dict[Size, int]
) -> None:
    # Compared with sd-scripts' DreamBoothDataset on 300 random sets of folders: the same wherever one shape is given.
    assert regularisation_counts(images, train_images) == shown
