"""A dashboard over a source in memory that a test steers through /steer: for states that are hard to bring about."""

import contextlib
import dataclasses
import gc
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from lib import services
from lib.errors import SourceUnavailable
from lib.jobs.job import Artifact, ArtifactKind, Failure, Job, JobStatus, Progress
from lib.jobs.query import JobPage, JobQuery
from lib.sources.memory import MemorySource
from lib.web.routes import ROUTES

HOSTILE_NAMES = (
    "![](http://evil.test/pixel.png) <img src=http://evil.test/x.png onerror=alert(1)>",
    "https://evil.test www.evil.test a@evil.test [click](http://evil.test) <http://evil.test>",
    "**bold** `code` $x^2$ :material/home: :smile: :red[red] a -> b # head",
    "\u202eright to left\u202c and \0 null \x1b[31mred\x1b[0m " + "x" * 5_000,
)
WORDS = (
    JobStatus.SUCCEEDED,
    JobStatus.FAILED,
    JobStatus.SUCCEEDED,
    JobStatus.CANCELLED,
    JobStatus.SUCCEEDED,
    JobStatus.LOST,
)


def make_job(number: int, status: JobStatus, **values: object) -> Job:
    """A plausible job that was created ``number`` hours ago."""
    created = datetime.now(UTC) - timedelta(hours=number, minutes=3)
    started = None if status is JobStatus.PENDING else created + timedelta(minutes=1)
    ended = created + timedelta(minutes=31 + number % 7) if status.is_terminal else None
    fraction = {JobStatus.SUCCEEDED: 1.0, JobStatus.PENDING: None}.get(status, 0.42)
    oom = Failure(
        cause="out_of_memory", message="The GPU ran out of memory.", hint="Lower the batch size or the resolution."
    )
    job = Job(
        id=f"job-{number:03d}",
        name=f"Aria v{number}",
        status=status,
        raw_status=status.value,
        attempt=0 if status is JobStatus.PENDING else 1,
        created_at=created,
        started_at=started,
        updated_at=ended or created,
        finished_at=ended,
        progress=Progress(
            fraction=fraction,
            stage="training",
            step=None if fraction is None else int(2000 * fraction),
            total_steps=2000,
            epoch=None if fraction is None else int(50 * fraction),
            total_epochs=50,
            loss=None if fraction is None else 0.08 + number / 10_000,
            eta_s=5445 if status is JobStatus.RUNNING else None,
        ),
        failure=oom if status in (JobStatus.FAILED, JobStatus.LOST) else None,
        dataset_id="dataset-1",
        dataset_name="Portraits of Aria",
        config_id="config-1",
        config_name="SDXL quick",
        settings={"epochs": 50, "learning_rate": 1e-4},
        size_bytes=524_288_000,
        artifacts=(
            (Artifact(id="aria.safetensors", name="aria.safetensors", kind=ArtifactKind.LORA, size_bytes=151_000_000),)
            if status is JobStatus.SUCCEEDED
            else ()
        ),
    )
    return dataclasses.replace(job, **values)  # type: ignore[arg-type]


class CountedSource(MemorySource):
    """Counts the reads of each list by the statuses that it asks for."""

    def list_jobs(self, query: JobQuery) -> JobPage:
        self.calls[f"list of {'+'.join(sorted(query.statuses)) or 'all'}"] += 1
        return super().list_jobs(query)


def full_source() -> MemorySource:
    """137 jobs: two running, two waiting, the others ended."""
    source = CountedSource()
    active = [JobStatus.RUNNING, JobStatus.PENDING, JobStatus.RUNNING, JobStatus.PENDING]
    source.add(*(make_job(n, active[n] if n < 4 else WORDS[n % len(WORDS)]) for n in range(137)))
    return source


SOURCE = full_source()


async def steer(request: Request) -> PlainTextResponse:
    """Change the source: ``?do=fail|heal|empty|refill|hostile|tick|new|end``."""
    match request.query_params["do"]:
        case "fail":
            SOURCE.failing = SourceUnavailable("The source does not answer.", hint="Is it running?")
        case "heal":
            SOURCE.failing = None
        case "empty":
            SOURCE.jobs.clear()
        case "refill":
            SOURCE.failing = None
            SOURCE.jobs = full_source().jobs
        case "hostile":
            SOURCE.jobs.clear()
            for number, name in enumerate(HOSTILE_NAMES):
                word = JobStatus.FAILED if number % 2 else JobStatus.RUNNING
                failure = Failure(cause="unknown", message=name, hint=name)
                SOURCE.add(make_job(number, word, name=name, failure=failure, dataset_name=name))
        case "tick":
            step = int(request.query_params["step"])
            job = SOURCE.jobs["job-000"]
            progress = dataclasses.replace(job.progress, step=step, fraction=step / 2000)
            SOURCE.add(dataclasses.replace(job, progress=progress))
        case "new":
            newest = make_job(0, JobStatus.RUNNING, id="job-new", name="Newest", created_at=datetime.now(UTC))
            SOURCE.add(newest)
        case "keep":
            kept = request.query_params["ids"].split(",")
            SOURCE.jobs = {job_id: SOURCE.jobs[job_id] for job_id in kept}
        case "end":
            for job in list(SOURCE.jobs.values()):
                if job.status.is_active:
                    ended = dataclasses.replace(
                        job, status=JobStatus.SUCCEEDED, raw_status="succeeded", finished_at=datetime.now(UTC)
                    )
                    SOURCE.add(ended)
    services.forget_reads()
    calls = ",".join(f"{name}={count}" for name, count in SOURCE.calls.items())
    return PlainTextResponse(f"{len(SOURCE.jobs)} jobs; calls: {calls}")


@contextlib.asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Put the source in before the first visitor; warm as Home.py is."""
    import pandas

    _ = pandas
    services.connect(SOURCE)
    gc.collect()
    gc.freeze()
    yield


app = st.App(
    str(Path(__file__).parents[2] / "lib" / "app.py"), lifespan=lifespan, routes=[*ROUTES, Route("/steer", steer)]
)
