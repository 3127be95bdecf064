"""The page that compares jobs: differences, losses, samples and LoRAs of jobs in every state."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lib.errors import SourceUnavailable
from lib.sources.memory import MemorySource
from tests.making import NOW
from tests.monitor_jobs import fill
from tests.pages.reading import markdown, texts

OpenPage = Callable[..., AppTest]


@pytest.fixture
def filled(source: MemorySource, tmp_path: Path) -> MemorySource:
    fill(source, NOW, tmp_path)
    return source


def columns(app: AppTest) -> list[list[str]]:
    return [list(map(str, frame.value.columns)) for frame in app.dataframe]


def test_without_jobs_there_is_a_choice(open_page: OpenPage, filled: MemorySource) -> None:
    app = open_page("compare")
    assert app.title[0].value == "Compare jobs"
    app.multiselect[0].set_value(["run", "done"]).run()
    assert app.query_params["ids"] == "run,done"


def test_two_jobs(open_page: OpenPage, filled: MemorySource) -> None:
    app = open_page("compare", ids="run,done")
    assert not app.exception
    assert not app.error
    assert columns(app) == [
        ["Job", "Status", "Final loss", "Lowest loss", "NaN or infinite", "Steps", "Duration", "Speed", "Size"]
    ]
    shown = texts(app)
    assert "The jobs have the same parameters." in shown
    assert len(app.get("vega_lite_chart")) == 1
    assert "No samples with an epoch: Aria done." in shown
    app.toggle(key="compare-all").set_value(True).run()
    assert app.query_params["all"] == "1"
    assert columns(app)[0] == ["Group", "Parameter", "Aria run", "Aria done"]


def test_controls_stand_in_the_url(open_page: OpenPage, filled: MemorySource) -> None:
    app = open_page("compare", ids="run,done", x="time", smooth="50", log="1", epoch="2")
    assert app.slider(key="compare-smooth").value == 50
    assert app.select_slider(key="compare-epoch").value == 2
    app.select_slider(key="compare-epoch").set_value(3).run()
    assert app.query_params["epoch"] == "3"
    app.slider(key="compare-smooth").set_value(90).run()
    assert "smooth" not in app.query_params
    assert app.query_params["x"] == "time"


def test_final_loras_are_compared_on_request(open_page: OpenPage, filled: MemorySource) -> None:
    app = open_page("compare", ids="done,nan")
    app.toggle(key="compare-loras").set_value(True).run()
    assert "The files say the same." in texts(app)


def test_every_state_can_be_compared(open_page: OpenPage, filled: MemorySource) -> None:
    app = open_page("compare", ids="waiting,run,done,failed,lost,odd,nan,hostile")
    assert not app.exception
    assert not app.error
    assert "](http" not in markdown(app)


def test_a_job_that_is_gone_is_left_out_and_bad_values_are_named(open_page: OpenPage, filled: MemorySource) -> None:
    app = open_page("compare", ids="run,gone,done", x="sideways", smooth="100")
    shown = texts(app)
    assert "There is no job with the id 'gone'." in shown
    assert "x=sideways" in shown
    assert len(app.get("vega_lite_chart")) == 1


def test_a_source_that_is_down_is_explained(open_page: OpenPage, filled: MemorySource) -> None:
    filled.failing = SourceUnavailable("No answer within 10 s.")
    app = open_page("compare", ids="run,done")
    assert not app.exception
    assert "No answer within 10 s." in texts(app)
