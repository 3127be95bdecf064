"""An attempt whose node does not see the data folder: a real runner, a real store between them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from lib.artifacts.object_store import ObjectRange, ObjectStore
from lib.embedded.files.attempt_folder import AttemptFolder, Exit, RunSpec
from lib.embedded.ray import runner, store_inputs
from lib.embedded.ray.store_inputs import INPUTS, files_of, publish
from lib.embedded.ray.store_transport import StoreTransport, _Mirrored
from lib.errors import ArtifactError
from tests.artifacts.s3_server import SECRET, S3Server, s3_server
from tests.reaper import kill_all, working_on
from tests.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.slow
PREFIX = "cluster/job/a1/"
# What the runner kills carries it: tests of other runs on this machine must not.
MARK = f"job-{uuid4().hex[:12]}/1"
END = {
    "exit_code": 0,
    "finished_at": 1.0,
    "timed_out": False,
    "start_error": "",
    "free_bytes": 1,
    "cancelled": False,
}
TRAIN = """
import sys, time
from pathlib import Path
data, output, settings, former = map(Path, sys.argv[1:5])
assert former.read_bytes() == (output / "state" / former.name).read_bytes() == b"before"
assert (output / "laid.bin").read_bytes() == b"\\xff\\x00"
further = Path(sys.argv[5].removeprefix("3:"))
assert [path.name for path in further.iterdir()] == ["two.png"]
assert str(further) in settings.read_text()
print("ready", *sorted(path.name for path in data.iterdir()), flush=True)
print(settings.read_text().replace(str(data), "DATA"), flush=True)
(output / "lora-000001.safetensors").write_bytes(b"first")
while not (data.parents[1] / "go").exists():
    time.sleep(0.05)
sys.stdout.buffer.write(b"\\xff" + b"x" * 3_000_000)
(output / "deep").mkdir()
(output / "deep" / "lora.safetensors").write_bytes(b"last" * 1000)
(output / "empty").touch()
"""


class Site:
    """Here and there: a data folder, a store, and a node's folder."""

    def __init__(self, folder: Path, server: S3Server) -> None:
        self.folder, self.server = folder, server
        self.store = ObjectStore(server.settings)
        self.transport = StoreTransport(self.store, slots=20, every_s=0.1)
        self.dataset = folder / "data" / "datasets" / "d"
        self.dataset.mkdir(parents=True)
        (self.dataset / "one.png").write_bytes(b"image")
        (self.dataset / "one.txt").write_text("a fox")
        (self.dataset / ".dataset.json").write_text("{}")
        self.attempt = AttemptFolder.of(folder / "data", "job", 1)
        self.attempt.make()
        # Its path begins with that of the other one.
        self.further = folder / "data" / "datasets" / "d2"
        self.further.mkdir()
        (self.further / "two.png").write_bytes(b"image")
        (self.attempt.path / "settings.toml").write_text(f'images = "{self.dataset}"\nmore = "{self.further}"')
        self.former = folder / "data" / "jobs" / "job" / "0" / "output" / "before.safetensors"
        self.former.parent.mkdir(parents=True)
        self.former.write_bytes(b"before")
        (self.attempt.output / "state").symlink_to(self.former.parent)
        (self.attempt.output / "laid.bin").write_bytes(b"\xff\x00")
        self.node, self.package = folder / "node", folder / "package"
        self.package.mkdir()
        for name in ("runner.py", "node_store.py", "node_sender.py"):
            shutil.copy(Path(runner.__file__).with_name(name), self.package)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        paths = (self.dataset, self.attempt.output, self.attempt.path / "settings.toml", self.former)
        argv = (sys.executable, "-S", "-c", TRAIN, *map(str, paths), f"3:{self.further}")
        self.attempt.write_spec(RunSpec(argv=argv, cwd=runner.PACKAGE, stop_grace_s=2.0))
        inputs = {"dataset": self.dataset, "more-1": self.further, "start": self.former}
        given: list[str] = []

        def is_up() -> bool:
            ticket = self.transport.published(self.attempt, "lora-job-a1", PREFIX, inputs)
            given.extend([ticket] if ticket else [])
            return bool(given)

        wait_for(is_up, "the inputs are not up")
        (ticket,) = given
        assert SECRET not in ticket
        environ = {**os.environ, runner.TICKET: ticket, "LORA_NODE_DIR": str(self.node)}
        environ |= {runner.STOP_WAIT: "60"}
        words = [sys.executable, "runner.py", str(self.folder / "not seen"), "lora-job-a1", MARK]
        self.process = subprocess.Popen(words, cwd=self.package, start_new_session=True, env=environ)
        self.transport.follow(MARK, self.attempt, [PREFIX])

    def go_on(self) -> None:
        (self.node / "go").touch()

    def until(self, condition: Callable[[], object]) -> None:
        wait_for(condition, lambda: f"not so: {sorted(self.attempt.path.rglob('*'))}", poll_s=0.05)

    def close(self) -> None:
        kill_all(lambda: working_on(self.folder))
        if self.process is not None:
            self.process.wait()
        self.transport.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with s3_server(tmp_path / "s3") as server, closing(Site(tmp_path, server)) as built:
        yield built


