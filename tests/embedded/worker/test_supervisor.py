"""The supervisor with real trainers of a few lines: every way to end is recorded as it was."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib.embedded.files import locks
from lib.embedded.files.attempt_folder import AttemptFolder, Exit, RunSpec
from lib.embedded.worker.processes import find_marked
from lib.embedded.worker.supervisor import EndSignal, start_supervisor, supervise
from lib.jobs.secret_options import is_secret_option
from lib.settings import ROOT, _Given
from tests.embedded.scripted import script_argv
from tests.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.slow

Supervised = Callable[..., Exit]


@pytest.fixture
def folder(tmp_path: Path) -> AttemptFolder:
    made = AttemptFolder(tmp_path / "attempt")
    made.make()
    return made


@pytest.fixture
def run(folder: AttemptFolder) -> Supervised:
    """Run a script under a supervisor in this process; how it ended."""

    def run_script(script: str, told: EndSignal | None = None, **values: object) -> Exit:
        spec = {"argv": tuple(script_argv(script, folder.output)), "cwd": str(ROOT), **values}
        folder.write_spec(RunSpec(**spec))  # type: ignore[arg-type]
        lock = locks.take(folder.lock)
        assert lock is not None
        try:
            supervise(folder, lock, told)
        finally:
            os.close(lock)
        ended = folder.read_exit()
        assert ended is not None
        assert not locks.is_held(folder.lock)
        return ended

    return run_script


@pytest.fixture
def told() -> Iterator[EndSignal]:
    """Told to end in place of a supervisor's own process."""
    former = signal.getsignal(signal.SIGTERM)
    end = EndSignal(leave_after_s=0.3)
    end.listen()
    yield end
    signal.signal(signal.SIGTERM, former)


@pytest.mark.parametrize("order", ["me, above", "above, me"])
def test_an_end_that_came_to_the_supervisor_too_is_told_from_a_kill(
    run: Supervised, told: EndSignal, order: str
) -> None:
    script = (
        "me, above = os.getpid(), os.getppid()\n"
        "if os.fork() == 0:\n    os.setsid()\n    os.closerange(3, 99)\n"
        f"    for pid in ({order}):\n"
        "        os.kill(pid, signal.SIGTERM)\n        time.sleep(0.2)\n    os._exit(0)\n"
        "time.sleep(600)"
    )
    ended = run(script, told=told)
    assert (ended.exit_code, ended.was_told, ended.cancelled) == (-signal.SIGTERM, True, False)


def test_a_trainer_that_alone_was_told_to_end_was_killed(run: Supervised, told: EndSignal) -> None:
    assert not run("os.kill(os.getpid(), signal.SIGTERM)", told=told).was_told


def test_a_supervisor_that_alone_was_told_to_end_leaves_its_trainer(told: EndSignal) -> None:
    told.leave_if_alone()
    os.kill(os.getpid(), signal.SIGTERM)
    told.leave_if_alone()
    wait_for(lambda: told.is_over, "it stays")
    with pytest.raises(SystemExit):
        told.leave_if_alone()


@pytest.mark.parametrize(
    ("script", "code"), [("sys.exit(0)", 0), ("sys.exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", -9)]
)
def test_exit_codes_and_signals(run: Supervised, script: str, code: int) -> None:
    ended = run(script)
    assert (ended.exit_code, ended.cancelled, ended.timed_out, ended.start_error) == (code, False, False, "")
    assert abs(ended.finished_at - time.time()) < PATIENCE_S
    assert ended.free_bytes


def test_all_output_goes_raw_and_in_order_into_the_log(run: Supervised, folder: AttemptFolder) -> None:
    folder.log.write_bytes(b"before\n")
    run(
        "os.write(1, b'\\x1b[31mred\\r\\xff'); os.write(2, b'err'); print(os.environ['COLUMNS'],"
        " os.environ['PYTHONUNBUFFERED'], os.environ['MINE'], sys.stdin.read(), os.getpgid(0) == os.getpid())",
        environ={"MINE": "mine"},
    )
    assert folder.log.read_bytes() == b"before\n\x1b[31mred\r\xfferr240 1 mine  True\n"


