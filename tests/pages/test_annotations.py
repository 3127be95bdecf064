"""Stars, picked files, names, notes and tags on the pages."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from lib.jobs.job import Artifact, ArtifactKind, JobStatus
from lib.sources.memory import MemorySource
from lib.sources.protocol import Action
from tests.making import make_job
from tests.pages.reading import button, labels, texts, toasts

Open = Callable[..., AppTest]
FILES = tuple(
    Artifact(id=f"1/{name}", name=name, kind=kind, epoch=epoch)
    for name, kind, epoch in (
        ("final.safetensors", ArtifactKind.LORA, None),
        ("e1.safetensors", ArtifactKind.CHECKPOINT, 1),
        ("train.log", ArtifactKind.LOG, None),
    )
)


@pytest.fixture
def done(source: MemorySource) -> MemorySource:
    """A source with one job that has succeeded, another without a tag, and their files."""
    source.add(make_job(1, id="done", artifacts=FILES, tags=("fox",)), make_job(2, status=JobStatus.SUCCEEDED))
    return source


def downloads(app: AppTest) -> list[str]:
    return [each.proto.url for each in app.get("link_button") if each.proto.label == "Download"]


def test_a_picked_checkpoint_is_what_download_offers_first(done: MemorySource, open_page: Open) -> None:
    app = open_page("job", id="done", view="files")
    assert labels(app).count("☆") == 2, "the log is no file to pick"
    assert downloads(app)[0] == "/download/done/1/final.safetensors"
    app.button(key="best-done-1/e1.safetensors").click().run()
    assert done.jobs["done"].best == "1/e1.safetensors"
    app = open_page("job", id="done", view="files")
    assert downloads(app)[:2] == ["/download/done/1/e1.safetensors"] * 2
    assert "★ Best" in texts(app)
    assert "/download/done/1/e1.safetensors" in downloads(open_page("overview"))
    app.button(key="best-done-1/e1.safetensors").click().run()
    assert done.jobs["done"].best == ""


def test_a_star_from_the_menu_is_seen_in_the_list(done: MemorySource, open_page: Open) -> None:
    app = button(open_page("job", id="done"), "Star").click().run()
    assert app.title[0].value == "★ Aria v1"
    assert toasts(app) == ["Starred"]
    assert open_page("jobs").dataframe[0].value["Name"][0] == "★ Aria v1"
    button(app, "Remove star").click().run()
    assert not done.jobs["done"].is_starred


def test_name_tags_and_note_are_text_and_one_form(done: MemorySource, open_page: Open) -> None:
    app = open_page("job", id="done", view="details")
    app.text_input[0].input("*New* name")
    app.text_input[1].input("Client A, fox,, FOX")
    app.text_area[0].input("**bold** ![x](http://evil.example/x.png)\nsecond line")
    app = button(app, "Save").click().run()
    job = done.jobs["done"]
    assert (job.name, job.tags) == ("*New* name", ("client a", "fox"))
    assert app.text[0].value == job.note == "**bold** ![x](http://evil.example/x.png)\nsecond line"
    assert "evil.example" not in "".join(each.value for each in app.markdown)
    links = {each.proto.label: each.proto.query_string for each in app.get("page_link") if each.proto.page == "jobs"}
    assert links["client a"] == "tag=client+a"
    app.text_input[0].input(" ")
    app = button(app, "Save").click().run()
    assert "The job name is empty" in app.error[0].value.replace("\\", "")
    assert done.jobs["done"].name == "*New* name"


def test_the_list_is_filtered_by_a_tag_of_its_url(done: MemorySource, open_page: Open) -> None:
    app = open_page("jobs", tag="Fox", columns="tags")
    assert list(app.dataframe[0].value["Tags"]) == ["fox"]
    assert not app.warning
    app.text_input(key="filter-tag").input(" NOBODY ").run()
    assert app.query_params["tag"] in ("nobody", ["nobody"])
    assert app.header[0].value == "No jobs found"
    button(app, "Clear filters").click().run()
    assert len(app.dataframe[0].value) == 2


def test_where_it_cannot_be_done_nothing_is_offered_and_texts_stay(done: MemorySource, open_page: Open) -> None:
    done.refused = {Action.ANNOTATE: "Not here."}
    app = open_page("job", id="done", view="details")
    assert not {"Star", "Save"} & set(labels(app))
    assert "fox" in labels(app)
    assert "☆" not in labels(open_page("job", id="done", view="files"))
