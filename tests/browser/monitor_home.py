"""A dashboard over a source in memory that a test steers through /steer: for moments that are hard to bring about.

Ticks are many times as fast here, so that ten of them are a matter of seconds; ``/steer?do=ticks`` counts them.
"""

import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from lib import services
from lib.errors import SourceUnavailable
from lib.jobs.job import Job, JobStatus, Progress
from lib.sources.memory import MemorySource
from lib.ui.monitor import poll_interval
from lib.web.routes import ROUTES
from tests.monitor_jobs import OUT_OF_MEMORY, fill, log_lines

FOLDER = Path(os.environ["LORA_DATA_DIR"])
source = MemorySource()
poll_interval.POLL_MS, poll_interval.LOSS_POLL_MS, poll_interval.RESULTS_POLL_MS = 300, 1_100, 1_500
poll_interval_ms = poll_interval.poll_interval_ms


def counted_interval_ms(job: Job, watch: poll_interval.Watch, now: datetime) -> int | None:
    """Every drawing of what ticks asks once when to tick again."""
    source.calls["ticks"] += 1
    return poll_interval_ms(job, watch, now)


poll_interval.poll_interval_ms = counted_interval_ms


def refill() -> None:
    """As every test begins."""
    source.failing = None
    FOLDER.mkdir(parents=True, exist_ok=True)
    fill(source, datetime.now(UTC), FOLDER)


def step() -> None:
    """The running job takes a step and prints ten lines."""
    job = source.jobs["run"]
    done = (job.progress.step or 0) + 1
    source.add(replace(job, progress=replace(job.progress, step=done, fraction=done / 2000)))
    printed = source.logs["run", 1].count(b"\n")
    source.logs["run", 1] += log_lines(printed, printed + 10)


def change(status: JobStatus) -> None:
    """The running job comes to this status."""
    ended = datetime.now(UTC) if status.is_terminal else None
    failure = OUT_OF_MEMORY if status is JobStatus.FAILED else None
    job = replace(source.jobs["run"], status=status, raw_status=status.value, finished_at=ended, failure=failure)
    source.add(job if status.is_terminal else replace(job, progress=Progress(fraction=0.01, step=20, total_steps=2000)))


async def steer(request: Request) -> PlainTextResponse:
    """``?do=step`` and the like; answers with the number of ticks so far."""
    match request.query_params["do"]:
        case "refill":
            refill()
        case "step":
            step()
        case "fail":
            source.failing = SourceUnavailable("No answer within 10 s.")
        case "recover":
            source.failing = None
        case "ticks":
            pass
        case word:
            change(JobStatus(word))
    return PlainTextResponse(str(source.calls["ticks"]))


@contextlib.asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """What ``Home.py`` does, with the source in memory."""
    services.connect(source)
    gc.collect()
    gc.freeze()
    yield


app = st.App("../../lib/app.py", lifespan=lifespan, routes=[*ROUTES, Route("/steer", steer)])
