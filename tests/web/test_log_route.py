"""/logs: the raw log of an attempt, streamed as a file."""

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lib.jobs.job import Job, JobStatus
from lib.sources.memory import MemorySource
from lib.web.routes import LOG_PIECE_BYTES, ROUTES

LOG = b"steps:  42%|\xe2\x96\x88|\r\x1b[31m<script>\xff\n" * (LOG_PIECE_BYTES // 20)


@pytest.fixture
def client(source: MemorySource) -> Iterator[TestClient]:
    source.add(Job(id='j "1"', name="one", status=JobStatus.RUNNING, attempt=2))
    source.logs['j "1"', 2] = LOG
    with TestClient(Starlette(routes=ROUTES), base_url="http://localhost") as client:
        yield client


def test_a_log_comes_byte_for_byte_as_a_file(client: TestClient) -> None:
    answer = client.get("/logs/j%20%221%22/2")
    assert answer.content == LOG
    assert answer.headers["content-disposition"] == 'attachment; filename="j__1_-attempt-2.log"'
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_empty_log_and_an_unknown_job(client: TestClient) -> None:
    assert client.get("/logs/j%20%221%22/1").content == b""
    unknown = client.get("/logs/nope/1")
    assert unknown.status_code == 404
    assert "There is no job" in unknown.text


@pytest.mark.parametrize("attempt", ["0", "3", "-1", "x", "²", "9" * 5_000])
def test_an_attempt_that_never_was_is_not_found(client: TestClient, attempt: str) -> None:
    answer = client.get(f"/logs/j%20%221%22/{attempt}")
    assert (answer.status_code, "no attempt" in answer.text) == (404, True)
