"""A dashboard without pages: submits jobs while few are active, and looks at the list every now and then.

Prints the id of every job it was told of. The same number always stands for the same submission, so that one started
after a kill repeats what the killed one may or may not have done.
"""

import os
import sys
import time
from pathlib import Path

from lib.jobs.query import JobQuery
from lib.sources.embedded.source import EmbeddedSource
from tests.embedded.worker.drill.processes import drill_request, open_source

LOOK_EVERY_S = 0.2


def submit_and_look(source: EmbeddedSource, proof: Path, prefix: str, number: int, active_jobs: int) -> None:
    """Until ``PREFIX.stop`` is there, keep jobs coming; then only look, as long as the parent lives."""
    parent = os.getppid()
    while os.getppid() == parent:
        active = sum(job.status.is_active for job in source.list_jobs(JobQuery(take=50)).jobs)
        if active < active_jobs and not (proof / "stop").exists():
            job = source.create_job(drill_request(proof, f"{prefix}-{number}", seconds=0.8 + number % 5 / 5))
            os.write(1, f"{job.id}\n".encode())
            number += 1
        else:
            time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    data_dir, proof_dir, prefix, number, active_jobs, max_parallel = sys.argv[1:]
    source = open_source(Path(data_dir), max_parallel=int(max_parallel))
    submit_and_look(source, Path(proof_dir), prefix, int(number), int(active_jobs))
