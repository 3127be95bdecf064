"""Watching a run from the page, and the page of a run that was started elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lib import services
from lib.embedded.store.elsewhere import Outsider
from lib.jobs.job import JobStatus, Origin, RunPlace
from lib.jobs.query import JobQuery
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.memory import MemorySource
from tests.contract.houses import IdleLauncher
from tests.pages.reading import button, labels, texts

Open = Callable[..., AppTest]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """The folder that may be watched by the source that pages see."""
    folder, data = tmp_path / "runs", tmp_path / "data"
    folder.mkdir()
    with closing(EmbeddedSource(data, launcher=IdleLauncher(data), watch_dirs=[folder])) as source:
        services.connect(source)
        yield folder
        services.connect(None)


def watch(app: AppTest, place: str, name: str = "") -> AppTest:
    app.text_input(key="watch-place").set_value(place)
    app.text_input(key="watch-name").set_value(name)
    return button(app, "Watch").click().run()


def test_a_run_is_watched_from_the_list_and_its_page_says_what_that_means(runs: Path, open_page: Open) -> None:
    log = runs / "**fox** `x`.log"
    log.write_bytes(b"running training\n")
    app = watch(open_page("jobs"), str(log))
    assert [each.value for each in app.success] == ["1 run is watched."]
    (job,) = services.source().all_jobs(JobQuery())
    assert (job.status, job.origin, job.name) == (JobStatus.RUNNING, Origin.WATCHED, "**fox** `x`")
    page = open_page("job", id=job.id, view="details")
    assert "this run was started elsewhere" in texts(page)
    assert "Last sign of life" in texts(page)
    assert str(log) in texts(page)
    assert not {"Cancel", "Retry", "Use this configuration", "Fix and retry"} & set(labels(page))
    assert "Delete" in labels(page)
    button(page, "Delete").click().run()
    assert "its log and its files stay where they are" in texts(page)
    button(page, "Delete 1 job").click().run()
    assert log.exists()
    assert list(services.source().all_jobs(JobQuery())) == []


def test_what_cannot_be_watched_is_explained(runs: Path, open_page: Open) -> None:
    app = watch(open_page("jobs"), "/etc/passwd")
    assert "is in none of the folders that may be watched." in texts(app)
    assert "does not" not in texts(app)
    assert "Name a log file or a folder." in texts(watch(app, ""))
    assert list(services.source().all_jobs(JobQuery())) == []


def test_where_no_folder_is_open_the_page_says_how_to_open_one(embedded: EmbeddedSource, open_page: Open) -> None:
    assert "LORA_WATCH_DIRS" in texts(open_page("jobs"))


def test_a_source_that_cannot_watch_offers_nothing(source: MemorySource, open_page: Open) -> None:
    assert "LORA_WATCH_DIRS" not in texts(open_page("jobs"))


def test_a_run_of_a_terminal_can_be_cancelled_and_not_retried(runs: Path, open_page: Open) -> None:
    source = services.source()
    assert isinstance(source, EmbeddedSource)
    run = Outsider(
        name="mine", origin=Origin.TERMINAL, place=RunPlace(output=str(runs)), started_at=1.0, last_sign_at=1.0
    )
    job_id, _ = source.store.elsewhere.take_in(run)
    page = open_page("job", id=job_id)
    assert "Started in a terminal with lib.run" in texts(page)
    assert "Cancel" in labels(page)
    assert "Use this configuration" not in labels(page)
