"""Tries in the background whether a trainer starts: its own ``--help``, in its own environment."""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.embedded.trainers.recipe import Recipe
from lib.embedded.trainers.trainer_folder import Installation
from lib.errors import NotSupported
from lib.jobs.trainer_check import TrainerCheck
from lib.jobs.training_settings import TrainingSettings
from lib.settings import ROOT

log = logging.getLogger(__name__)
TIME_LIMIT_S = 240
SHOWN_LINES = 8
MOST_OUTPUT_BYTES = 1 << 20
PACKAGES = ("torch", "accelerate", "diffusers", "transformers", "peft", "bitsandbytes", "xformers")
# Runs in the trainer's environment, so it must be understood by any Python 3.
_PROBE = f"""
import importlib.metadata, json, platform
found = {{"Python": platform.python_version()}}
for name in {PACKAGES!r}:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
found.setdefault("torch", "not installed")
try:
    import torch
    found["Card"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"
except Exception as error:
    found["Card"] = "unknown: torch cannot be imported (" + type(error).__name__ + ")"
print(json.dumps(found))
"""


def check_installation(installed: Installation, environ: Mapping[str, str]) -> TrainerCheck:
    """Start the script with ``--help`` and ask for versions. Takes as long as the trainer's imports do."""
    began = time.monotonic()
    folder = installed.folder
    facts = {"Version": version_of(folder.path)} if folder.path else {}
    if problems := folder.problems([installed.script], installed.packages):
        return TrainerCheck(facts=facts, problem=problems[0])
    if folder.python:
        _, output = _run([str(folder.python), "-c", _PROBE], environ)
        with contextlib.suppress(ValueError, IndexError):
            facts |= {str(name): str(value) for name, value in json.loads(output.splitlines()[-1]).items()}
    start = [str(folder.python)] if folder.python else [*folder.accelerate(), "--num_processes=1", "--num_machines=1"]
    code, output = _run([*start, folder.at(installed.script), "--help"], environ)
    took_s = time.monotonic() - began
    if code == 0:
        return TrainerCheck(facts=facts, took_s=took_s)
    lines = tuple(line[:300] for line in output.splitlines() if line.strip())[-SHOWN_LINES:]
    return TrainerCheck(facts=facts, problem=_problem(installed, code, lines), lines=lines, took_s=took_s)


def _problem(installed: Installation, code: int | None, lines: Sequence[str]) -> str:
    name = installed.folder.name
    if code is None:
        return f"{name} did not answer within {TIME_LIMIT_S} s, so it was stopped. Try it in a terminal."
    if missing := re.search(r"No module named '([^']{1,80})'", "\n".join(lines)):
        return f"{name} does not start: its environment has no {missing[1]}. Install the requirements of {name} there."
    return f"{name} does not start: its {Path(installed.script).name} ended with exit code {code}. Its last lines:"


def _run(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[int | None, str]:
    """Exit code and the end of the output; None when it was stopped because it took too long."""
    code, output = None, b""
    try:
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
            env={**environ, "COLUMNS": "240", "PYTHONUNBUFFERED": "1"}, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                output, _ = process.communicate(timeout=TIME_LIMIT_S)
                code = process.returncode
            except subprocess.TimeoutExpired as late:
                output = late.output or b""
            finally:
                with contextlib.suppress(OSError):  # it has left no process behind
                    os.killpg(process.pid, signal.SIGKILL)
    except OSError as error:
        return 127, f"{argv[0]}: {error.strerror or error}"
    return code, output[-MOST_OUTPUT_BYTES:].decode("utf-8", "replace")


def version_of(checkout: Path) -> str:
    """The commit that a checkout is at, read from its files: ``48d368f``; or that it is not known."""
    git = checkout / ".git"
    with contextlib.suppress(OSError, ValueError):
        head = (git / "HEAD").read_text("ascii").strip()
        name = head.removeprefix("ref: ")
        if name == head:
            return head[:7]
        if (git / name).is_file():
            return f"{(git / name).read_text('ascii').strip()[:7]} ({Path(name).name})"
        packed = re.search(rf"^([0-9a-f]{{40}}) {re.escape(name)}$", (git / "packed-refs").read_text("utf-8"), re.M)
        if packed:
            return f"{packed[1][:7]} ({Path(name).name})"
    return "unknown: the folder is no git checkout"


class TrainerChecks:
    """Checks that run in the background; the last one of each trainer and script is kept. Safe to use from threads.

    Args:
        environ: What trainers get of our environment.
    """

    def __init__(self, recipes: Mapping[str, Recipe], environ: Mapping[str, str]) -> None:
        self._recipes, self._environ = recipes, environ
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._kept: dict[Installation, TrainerCheck] = {}
        self.trainers = frozenset(name for name, each in recipes.items() if each.installation(TrainingSettings()))

    def state(self, settings: TrainingSettings) -> TrainerCheck | None:
        """What came of it, or that it runs; None when nobody asked."""
        installed = self._installation(settings)
        with self._lock:
            return self._kept.get(installed) if installed else None

    def start(self, settings: TrainingSettings) -> None:
        """Begin, unless it runs already. One check runs at a time, since importing takes memory.

        Raises:
            NotSupported: When the trainer is installed nowhere.
        """
        installed = self._installation(settings)
        if installed is None:
            raise NotSupported(f"There is nothing to check for the trainer {settings.trainer[:80]}.")
        with self._lock:
            former = self._kept.get(installed)
            if former is not None and former.is_running:
                return
            self._kept[installed] = TrainerCheck(is_running=True)
        threading.Thread(target=self._run, args=(installed,), name="trainer check", daemon=True).start()

    def _installation(self, settings: TrainingSettings) -> Installation | None:
        recipe = self._recipes.get(settings.trainer)
        return recipe.installation(settings) if recipe else None

    def _run(self, installed: Installation) -> None:
        with self._turn:
            try:
                found = check_installation(installed, self._environ)
            except Exception as error:
                log.exception("The trainer cannot be checked")
                found = TrainerCheck(
                    problem=f"The check itself failed ({type(error).__name__}). The server's log has the details."
                )
        with self._lock:
            self._kept[installed] = found
