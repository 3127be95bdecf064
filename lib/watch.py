"""Shows a run that was started elsewhere on the dashboard: ``python -m lib.watch DIR|LOG``.

DIR may hold one run or many. The runs become jobs that are only looked at; nothing is written beside them.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from lib.errors import DashboardError
from lib.jobs.words import count_text
from lib.settings import load_settings
from lib.sources.embedded.source import open_embedded

SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0 when the runs are watched, 2 when they cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.watch", description="Shows runs that were started elsewhere on the dashboard."
    )
    parser.add_argument("place", metavar="DIR|LOG", help="a run's log, its folder, or a folder of many runs")
    parser.add_argument("--name", default="", help="what the job is called; its file or folder otherwise")
    parser.add_argument("--output", default="", metavar="DIR", help="where the run writes its LoRA files")
    options = parser.parse_args(arguments)
    place, output = (
        str(Path(each).expanduser().absolute()) if each else "" for each in (options.place, options.output)
    )
    try:
        settings = load_settings()
        with closing(open_embedded(settings)) as source:
            jobs = source.watch(place, options.name, output=output, roots=None)
    except DashboardError as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 2
    for job in jobs[:SHOWN]:
        print(f"{job.id}  {job.status.label:<9}  {job.name}")
    if len(jobs) > SHOWN:
        print(f"… and {len(jobs) - SHOWN} more")
    print(f"{count_text(len(jobs), 'run is', 'runs are')} on the dashboard, page Jobs. Nothing here can stop them.")
    return 0


def _whole_path(text: str) -> str:
    return str(Path(text).expanduser().absolute()) if text else ""


if __name__ == "__main__":
    sys.exit(main())
