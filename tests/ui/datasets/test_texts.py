"""What the datasets and configurations pages say, as pure functions."""

import pytest

from lib.jobs.dataset import Dataset
from lib.ui.datasets.facts import coverage_text, dataset_facts, problem_texts, summary_text
from lib.ui.datasets.upload import upload_data
from lib.ui.parts.text import escaped


@pytest.mark.parametrize(
    ("captions", "images", "text"),
    [(0, 0, "–"), (None, 3, "–"), (3, None, "–"), (199, 200, "199 of 200 (99%)"), (2, 2, "2 of 2 (100%)")],
)
def test_coverage(captions, images, text):
    assert coverage_text(Dataset(id="d", name="d", caption_count=captions, image_count=images)) == text


def test_what_is_unknown_is_said_to_be():
    dataset = Dataset(id="d", name="d")
    assert set(dataset_facts(dataset).values()) == {"–"}
    assert summary_text(dataset) == "ready · unknown number of images"


def test_bad_pictures_are_named_and_escaped():
    dataset = Dataset(
        id="d",
        name="d",
        undecodable=("![](http://x).png", *(f"{number}.png" for number in range(40))),
        duplicates=(("a.png", "b.png"),),
        stray_captions=("*a*.txt", "b.txt"),
    )
    undecodable, duplicates, strays = problem_texts(dataset)
    assert strays == f"2 captions have no image: {escaped('*a*.txt')}, b\\.txt"
    assert undecodable.startswith(f"41 files cannot be decoded: {escaped('![](http://x).png')}, 0\\.png")
    assert undecodable.endswith("and 11 more")
    assert duplicates == "1 set of images with the same bytes: a\\.png = b\\.png"


def test_the_upload_address_holds_the_id_as_one_part():
    assert upload_data("a/../b c")["url"] == "/upload/a%2F..%2Fb%20c/"
