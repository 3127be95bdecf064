"""Runs one attempt on a node of a Ray cluster: shipped there alone, so it knows nothing but the standard library.

``python3 runner.py ATTEMPT_FOLDER SUBMISSION_ID MARK`` reads ``spec.json`` there and does what the supervisor does
on one machine (``lib/embedded/worker/supervisor.py``): output into ``log``, ``started.json`` before the start,
``exit.json`` at the end, and ``beat`` touched every few seconds in between.

Ray's stop sends SIGTERM to this process and to everything below it at once, so it is not passed on. The trainer stays
in this session: what leaves it would outlive the job and keep the GPU.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Exit codes that tell the dashboard why nothing was run, or what was not told; see sysexits.h for what is free.
NOT_SENT, NOT_FETCHED, FOLDER_MISSING, ALREADY_RUN, NOT_WRITABLE = 94, 95, 96, 97, 98
TAKEN = "runner.json"  # whoever creates it runs the attempt
MARK = "LORA_ATTEMPT"
NOT_FOR_TRAINERS = ("LORA_", "RAY_JOB_CONFIG", "RAY_AUTH_TOKEN")  # the last one would let it drive the cluster
TICKET = "LORA_TICKET"  # the link to what an attempt needs, where the node does not see its folder
STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"  # between Ray's SIGTERM and its SIGKILL
PACKAGE = "{package}"  # in a spec: the folder that Ray unpacked this file into
BEAT_EVERY_S = 3.0
POLL_S = 0.1
# A request that Ray did not pass on by then, such as with its head away, is followed without it.
CANCEL_AFTER_S = 10.0
# Of the time that Ray waits: the end is told before.
SPARE_S = 3.0
# How long the end is tried to be written while the folder is away.
RECORD_TRY_S = 900.0
EXIT_BYTES = 1024
Spec = dict[str, Any]
End = tuple[int | None, bool, str]  # exit code, whether its time was up, why it did not start
START_ERROR_CHARACTERS = 200


class Attempt:
    """The folder of the attempt, and what was asked of this process."""

    def __init__(self, folder: Path, submission: str) -> None:
        self.folder, self.submission = folder, submission
        self.told_at: float | None = None
        self.own_stop_at: float | None = None
        self.cancel_seen_at: float | None = None
        self.beat_at = -float("inf")

    def is_first(self) -> bool:
        """Whether no other runner took this attempt: created in one step, which file systems on a network do, too."""
        facts = {"submission": self.submission, "host": socket.gethostname(), "at": time.time()}
        try:
            descriptor = os.open(self.folder / TAKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w") as file:
            json.dump(facts, file)
        return True

    def beat(self) -> None:
        """Show a sign of life."""
        if time.monotonic() - self.beat_at >= BEAT_EVERY_S:
            self.beat_at = time.monotonic()
            with contextlib.suppress(OSError):
                (self.folder / "beat").write_text(f"{time.time():.3f}")

    def is_cancelled(self) -> bool:
        return os.path.lexists(self.folder / "cancel")

    def stop_cause(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            cause = json.loads((self.folder / "stop.json").read_bytes()).get("cause")
            return cause if isinstance(cause, str) else ""
        return ""

    def must_stop(self) -> bool:
        """Whether a stop was asked for in the folder, and Ray has not passed it on in time."""
        if self.told_at is not None or not (self.is_cancelled() or self.stop_cause()):
            return False
        self.cancel_seen_at = self.cancel_seen_at or time.monotonic()
        return time.monotonic() - self.cancel_seen_at >= CANCEL_AFTER_S

    def replace(self, name: str, value: object) -> None:
        half = self.folder / f".{name}.{os.getpid()}"
        half.write_text(json.dumps(value))
        half.replace(self.folder / name)

    def reserve_exit(self) -> None:
        """Keep room for the record of the end, so that it can be written when the disk is full."""
        (self.folder / "exit.reserved").write_bytes(b" " * EXIT_BYTES)

    def write_exit(self, exit_code: int | None, timed_out: bool = False, start_error: str = "") -> None:
        """Record how the trainer ended, as ``Exit`` of ``lib/embedded/files/attempt_folder.py`` reads it."""
        cancelled = self.is_cancelled()
        stopped_for = "" if cancelled else self.stop_cause()
        was_told = self.told_at is not None and not timed_out
        record = {
            "exit_code": exit_code,
            "finished_at": time.time(),
            # Somebody stopped it with Ray's own tools where nothing was asked for here.
            "cancelled": cancelled or (was_told and not stopped_for and exit_code != 0),
            "timed_out": timed_out and not cancelled,
            "start_error": start_error[:START_ERROR_CHARACTERS],
            "free_bytes": free_bytes(self.folder),
            **({"stopped_for": stopped_for} if stopped_for else {}),
        }
        reserved = self.folder / "exit.reserved"
        with open(os.open(reserved, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:  # noqa: PTH123
            file.write(json.dumps(record).encode().ljust(EXIT_BYTES))
            file.flush()
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())
        reserved.replace(self.folder / "exit.json")

    def record_end(self, end: End) -> None:
        """Write how it ended, tried again while the folder cannot be written. Raises OSError."""
        last = time.monotonic() + RECORD_TRY_S
        while True:
            try:
                return self.write_exit(*end)
            except OSError:
                if time.monotonic() >= min(last, self.deadline()):
                    raise
            time.sleep(1.0)

    def deadline(self) -> float:
        """The monotonic time by which all must be told, once Ray asked for the end."""
        return math.inf if self.told_at is None else self.told_at + float(os.environ.get(STOP_WAIT, "3")) - SPARE_S

    def say(self, line: str) -> None:
        with contextlib.suppress(OSError), (self.folder / "log").open("ab") as log:
            log.write(f"{line}\n".encode())


def free_bytes(path: Path) -> int | None:
    """Bytes that are free where the attempt is; None when unknown."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def marked(mark: str) -> list[int]:
    """Processes of this attempt other than this one, whatever session they are in. Needs /proc."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 (pathlib is slower)
        with contextlib.suppress(OSError):
            if int(name) != os.getpid() and wanted in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                found.append(int(name))
    return found


def send(mark: str, number: int) -> None:
    """Send a signal to everything that the attempt started."""
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def environ_of(spec: Spec, mark: str) -> dict[str, str]:
    """What the trainer inherits: Ray's additions that would change what it imports are left out."""
    here = str(Path.cwd())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FOR_TRAINERS)}
    paths = [part for part in kept.pop("PYTHONPATH", "").split(os.pathsep) if part and Path(part) != Path(here)]
    given = {name: value.replace(PACKAGE, here) for name, value in spec["environ"].items()}
    if paths and "PYTHONPATH" not in given:
        kept["PYTHONPATH"] = os.pathsep.join(paths)
    return {**kept, "PYTHONUNBUFFERED": "1", "COLUMNS": "240", **given, MARK: mark}


