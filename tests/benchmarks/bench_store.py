"""Times of the embedded source's reads with 100, 10,000 and 100,000 jobs.

uv run python -m tests.benchmarks.bench_store
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lib.jobs.job import Failure, Job, JobStatus, Progress
from lib.jobs.query import JobQuery, SortBy
from lib.sources.embedded.source import EmbeddedSource
from tests.embedded.known_jobs import put_jobs

COUNTS = (100, 10_000, 100_000)
REPEATS = 15
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ENDS = (JobStatus.SUCCEEDED,) * 7 + (JobStatus.FAILED,) * 2 + (JobStatus.CANCELLED, JobStatus.LOST)
SETTINGS = {"epochs": 10, "learning_rate": 1e-4, "batch_size": 2, "resolution": 1024, "sample_prompts": ["a photo"] * 4}


def made_jobs(count: int) -> Iterator[Job]:
    """Ended jobs, one a few minutes after the other over the last months."""
    chance = random.Random(1)
    for index in range(count):
        created = NOW - timedelta(minutes=3 * (count - index))
        started, minutes = created + timedelta(seconds=chance.uniform(1, 900)), chance.uniform(1, 300)
        status = chance.choice(ENDS)
        failure = Failure(cause="out_of_memory", message="The GPU ran out of memory.", hint="Lower the batch size.")
        yield Job(
            id=f"{created:%Y%m%d-%H%M%S}-{index:08d}",
            name=f"{chance.choice(('Aria', 'Bruno', 'Clara', 'Dörte'))} v{index}",
            status=status,
            attempt=1,
            created_at=created,
            started_at=started,
            updated_at=started + timedelta(minutes=minutes),
            finished_at=started + timedelta(minutes=minutes),
            progress=Progress(
                fraction=1.0, step=2000, total_steps=2000, epoch=10, total_epochs=10, loss=chance.uniform(0.05, 0.2)
            ),
            failure=failure if status is JobStatus.FAILED else None,
            dataset_id=f"dataset-{index % 40}",
            dataset_name=f"Portraits {index % 40}",
            config_id=f"config-{index % 12}",
            config_name=f"SDXL {index % 12}",
            trainer="sd-scripts",
            settings=SETTINGS,
            size_bytes=150_000_000,
        )


def questions(source: EmbeddedSource, count: int) -> dict[str, Callable[[], object]]:
    """What pages ask, by name."""

    def ask(**values: object) -> Callable[[], object]:
        return lambda: source.list_jobs(JobQuery(**values))

    failed = frozenset({JobStatus.FAILED})
    middle = source.list_jobs(JobQuery(skip=count // 2)).jobs[0].id
    return {
        "first page": ask(),
        "next page": ask(skip=20),
        "middle page": ask(skip=count // 2),
        "last page": ask(skip=count - 20),
        "oldest first": ask(descending=False),
        "by name": ask(sort_by=SortBy.NAME, descending=False),
        "by status": ask(sort_by=SortBy.STATUS),
        "by duration": ask(sort_by=SortBy.DURATION),
        "by loss": ask(sort_by=SortBy.LOSS),
        "by loss, smallest first": ask(sort_by=SortBy.LOSS, descending=False),
        "by progress": ask(sort_by=SortBy.PROGRESS),
        "failed": ask(statuses=failed),
        "failed by name": ask(statuses=failed, sort_by=SortBy.NAME),
        "failed or lost": ask(statuses=frozenset({JobStatus.FAILED, JobStatus.LOST})),
        "failed in 24 h": ask(statuses=failed, finished_from=NOW - timedelta(days=1), finished_until=NOW),
        "ended in 30 d": ask(finished_from=NOW - timedelta(days=30), finished_until=NOW),
        "search many": ask(search="aria"),
        "search many by loss": ask(search="aria", sort_by=SortBy.LOSS),
        "search few": ask(search=f"v{count // 2}"),
        "search none": ask(search="nobody"),
        "search and failed": ask(search="clara", statuses=failed, sort_by=SortBy.NAME),
        "get job": lambda: source.get_job(middle),
        "status counts": source.count_by_status,
        "outcomes 24 h": lambda: source.outcomes("24h"),
        "outcomes 30 d": lambda: source.outcomes("30d"),
        "health": source.health,
    }


def median_ms(call: Callable[[], object]) -> tuple[float, float]:
    """Median time and median CPU time of a call after one to warm up; on a busy machine only the latter says much."""
    call()
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((time.process_time() - cpu) * 1000)
    return statistics.median(walls), statistics.median(cpus)


def measured(count: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Milliseconds and CPU milliseconds by question."""
    source = EmbeddedSource(folder, now=lambda: NOW)
    try:
        put_jobs(source._store, made_jobs(count))
        return {name: median_ms(call) for name, call in questions(source, count).items()}
    finally:
        source.close()


def main() -> None:
    """Print the table."""
    columns = []
    for count in COUNTS if len(sys.argv) < 2 else [int(word) for word in sys.argv[1:]]:
        with tempfile.TemporaryDirectory() as folder:
            columns.append((count, measured(count, Path(folder))))
            size = (Path(folder) / "lora.db").stat().st_size
            print(f"{count:>7,} jobs: {size / 1e6:,.1f} MB")
    print(f"{f'median of {REPEATS}, ms (CPU ms)':<28}" + "".join(f"{count:>18,}" for count, _ in columns))
    for name in columns[0][1]:
        cells = [f"{wall:.2f} ({cpu:.2f})" for wall, cpu in (times[name] for _, times in columns)]
        print(f"{name:<28}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