def test_a_trainer_does_not_see_our_secrets(
    run: Supervised, folder: AttemptFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {name for name in _Given.model_fields if is_secret_option(name)}
    assert {"S3_SECRET", "LORA_PROXY_SECRET", "INFLUENCERAI_PASSWORD"} <= ours
    for name in (*ours, "AWS_SECRET_ACCESS_KEY", "HF_HOME"):
        monkeypatch.setenv(name, "value")
    monkeypatch.setenv("LORA_TRAINER_ENV_WANDB_API_KEY", "value")
    run("print(*sorted(name for name in os.environ if os.environ[name] == 'value'))")
    assert folder.log.read_bytes() == b"HF_HOME WANDB_API_KEY\n"


def test_cancel_asks_politely(run: Supervised, folder: AttemptFolder) -> None:
    ended = run(
        "def stop(*_):\n    print('saving', flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n(OUTPUT.parent / 'cancel').touch()\nsignal.pause()",
        stop_grace_s=PATIENCE_S,
    )
    assert (ended.exit_code, ended.cancelled) == (0, True)
    assert folder.log.read_bytes() == b"saving\n"


def test_who_does_not_listen_is_killed_with_all_its_children(run: Supervised, folder: AttemptFolder) -> None:
    ended = run(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)'], env=os.environ)\n"
        "print(child.pid, flush=True)\n(OUTPUT.parent / 'cancel').touch()\nchild.wait()\ntime.sleep(600)",
        stop_grace_s=0.2,
        environ={"LORA_ATTEMPT": "deaf/1"},
    )
    assert (ended.exit_code, ended.cancelled) == (-9, True)
    wait_for(lambda: not find_marked("deaf/1"), "the child lives on")
    assert int(folder.log.read_bytes()) > 0


def test_children_do_not_outlive_their_trainer(run: Supervised) -> None:
    run(
        "subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)'])",
        environ={"LORA_ATTEMPT": "parent/1"},
    )
    wait_for(lambda: not find_marked("parent/1"), "the child lives on")


def test_time_limit(run: Supervised) -> None:
    ended = run("time.sleep(600)", time_limit_s=0.2)
    assert (ended.exit_code, ended.timed_out, ended.cancelled) == (-signal.SIGTERM, True, False)


def test_cancelled_before_the_start_never_runs(run: Supervised, folder: AttemptFolder) -> None:
    folder.request_cancel()
    ended = run("(OUTPUT / 'ran').touch()")
    assert (ended.exit_code, ended.cancelled) == (None, True)
    assert not (folder.output / "ran").exists()


def test_commands_before_the_training_run_one_after_the_other(run: Supervised, folder: AttemptFolder) -> None:
    before = [tuple(script_argv(f"print('cached {number}', flush=True)", folder.output)) for number in (1, 2)]
    python = Path(sys.executable).name
    assert run("print('trained')", before=tuple(before)).exit_code == 0
    steps = [f"Step {number} of 3: {python}\n" for number in (1, 2, 3)]
    assert folder.log.read_text() == f"{steps[0]}cached 1\n{steps[1]}cached 2\n{steps[2]}trained\n"


def test_the_first_command_that_fails_ends_the_attempt(run: Supervised, folder: AttemptFolder) -> None:
    before = (
        tuple(script_argv("sys.exit(3)", folder.output)),
        tuple(script_argv("print('never')", folder.output)),
    )
    assert run("print('never')", before=before).exit_code == 3
    assert "never" not in folder.log.read_text()


def test_the_time_limit_holds_for_all_commands_together(run: Supervised, folder: AttemptFolder) -> None:
    nap = tuple(script_argv("time.sleep(2)", folder.output))
    assert run("time.sleep(60)", before=(nap, nap), time_limit_s=3.5).timed_out
    log = folder.log.read_text()
    assert "Step 2" in log
    assert "Step 3" not in log


def test_a_missing_program_is_named(run: Supervised, folder: AttemptFolder) -> None:
    ended = run("", argv=("/nowhere/accelerate", "launch"))
    assert ended.exit_code is None
    assert ended.start_error == "/nowhere/accelerate: No such file or directory"
    assert b"/nowhere/accelerate" in folder.log.read_bytes()


def test_the_trainer_holds_the_lock_when_its_supervisor_is_killed(folder: AttemptFolder, tmp_path: Path) -> None:
    script = "while not (OUTPUT / 'go').exists():\n    time.sleep(0.02)\n"
    folder.write_spec(RunSpec(argv=tuple(script_argv(script, folder.output)), cwd=str(ROOT)))
    lock = locks.take(folder.lock)
    assert lock is not None
    supervisor = start_supervisor(folder, lock, "orphan/1", tmp_path / "worker.log", ROOT)
    os.close(lock)
    wait_for(lambda: "trainer" in (folder.started() or {}), (tmp_path / "worker.log").read_text())
    supervisor.kill()
    supervisor.wait()
    assert locks.is_held(folder.lock)
    assert find_marked("orphan/1") == [(folder.started() or {})["trainer"]]
    (folder.output / "go").touch()
    wait_for(lambda: not locks.is_held(folder.lock), "the lock is still held")
    assert folder.read_exit() is None
    assert not folder.was_never_started()


def test_a_record_of_an_end_is_read_by_older_and_newer_workers(folder: AttemptFolder) -> None:
    end = Exit(exit_code=3, finished_at=1.0)
    folder.write_exit(end)
    recorded = folder.path / "exit.json"
    assert b"was_away" not in recorded.read_bytes()
    recorded.write_bytes(recorded.read_bytes().replace(b"{", b'{"later": 1, ', 1))
    assert folder.read_exit() == end