def run_one(attempt: Attempt, spec: Spec, argv: list[str], mark: str, deadline: float | None) -> End:
    """Run one command to its end."""
    here = str(Path.cwd())
    argv = [part.replace(PACKAGE, here) for part in argv]
    try:
        with (attempt.folder / "log").open("ab", buffering=0) as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=spec["cwd"].replace(PACKAGE, here),
                env=environ_of(spec, mark),
            )
    except OSError as error:
        message = f"{argv[0]}: {error.strerror or error}"
        attempt.say(message)
        return None, False, message
    timed_out = False
    while child.poll() is None:
        attempt.beat()
        now = time.monotonic()
        is_late = deadline is not None and now >= deadline
        if attempt.told_at is None and attempt.own_stop_at is None and (is_late or attempt.must_stop()):
            timed_out, attempt.own_stop_at = is_late, now
            send(mark, spec["stop_signal"])
        asked_at = attempt.told_at or attempt.own_stop_at
        if asked_at is not None and now - asked_at >= spec["stop_grace_s"]:
            send(mark, signal.SIGKILL)
        time.sleep(POLL_S)
    return child.returncode, timed_out, ""


def run(attempt: Attempt, spec: Spec, mark: str) -> End:
    """Run the commands before the training and the training itself; the first that does not end well is the end."""
    deadline = time.monotonic() + spec["time_limit_s"] if spec.get("time_limit_s") else None
    before = spec.get("before") or []
    for number, argv in enumerate(before, 1):
        name = next((Path(each).name for each in argv if each.endswith(".py")), Path(argv[0]).name)
        attempt.say(f"Step {number} of {len(before) + 1}: {name}")
        ended = run_one(attempt, spec, argv, mark, deadline)
        if ended != (0, False, "") or attempt.told_at is not None or attempt.own_stop_at is not None:
            return ended
    return run_one(attempt, spec, spec["argv"], mark, deadline)