def test_an_attempt_goes_up_runs_and_comes_down_while_it_runs(site: Site) -> None:
    site.start()
    site.until(lambda: b"ready one.png one.txt" in site.attempt.read_log(0, 100))
    site.until(lambda: (site.attempt.output / "lora-000001.safetensors").exists())
    assert b'images = "DATA"' in site.attempt.log_end(1000)
    assert site.attempt.read_exit() is None
    assert json.loads((site.attempt.path / runner.TAKEN).read_text())["host"]
    names = {path.name for path in (site.node / "inputs").glob("*/*")}
    assert names == {"one.png", "one.txt", "two.png", "before.safetensors"}
    site.go_on()
    site.until(lambda: site.attempt.read_exit() is not None)
    assert site.process is not None
    assert site.process.wait() == 0
    assert site.attempt.read_exit().exit_code == 0
    assert site.attempt.log_end(3_000_001) == b"\xff" + b"x" * 3_000_000
    assert (site.attempt.output / "deep" / "lora.safetensors").read_bytes() == b"last" * 1000
    assert (site.attempt.output / "empty").read_bytes() == b""
    assert list((site.node / "attempts").iterdir()) == []
    site.transport.release(MARK)
    site.until(lambda: site.store.list(PREFIX) == [])
    assert len(site.store.list("cluster/inputs/")) == 4


