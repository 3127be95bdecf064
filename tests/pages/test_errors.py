"""What a page does with an error that nobody foresaw."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from lib import services
from lib.jobs.job import Job
from lib.sources.memory import MemorySource
from tests.pages.reading import texts


class DefectiveSource(MemorySource):
    """Has a defect of its own."""

    def get_job(self, job_id: str) -> Job:
        raise ZeroDivisionError(job_id)


def test_an_unforeseen_error_is_said_logged_and_fails_the_test_of_the_page(
    source: MemorySource,
    open_page: Callable[..., AppTest],
    no_unexpected_error: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    services.connect(DefectiveSource())
    app = open_page("job", id="j1")
    assert not app.exception
    assert "Something unexpected went wrong in the dashboard (ZeroDivisionError)." in texts(app)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        no_unexpected_error()
    caplog.clear()
