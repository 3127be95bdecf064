"""The datasets page in every state, over real folders."""

import io
from pathlib import Path

import pytest
from PIL import Image

from lib.errors import DatasetError, SourceUnavailable
from lib.jobs.dataset import Dataset
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.sources.embedded.source import EmbeddedSource
from tests.pages.reading import button, texts, toasts

FOREIGN = "<i>x</i> ![](http://x.example/y.png) \u202e"


@pytest.fixture
def dataset(embedded: EmbeddedSource) -> Dataset:
    """Two images with the same bytes, one with a caption, and one that does not decode; scanned."""
    made = embedded.datasets.create("Shapes")
    content = io.BytesIO()
    Image.new("RGB", (48, 32), "teal").save(content, "PNG")
    for name in ("a.png", "b.png"):
        embedded.datasets.import_file(made.id, name, io.BytesIO(content.getvalue()))
    embedded.datasets.import_file(made.id, "a.txt", io.BytesIO(FOREIGN.encode()))
    Path(made.path, "broken.png").write_bytes(b"\x89PNG nothing")
    while embedded.datasets.scan(made.id, budget_s=5) < 1:
        pass
    return embedded.datasets.get(made.id)


def test_an_empty_installation_offers_to_create_one(embedded, open_page):
    app = open_page("datasets")
    assert "No datasets yet" in texts(app)
    app.text_input[0].set_value("Red sneakers")
    app = button(app, "Create dataset").click().run()
    (made,) = embedded.datasets.list()
    assert made.name == "Red sneakers"
    assert [each.value for each in app.title] == ["Red sneakers"]


@pytest.mark.parametrize("name", ["", "n" * 101, "SHAPES"])
def test_a_name_that_cannot_be_is_refused(embedded, dataset, open_page, name):
    app = open_page("datasets")
    app.text_input[0].set_value(name)
    app = button(app, "Create dataset").click().run()
    assert "The dataset was not created" in texts(app)
    assert len(embedded.datasets.list()) == 1


def test_the_list_shows_counts_and_what_is_wrong(dataset, open_page):
    app = open_page("datasets")
    assert not app.exception
    assert "3 images · 1 of 3 (33%) with caption" in texts(app)
    assert "1 file cannot be decoded: broken.png" in texts(app)


def test_one_dataset_with_its_facts_and_pictures(dataset, open_page):
    app = open_page("datasets", id=dataset.id)
    assert not app.exception
    said = texts(app)
    assert "48 × 32" in said
    assert "1 set of images with the same bytes: a.png = b.png" in said
    assert "<i>x</i>" in said
    assert not any("![](" in str(each.value) for each in [*app.markdown, *app.caption])
    assert {each.label.replace("\\", "") for each in app.button} >= {"a.png", "b.png", "broken.png"}


def test_a_caption_is_edited_and_an_image_deleted(embedded, dataset, open_page):
    app = button(open_page("datasets", id=dataset.id), "a.png").click().run()
    app = app.text_area[0].set_value("teal, flat").run()  # a run of the page, as a scan that ends makes one
    app = button(app, "Save caption").click().run()
    assert not app.text_area
    assert toasts(app) == ["Saved the caption of a.png"]
    assert embedded.datasets.images(dataset.id)[0].caption == "teal, flat"
    app = button(open_page("datasets", id=dataset.id), "b.png").click().run()
    app = button(app, "Delete image").click().run()
    assert "b.png** and its caption will be deleted for good" in texts(app)
    assert len(embedded.datasets.images(dataset.id)) == 3
    app = button(button(app, "Keep the image").click().run(), "Delete image").click().run()
    assert toasts(button(app, "Delete for good").click().run()) == ["Deleted b.png"]
    assert [image.name for image in embedded.datasets.images(dataset.id)] == ["a.png", "broken.png"]


def test_captions_are_written_one_after_the_other(embedded, dataset, open_page, monkeypatch):
    app = open_page("datasets", id=dataset.id, show="uncaptioned", page="7")
    assert app.toggle[0].value is True
    assert {each.label.replace("\\", "") for each in app.button} >= {"b.png", "broken.png"}
    assert "a.png" not in {each.label.replace("\\", "") for each in app.button}
    app = button(app, "b.png").click().run()
    assert "1 of 2. " in texts(app)
    assert button(app, "Previous").disabled
    app.text_area[0].set_value("teal")
    app = button(app, "Next").click().run()
    assert "2 of 2. Saved the caption of b.png." in texts(app)
    assert embedded.datasets.get(dataset.id).uncaptioned == ("broken.png",)
    app = button(app, "Previous").click().run()  # the filter does not take away what was just captioned
    assert app.text_area[0].value == "teal"

    def full(*_: object) -> None:
        raise DatasetError("The caption could not be saved: No space left on device.", hint="Check the disk.")

    monkeypatch.setattr(embedded.datasets, "set_caption", full)
    app.text_area[0].set_value("teal, flat")
    app = button(app, "Next").click().run()
    assert "No space left on device" in texts(app)
    assert app.text_area[0].value == "teal, flat"
    app = button(app, "Discard changes").click().run()
    assert not app.text_area
    assert embedded.datasets.images(dataset.id)[1].caption == "teal"