def say_to_ray(reason: str) -> None:
    """Print what Ray shows as the last line of the job's output."""
    print(f"{socket.gethostname()}: {reason}", flush=True)  # noqa: T201


def fetched(attempt: Attempt) -> Any:
    """Fetch what the attempt needs from the store, and give what sends its results; None when another runner has it.

    Raises OSError, or ValueError for what the store cannot have meant.
    """
    import node_sender  # type: ignore[import-not-found]  # beside this file on the node
    import node_store  # type: ignore[import-not-found]

    def must_end() -> bool:
        return attempt.told_at is not None

    ticket = node_store.patiently(lambda: node_store.fetch_object(os.environ[TICKET]), must_end)
    links = node_store.patiently(lambda: node_store.Links(ticket["links"]), must_end)
    if node_store.patiently(links.is_taken, must_end):
        return None
    root = Path(os.environ.get("LORA_NODE_DIR") or Path(tempfile.gettempdir()) / f"lora-{os.getuid()}")
    attempt.folder = node_store.unpack(ticket, root, must_end)
    sender = node_sender.Sender(ticket, attempt.folder, links)
    with contextlib.suppress(OSError):
        sender.tell()  # that it is taken; and it may have been cancelled meanwhile
    sender.start()
    return sender


def send_rest(attempt: Attempt, sender: Any) -> bool:
    """Send what is left, for as long as Ray lets us when it asked for the end. Whether all of it arrived."""
    if sender.finish(attempt.deadline):
        shutil.rmtree(attempt.folder, ignore_errors=True)
        return True
    say_to_ray(f"{attempt.folder} keeps what could not be sent to the store ({sender.unsent_text() or 'its end'})")
    return False


def main() -> int:
    """Entry point: the exit code is the trainer's, or one of those above."""
    folder, submission, mark = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    attempt = Attempt(folder, submission)

    def on_stop(*_: object) -> None:
        attempt.told_at = attempt.told_at or time.monotonic()

    signal.signal(signal.SIGTERM, on_stop)
    sender, is_taken = None, False
    if TICKET in os.environ:
        try:
            sender = fetched(attempt)
        except (OSError, ValueError, KeyError) as error:
            say_to_ray(getattr(error, "strerror", None) or str(error))
            return NOT_FETCHED
        folder, is_taken = attempt.folder, sender is None
    try:
        spec = {} if is_taken else json.loads((folder / "spec.json").read_bytes())
    except OSError as error:
        say_to_ray(f"cannot read {folder}: {error.strerror or error}")
        return FOLDER_MISSING
    try:
        if is_taken or not attempt.is_first():
            say_to_ray("another runner took this attempt")
            return ALREADY_RUN
        attempt.reserve_exit()
        attempt.replace("started.json", {"supervisor": os.getpid()})
    except OSError as error:
        say_to_ray(f"cannot write to {folder}: {error.strerror}")
        return NOT_WRITABLE
    attempt.beat()
    end: End = (None, False, "")
    if not attempt.is_cancelled() and attempt.told_at is None:
        end = run(attempt, spec, mark)
    send(mark, signal.SIGKILL)  # children that outlive their trainer would keep writing and hold the GPU
    try:
        attempt.record_end(end)
    except OSError as error:
        say_to_ray(f"the training ended, but {folder} cannot be written: {error.strerror}")
        return NOT_WRITABLE
    exit_code, _, start_error = end
    if sender is not None and not send_rest(attempt, sender):
        return NOT_SENT
    return 127 if start_error else exit_code if exit_code is not None and exit_code >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
