"""Checking a trainer: what its environment says, and in plain words why it does not start."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lib.embedded.trainers import trainer_check
from lib.embedded.trainers.tiny import TinyRecipe
from lib.embedded.trainers.trainer_check import TrainerChecks, check_installation, version_of
from lib.embedded.trainers.trainer_folder import Installation, TrainerFolder
from lib.embedded.worker.supervisor import trainer_environ
from lib.errors import NotSupported
from lib.jobs.training_settings import TrainingSettings
from tests.waiting import wait_for

pytestmark = pytest.mark.slow
USUAL_HELP = "import argparse\nargparse.ArgumentParser().parse_args()\n"


def installed(tmp_path: Path, script: str) -> Installation:
    (tmp_path / "train.py").write_text(script)
    folder = TrainerFolder(
        name="some-tuner", setting="SOME_TUNER", path=tmp_path, given_python=Path(sys.executable).absolute()
    )
    return Installation(folder=folder, script="train.py", packages=())


def test_a_trainer_that_starts_says_its_versions(tmp_path: Path) -> None:
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / ".git" / "refs" / "heads" / "main").write_text(f"{'48d368f0' * 5}\n")
    found = check_installation(installed(tmp_path, USUAL_HELP), os.environ)
    assert (found.problem, found.lines) == ("", ())
    assert found.facts["Version"] == "48d368f (main)"
    assert found.facts["Python"].startswith("3.")
    assert "torch" in found.facts["Card"]
    assert found.took_s > 0


@pytest.mark.parametrize(
    ("script", "words", "line"),
    [
        (
            "import no_such_package_of_ours",
            "its environment has no no_such_package_of_ours. Install",
            "No module named",
        ),
        ("raise ImportError('needs diffusers 0.40')", "its train.py ended with exit code 1", "needs diffusers 0.40"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "its train.py ended with exit code -11", ""),
    ],
)
def test_a_trainer_that_does_not_start_says_why(tmp_path: Path, script: str, words: str, line: str) -> None:
    found = check_installation(installed(tmp_path, script), os.environ)
    assert words in found.problem
    assert line in "\n".join(found.lines)


def test_one_that_hangs_is_stopped_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_check, "TIME_LIMIT_S", 2)
    monkeypatch.setattr(trainer_check, "_PROBE", "print('{}')")
    child = (
        "import os, subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    script = f"{child}\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid))\ntime.sleep(60)\n"
    found = check_installation(installed(tmp_path, script), os.environ)
    assert "did not answer within 2 s" in found.problem
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "its child lives on")


def test_what_is_missing_is_said_without_starting_anything(tmp_path: Path) -> None:
    nothing = Installation(folder=TrainerFolder(name="some-tuner", setting="SOME_TUNER"), script="train.py")
    assert "some-tuner is not set up" in check_installation(nothing, {}).problem
    assert version_of(tmp_path) == "unknown: the folder is no git checkout"


def test_it_runs_in_the_background_without_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_COOKIE_SECRET", "S3CRET")
    monkeypatch.setenv("LORA_TRAINER_ENV_HF_TOKEN", "for trainers")
    script = "import os\nprint(os.environ.get('LORA_COOKIE_SECRET'), os.environ['HF_TOKEN'])\nraise SystemExit(3)"
    tried = installed(tmp_path, script)

    class Tuner(TinyRecipe):
        def installation(self, settings: TrainingSettings) -> Installation:
            return tried

    settings = TrainingSettings(trainer="tuner")
    checks = TrainerChecks({"tuner": Tuner(), "tiny": TinyRecipe()}, trainer_environ(os.environ))
    assert checks.trainers == {"tuner"}
    assert checks.state(settings) is None
    checks.start(settings)
    checks.start(settings)  # it runs already
    wait_for(lambda: (found := checks.state(settings)) and not found.is_running, "the check does not end")
    state = checks.state(settings)
    assert state is not None
    assert state.lines == ("None for trainers",)
    with pytest.raises(NotSupported, match="nothing to check for the trainer tiny"):
        checks.start(replace(settings, trainer="tiny"))