def test_a_caption_that_somebody_else_saved_meanwhile_stays(embedded, dataset, open_page):
    app = button(open_page("datasets", id=dataset.id), "a.png").click().run()
    embedded.datasets.set_caption(dataset.id, "a.png", "saved by somebody else")
    app = button(app, "Next").click().run()
    app = button(app, "Previous").click().run()
    assert app.text_area[0].value == "saved by somebody else"
    embedded.datasets.set_caption(dataset.id, "a.png", "and once more")
    button(app, "Delete image").click().run()
    assert embedded.datasets.images(dataset.id)[0].caption == "and once more"


def test_every_image_may_have_a_caption(embedded, dataset, open_page):
    for name in ("b.png", "broken.png"):
        embedded.datasets.set_caption(dataset.id, name, "x")
    app = open_page("datasets", id=dataset.id, show="uncaptioned")
    assert "Every image has a caption." in texts(app)
    app = app.toggle[0].set_value(False).run()
    assert "show" not in app.query_params
    assert "a.png" in {each.label.replace("\\", "") for each in app.button}


def test_captions_without_an_image_are_named_and_can_be_deleted(embedded, dataset, open_page):
    embedded.datasets.import_file(dataset.id, "<b>.txt", io.BytesIO(b"of nothing"))
    assert "1 caption has no image: <b>.txt" in texts(open_page("datasets"))
    app = button(open_page("datasets", id=dataset.id), "Delete captions without image").click().run()
    assert "1 caption will be deleted for good: <b>.txt" in texts(app)
    app = button(app, "Delete for good").click().run()
    assert toasts(app) == ["Deleted 1 caption"]
    assert embedded.datasets.get(dataset.id).stray_captions == ()
    assert embedded.datasets.images(dataset.id)[0].caption


def test_deleting_says_the_size_first_and_is_refused_while_used(embedded, dataset, open_page, monkeypatch):
    monkeypatch.setattr(embedded._launcher, "ensure", lambda **_: None)
    request = JobRequest(
        name="uses it", dataset_id=dataset.id, config_id=None, settings=TrainingSettings(), submission_id="s1"
    )
    job = embedded._store.submit(request, dataset_name="Shapes", config_name=None)  # before the image broke
    app = button(open_page("datasets", id=dataset.id), "Delete dataset").click().run()
    assert "with 3 images (" in texts(app)
    app = button(app, "Delete for good").click().run()
    assert "used by the job 'uses it'" in texts(app)
    embedded.cancel_job(job.id)
    app = button(open_page("datasets", id=dataset.id), "Delete dataset").click().run()
    app = button(app, "Delete for good").click().run()
    assert toasts(app) == ["Deleted the dataset Shapes"]
    assert embedded.datasets.list() == ()


def test_a_dataset_that_was_not_looked_at_yet_shows_how_far_it_is(embedded, dataset, open_page, monkeypatch):
    Image.new("RGB", (8, 8)).save(Path(dataset.path, "new.png"))
    monkeypatch.setattr(embedded.datasets, "scan", lambda *_, **__: 0.75)
    app = open_page("datasets", id=dataset.id)
    assert not app.exception
    assert [bar.proto.value for bar in app.get("progress")] == [75]


def test_a_full_disk_is_said_and_not_taken_for_a_broken_image(embedded, dataset, open_page, monkeypatch):
    def full(*_: object) -> Path:
        raise DatasetError("The thumbnail could not be made: No space left on device.", hint="Check the disk.")

    monkeypatch.setattr(embedded.datasets, "thumbnail", full)
    for app in (open_page("datasets"), open_page("datasets", id=dataset.id)):
        assert not app.exception
        assert "No space left on device" in texts(app)
        assert "The image does not decode." not in texts(app)


def test_a_large_dataset_is_shown_page_by_page(embedded, dataset, open_page):
    for number in range(30):
        Path(dataset.path, f"c{number:02}.png").write_bytes(Path(dataset.path, "a.png").read_bytes())
    app = open_page("datasets", id=dataset.id, page="2")
    assert "Showing 25-33 of 33" in texts(app)
    assert "Showing 25-33 of 33" in texts(open_page("datasets", id=dataset.id, page="99"))


def test_a_dataset_that_is_gone_is_said(embedded, open_page):
    assert "no dataset with the id" in texts(open_page("datasets", id="../../etc"))


def test_a_source_that_keeps_none_shows_them_and_says_why(source, open_page):
    source.datasets.kept = {"d1": Dataset(id="d1", name=FOREIGN, image_count=5)}
    listed = open_page("datasets")
    assert "keeps no files" in texts(listed)
    assert "ready · 5 images" in texts(listed)
    one = open_page("datasets", id="d1")
    assert not one.exception
    assert [each.label for each in one.button] == ["All datasets"]


def test_a_source_that_is_down_is_said(source, open_page):
    source.failing = SourceUnavailable("The source does not answer.")
    for app in (open_page("datasets"), open_page("datasets", id="d1")):
        assert "The source does not answer" in texts(app)
        assert not app.exception
