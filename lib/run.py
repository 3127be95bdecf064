"""Runs a command line as a job of the dashboard: ``python -m lib.run -- accelerate launch … train_network.py …``.

Output, Ctrl+C and exit code are as without it. The training goes on when the terminal is closed.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from lib.embedded.files.availability import open_file
from lib.embedded.worker.terminal_run import TerminalRun
from lib.errors import DashboardError
from lib.jobs.command_line import told_by
from lib.jobs.job import RunPlace
from lib.jobs.training_settings import MAX_JOB_NAME_LENGTH, job_name_problem
from lib.settings import load_settings
from lib.sources.embedded.source import open_embedded

MOST_CONFIG_BYTES = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is the command's, 2 when it could not be made a job."""
    _open_standard_streams()
    parser = argparse.ArgumentParser(
        prog="python -m lib.run", description="Runs a command line as a job of the dashboard."
    )
    parser.add_argument("--name", default="", help="what the job is called; the command's script otherwise")
    parser.add_argument("--output", default="", metavar="DIR", help="where it writes its LoRA files")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND …", help="what to run")
    options = parser.parse_args(arguments)
    argv = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not argv:
        parser.error("there is no command: write it behind --")
    told = told_by(argv, _beginning_of)
    name = options.name.strip() or told.title[:MAX_JOB_NAME_LENGTH]
    place = RunPlace(
        output=_whole(options.output or told.output),
        events=_whole(told.events),
        stem="" if options.output else told.stem,
    )
    try:
        if problem := job_name_problem(name):
            parser.error(problem)
        with closing(open_embedded(load_settings())) as source:
            run = TerminalRun(source.data_dir, source.store, source.start_worker)
            return run.show(run.start(argv, name, place), _shown_on())
    except DashboardError as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 2


def _shown_on() -> BinaryIO:
    """The terminal, a pipe or a file; nothing where standard output was closed."""
    return sys.stdout.buffer if sys.stdout else Path(os.devnull).open("wb")


def _open_standard_streams() -> None:
    """Open those that the caller closed (``<&-``, a service): a lock or the database would become one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _beginning_of(path: str) -> str:
    with contextlib.suppress(OSError, DashboardError, ValueError):
        descriptor = open_file(Path(path).expanduser().absolute())
        if descriptor is not None:
            with os.fdopen(descriptor, "rb") as file:
                return file.read(MOST_CONFIG_BYTES).decode("utf-8", "replace")
    return ""


def _whole(path: str) -> str:
    return os.path.realpath(Path(path).expanduser()) if path else ""


if __name__ == "__main__":
    sys.exit(main())