def test_inputs_are_renewed_while_they_are_used_and_go_when_nobody_did(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.attempt.write_spec(RunSpec(argv=("true",), cwd="/"))

    def bring_up(name: str) -> set[str]:
        publish(site.store, site.attempt, "lora-job-a1", PREFIX, {name: getattr(site, name)}, 1)
        return {each.key for each in site.store.list(INPUTS)}

    uploaded: list[str] = []
    upload = site.store.upload
    monkeypatch.setattr(site.store, "upload", lambda path, key: (uploaded.append(key), upload(path, key)))
    laid_and_dataset = bring_up("dataset")
    again = bring_up("dataset")
    assert again == laid_and_dataset == {key for key in uploaded if key.startswith(INPUTS)}
    assert len([key for key in uploaded if key.startswith(INPUTS)]) == 2
    monkeypatch.setattr(store_inputs, "FRESH", timedelta(0))
    bring_up("dataset")
    assert len([key for key in uploaded if key.startswith(INPUTS)]) == 4
    monkeypatch.setattr(store_inputs, "KEPT", timedelta(0))
    with_further = bring_up("further")
    assert len(with_further) == 2
    assert len(with_further & laid_and_dataset) == 1  # what the attempt laid, again


def test_a_clock_that_was_set_back_is_a_sign_of_life_all_the_same(site: Site) -> None:
    beats = []
    for beat in (2_000_000_000.5, 1_000_000_000.5):
        mirrored_of(site, {}, beat=beat)
        beats.append((site.attempt.path / "beat").read_text())
    assert beats == ["2000000000.5", "1000000000.5"]


def test_a_store_that_is_away_for_a_while_costs_nothing(site: Site) -> None:
    site.start()
    site.until(lambda: b"ready" in site.attempt.read_log(0, 100))
    site.server.stop()
    site.go_on()
    site.until(lambda: any(site.node.rglob("exit.json")))
    site.server.start()
    site.until(lambda: site.attempt.read_exit() is not None)
    assert (site.attempt.output / "deep" / "lora.safetensors").read_bytes() == b"last" * 1000
    assert site.attempt.log_end(3_000_001) == b"\xff" + b"x" * 3_000_000


def test_a_stop_is_told_as_what_it_was_and_a_new_worker_goes_on(site: Site) -> None:
    site.start()
    site.until(lambda: b"ready" in site.attempt.read_log(0, 100))
    site.transport.close()
    site.transport = StoreTransport(ObjectStore(site.server.settings), every_s=0.1)
    site.transport.follow(MARK, site.attempt, [PREFIX])
    site.attempt.request_stop("nan_loss", 7)
    site.server.stop()
    (attempt,) = (site.node / "attempts").iterdir()
    (attempt / "output" / "late.safetensors").write_bytes(b"saved at the stop")
    assert site.process is not None
    site.process.terminate()
    site.until(lambda: (attempt / "exit.json").exists())
    site.server.start()  # Ray waits for a while: what is left is sent as long as it does
    site.until(lambda: site.attempt.read_exit() is not None)
    assert (site.attempt.output / "late.safetensors").read_bytes() == b"saved at the stop"
    ended = site.attempt.read_exit()
    assert isinstance(ended, Exit)
    assert (ended.cancelled, ended.stopped_for, ended.exit_code) == (False, "nan_loss", -9)
    assert site.attempt.read_log(0, 100).count(b"ready") == 1


def mirrored_of(site: Site, files: dict[str, Any], **told: object) -> _Mirrored:
    """An attempt whose node tells of files, stepped by hand."""
    index = {"host": "n", "beat": 1, "log": [], "files": files, **told}
    site.server.put(f"{PREFIX}index.json", json.dumps(index).encode())
    each = _Mirrored(folder=site.attempt, prefixes=[PREFIX], renewed_at=float("inf"))
    site.transport.look(each)
    return each


def test_a_state_is_replaced_at_once_and_nothing_ends_before_all_is_here(site: Site) -> None:
    names = ("output/a-state/model.safetensors", "output/a-state/optimizer.bin")
    for slot, data in enumerate((b"old", b"old", b"new")):
        site.server.put(f"{PREFIX}slots/{slot:05}", data)
    old = {name: {"slots": [slot], "version": [3, 1]} for slot, name in enumerate(names)}
    site.transport.bring_files(mirrored_of(site, old))
    new = {
        name: {"slots": [slot], "version": [size, 2]} for name, slot, size in zip(names, (2, 1), (3, 4), strict=True)
    }
    each = mirrored_of(site, new, exit=END)
    with pytest.raises(ArtifactError, match="changed while it was read"):
        site.transport.bring_files(each)  # a version that another one took the place of
    assert {(site.attempt.path / name).read_bytes() for name in names} == {b"old"}
    assert each.problem
    assert (each.seen_at, site.attempt.read_exit()) == (float("-inf"), None)
    site.server.put(f"{PREFIX}slots/00003", b"new!")
    new[names[1]] = {"slots": [3], "version": [4, 2]}
    each = mirrored_of(site, new, exit=END, unsent=["output/large"], kept="/there")
    site.transport.bring_files(each)
    assert [(site.attempt.path / name).read_bytes() for name in names] == [b"new", b"new!"]
    assert site.attempt.read_exit() is not None
    assert b"Not sent to the store, kept in /there of n: output/large" in site.attempt.log_end(200)
    assert (each.problem, each.seen_at > 0) == ("", True)


def test_what_a_trainer_removed_there_goes_here_and_nothing_else(site: Site) -> None:
    site.server.put(f"{PREFIX}slots/00000", b"old")
    each = mirrored_of(site, {"output/old.safetensors": {"slots": [0], "version": [3, 1]}})
    site.transport.bring_files(each)
    assert (site.attempt.output / "old.safetensors").exists()
    each.index = {**(each.index or {}), "files": {}}
    site.transport.bring_files(each)
    assert sorted(path.name for path in site.attempt.output.iterdir()) == ["laid.bin", "state"]


def test_a_stop_is_noted_in_the_store_also_for_former_submissions(site: Site) -> None:
    each = mirrored_of(site, {})
    each.prefixes.insert(0, "cluster/job/a0/")
    with pytest.raises(ArtifactError, match="not in the store"):
        site.store.head(f"{PREFIX}stop.json")
    site.attempt.request_cancel()
    for _ in range(2):
        site.transport.look(each)
    for prefix in each.prefixes:
        assert json.loads(site.store.read_range(f"{prefix}stop.json", 0, 100).data) == {"cancel": True}


def test_a_full_disk_here_costs_no_result(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.server.put(f"{PREFIX}slots/00000", b"data")
    monkeypatch.setattr("lib.embedded.ray.store_transport.free_bytes", lambda _: 0)
    each = mirrored_of(site, {"output/a": {"slots": [0], "version": [4, 1]}})
    with pytest.raises(OSError, match="no room for a file of 4 bytes"):
        site.transport.bring_files(each)
    assert "no room" in each.problem
    monkeypatch.undo()
    site.transport.bring_files(each)
    assert (site.attempt.output / "a").read_bytes() == b"data"


def test_a_node_that_names_files_outside_of_its_folder_is_not_obeyed(site: Site) -> None:
    for name in ("../../x", "/etc/x", "output/../../x", "exit.json"):
        each = mirrored_of(site, {name: {"slots": [0], "version": [1, 1]}})
        with pytest.raises(ValueError, match="outside of its folder"):
            site.transport.bring_files(each)
    assert not (site.folder / "data" / "x").exists()


def test_whatever_a_node_writes_the_others_are_brought_down(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.embedded.ray.store_transport.PIECE_BYTES", 2)
    other, prefix = AttemptFolder.of(site.folder / "data", "other", 1), "cluster/other/a1/"
    other.make()
    site.transport.follow("bad/1", site.attempt, [PREFIX])
    site.transport.follow("good/1", other, [prefix])
    hostile = (
        b'{"host": "n", "beat": 1, "log": [], "files": {"": {"slots": [0], "version": [1, 1]}}}',
        b'{"host": [], "beat": 2, "log": 7, "files": []}',
        b"[" * 200_000,
    )
    for size, index in enumerate(hostile, 5):
        site.server.put(f"{PREFIX}index.json", index)
        site.server.put(f"{prefix}slots/00000", b"0123456789")
        file = {"output/a.safetensors": {"slots": [0], "version": [10, size]}}
        told = {"host": "n", "beat": size, "log": [[0, size]], "files": file if size == 7 else {}}
        site.server.put(f"{prefix}index.json", json.dumps(told).encode())
        site.until(lambda size=size: other.log_size() == size)  # type: ignore[misc]
    site.until(lambda: (other.output / "a.safetensors").exists())
    assert (other.output / "a.safetensors").read_bytes() == b"0123456789"
    assert other.log_end(100) == b"0123456"


def test_a_large_file_of_one_attempt_holds_up_no_other(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    other, prefix = AttemptFolder.of(site.folder / "data", "other", 1), "cluster/other/a1/"
    other.make()
    begun, may_end, read_range = Event(), Event(), site.store.read_range

    def slow(key: str, *more: Any, **options: Any) -> ObjectRange:
        if key == f"{PREFIX}slots/00000":
            begun.set()
            assert may_end.wait(PATIENCE_S)
        return read_range(key, *more, **options)

    monkeypatch.setattr(site.store, "read_range", slow)
    files = {"output/large.safetensors": {"slots": [0], "version": [3, 1]}}
    for each in (PREFIX, prefix):
        index = {"host": "n", "beat": 1, "log": [], "files": files, "exit": END}
        site.server.put(f"{each}slots/00000", b"abc")
        site.server.put(f"{each}index.json", json.dumps(index).encode())
    site.transport.follow("first/1", site.attempt, [PREFIX])
    assert begun.wait(PATIENCE_S)
    site.transport.follow("other/1", other, [prefix])
    site.until(lambda: other.read_exit() is not None)
    assert site.attempt.read_exit() is None
    may_end.set()
    site.until(lambda: site.attempt.read_exit() is not None)


def test_what_is_on_its_way_up_when_a_job_is_cancelled_goes_once_it_is_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, upload = Event(), Event(), site.store.upload

    def slow(path: Path, key: str) -> None:
        begun.set()
        assert may_end.wait(PATIENCE_S)
        upload(path, key)

    monkeypatch.setattr(site.store, "upload", slow)
    site.attempt.write_spec(RunSpec(argv=("true",), cwd="/"))
    site.transport.follow(MARK, site.attempt, [PREFIX])
    assert site.transport.published(site.attempt, "lora-job-a1", PREFIX, {}) is None
    assert begun.wait(PATIENCE_S)
    future, _ = site.transport._published[PREFIX]
    site.transport.release(MARK)
    may_end.set()
    assert future.result(PATIENCE_S)  # what it brought up was there
    site.until(lambda: not site.transport._done)
    assert site.store.list(PREFIX) == []


def test_links_in_circles_are_gone_round_once(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    for name in ("a", "b", "c"):
        (tmp_path / name).symlink_to(tmp_path)
    assert files_of(tmp_path) == {"model.safetensors": tmp_path / "model.safetensors"}


def test_links_that_would_live_too_long_are_refused(site: Site) -> None:
    with pytest.raises(ArtifactError, match="7 days"):
        site.store.sign_upload("x", timedelta(days=8))
