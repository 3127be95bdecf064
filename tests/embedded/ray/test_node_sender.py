"""What a node sends into a store that fails as stores do; the node's two threads are stepped by hand."""

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lib.embedded.ray import runner
from tests.embedded.ray.link_store import LinkStore
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def on_node() -> Iterator[tuple[Any, Any]]:
    """The modules as the node has them: beside each other."""
    folder = str(Path(runner.__file__).parent)
    sys.path.insert(0, folder)
    import node_sender
    import node_store

    sys.path.remove(folder)
    node_sender.STILL_S = 0.0
    yield node_store, node_sender
    del sys.modules["node_store"], sys.modules["node_sender"]


class Node:
    """An attempt's folder and its sender."""

    def __init__(self, folder: Path, on_node: tuple[Any, Any], slots: int = 8) -> None:
        self.node_store, node_sender = on_node
        self.store = LinkStore()
        self.folder = folder / "attempts" / "one"
        (self.folder / "output").mkdir(parents=True)
        (self.folder / "log").touch()
        (self.folder / "exit.json").write_text("{}")
        self.slots = slots
        self.sign("")
        self.store.kept["/stop"] = b"{}"
        links = self.node_store.Links(self.store.link("/links"))
        self.sender = node_sender.Sender({"files": {}, "laid": None, "inputs": {}}, self.folder, links)

    def sign(self, kind: str) -> None:
        """Links of a kind, where the node finds them."""
        links: dict[str, Any] = {name: self.store.link(f"/{name}") for name in ("stop", "links")}
        links |= {"index": self.store.link("/index" + kind), "told": self.store.link("/index")}
        links["slots"] = [self.store.link(f"/{number}{kind}") for number in range(self.slots)]
        self.store.kept["/links"] = json.dumps(links).encode()

    def write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    def round(self) -> None:
        """Look twice, as what changes is not sent; then tell."""
        self.sender.send_files()
        self.sender.send_files()
        self.sender.tell()

    @property
    def index(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.store.kept["/index"])
        return found

    def told(self, name: str) -> bytes:
        """What the index says that a file holds."""
        return b"".join(self.store.kept[f"/{slot}"] for slot in self.index["files"][name]["slots"])

    def told_log(self) -> bytes:
        return b"".join(self.store.kept[f"/{slot}"][:length] for slot, length in self.index["log"])

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def node(tmp_path: Path, on_node: tuple[Any, Any]) -> Iterator[Node]:
    with closing(Node(tmp_path, on_node)) as built:
        yield built


def test_a_new_version_never_takes_the_place_of_what_the_index_names(node: Node) -> None:
    used = set()
    for number in range(9):  # more often than there are slots
        node.write("output/a-state/optimizer.bin", b"%d" % number)
        node.sender.send_files()
        node.sender.send_files()
        if number:
            assert node.told("output/a-state/optimizer.bin") == b"%d" % (number - 1)
        node.sender.tell()
        assert node.told("output/a-state/optimizer.bin") == b"%d" % number
        used |= {*node.index["files"]["output/a-state/optimizer.bin"]["slots"]}
    assert len(used) == 3


def test_files_of_a_state_are_named_together_or_not_at_all(node: Node) -> None:
    asked: list[str] = []

    def fails_from_the_second_on(path: str) -> int | None:
        asked.extend([path] if path[1:].isdigit() else [])
        return 503 if len(asked) > 1 and path[1:].isdigit() else None

    for data in (b"old", b"new"):
        if data == b"new":
            node.store.answer = fails_from_the_second_on
        for name in ("model.safetensors", "optimizer.bin"):
            node.write(f"output/a-state/{name}", data)
        node.write("output/lora.safetensors", data)
        node.round()
    assert {node.told(f"output/a-state/{name}") for name in ("model.safetensors", "optimizer.bin")} == {b"old"}
    node.store.answer = lambda _: None
    node.round()
    assert {node.told(name) for name in node.index["files"]} == {b"new"}


@pytest.mark.parametrize("status", [503, 200, 302, 429])
def test_a_store_that_fails_or_a_page_in_its_place_is_tried_again(node: Node, status: int) -> None:
    node.write("output/a", b"a" * 10)
    node.write("log", b"line\n")
    node.store.answer = lambda _: status
    for _ in range(3):
        node.sender.send_files()
        with pytest.raises(OSError, match="store"):
            node.sender.tell()
    until = time.monotonic() + 0.05
    assert node.sender.finish(lambda: until) is False
    assert node.sender.unsent_text() == "output/a"
    node.store.answer = lambda _: None
    assert node.sender.finish(lambda: math.inf) is True
    assert (node.told("output/a"), node.told_log(), node.index["exit"]) == (b"a" * 10, b"line\n", {})


def test_a_file_is_sent_when_nobody_wrote_to_it_for_a_moment_whatever_its_clock_says(
    node: Node, on_node: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_node[1], "STILL_S", 60.0)
    node.write("output/new", b"new")
    for name, off_s in (("output/copied", -3600), ("output/ahead", 3600)):
        node.write(name, b"old")
        os.utime(node.folder / name, (time.time() + off_s, time.time() + off_s))
    node.round()
    assert node.index["files"].keys() == {"output/copied", "output/ahead"}
    node.sender.send_files(is_last=True)
    node.sender.tell()
    assert node.told("output/new") == b"new"


def test_what_was_sent_is_told_at_once(node: Node, on_node: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_node[1], "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(on_node[1], "EVERY_S", 3600.0)
    node.write("output/state/model", b"1")
    node.sender.start()
    wait_for(lambda: "/index" in node.store.kept, "nothing is told")
    assert node.told("output/state/model") == b"1"
    assert node.sender.finish(lambda: math.inf) is True
    assert not any(thread.is_alive() for thread in node.sender._threads)


def test_the_first_output_is_told_at_once(node: Node) -> None:
    assert not node.sender._has_news.is_set()
    node.write("log", b"loading the model\n")
    node.sender.send_files()
    assert node.sender._has_news.is_set()
    node.sender.tell()
    node.write("log", b"loading the model\nand more\n")
    node.sender.send_files()
    assert not node.sender._has_news.is_set()


@pytest.mark.parametrize("answer", [b"{}", b'{"links": 7}', b'{"links": "http://x"}'])
def test_an_object_of_another_service_in_the_place_of_the_links_is_not_taken(node: Node, answer: bytes) -> None:
    node.write("log", b"line\n")
    links = node.store.kept["/links"]
    node.store.kept["/links"] = answer
    node.store.answer = lambda path: 403 if path[1:].isdigit() else None
    until = time.monotonic() + 0.05
    assert node.sender.finish(lambda: until) is False
    node.store.answer = lambda _: None
    node.store.kept["/links"] = links
    assert node.sender.finish(lambda: math.inf) is True
    assert node.told_log() == b"line\n"


def test_a_file_that_changes_while_it_is_sent_is_not_named(node: Node) -> None:
    node.write("output/a", b"a" * 10)

    def grow(path: str) -> None:
        node.store.on_put = lambda _: None
        with (node.folder / "output" / "a").open("ab") as file:
            file.write(b"b")

    node.sender.send_files()
    node.store.on_put = grow
    node.round()
    assert "output/a" not in node.index["files"]
    node.round()
    assert node.told("output/a") == b"a" * 10 + b"b"


def test_large_files_come_in_parts_and_what_finds_no_slot_holds_up_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.node_store, "FILE_BYTES", 4)
    node.write("log", b"line\n")
    node.write("output/a", b"0123456789")
    node.write("output/empty", b"")
    node.round()
    assert (node.told("output/a"), node.told("output/empty")) == (b"0123456789", b"")
    assert len(node.index["files"]["output/a"]["slots"]) == 3
    node.write("output/too large", b"x" * 100)
    assert node.sender.finish(lambda: math.inf) is False
    assert (node.index["unsent"], node.index["kept"]) == (["output/too large"], str(node.folder))
    assert "exit" in node.index


def test_what_the_trainer_removed_is_named_no_more_and_its_slot_is_free(node: Node) -> None:
    for number in range(30):
        node.write(f"output/{number}", b"x")
        node.round()
        (node.folder / "output" / f"{number}").unlink()
        node.round()
        node.round()
    assert (node.index["files"], node.index["unsent"]) == ({}, [])


def test_a_state_that_was_removed_is_named_until_the_next_one_is(node: Node) -> None:
    for number in range(4):
        node.write(f"output/{number}-state/optimizer.bin", b"%d" % number)
        if number:
            shutil.rmtree(node.folder / "output" / f"{number - 1}-state")
        for _ in range(4):
            node.store.answer = lambda path: 503 if path[1:].isdigit() else None
            node.sender.send_files()
            node.sender.tell()
            assert [*node.index["files"]] == ([f"output/{number - 1}-state/optimizer.bin"] if number else [])
        # It goes before it could be sent: the one after it is waited for.
        node.write(f"output/{number}-next-state/optimizer.bin", b"next")
        shutil.rmtree(node.folder / "output" / f"{number}-state")
        node.sender.send_files()
        node.sender.tell()
        assert [*node.index["files"]] == ([f"output/{number - 1}-state/optimizer.bin"] if number else [])
        (node.folder / "output" / f"{number}-next-state").rename(node.folder / "output" / f"{number}-state")
        node.store.answer = lambda _: None
        node.round()
        node.round()
        assert [*node.index["files"]] == [f"output/{number}-state/optimizer.bin"]


def test_at_the_end_nothing_is_named_that_is_gone(node: Node) -> None:
    node.write("output/old", b"old")
    node.round()
    (node.folder / "output" / "old").unlink()
    node.write("output/new", b"new")
    assert node.sender.finish(lambda: math.inf) is True
    assert [*node.index["files"]] == ["output/new"]


def test_a_file_without_a_slot_keeps_no_slot_of_what_is_gone(node: Node) -> None:
    node.write("output/0", b"x")
    node.round()
    for number in range(1, node.slots + 3):
        node.write(f"output/{number}", b"x")
    node.round()
    assert len(node.index["files"]) == node.slots
    for number in range(2):
        (node.folder / "output" / f"{number}").unlink(missing_ok=True)
    for _ in range(4):
        node.round()
    assert len(node.index["files"]) == node.slots
    assert "output/0" not in node.index["files"]


def test_a_log_that_was_cut_goes_on_behind_what_it_was(node: Node) -> None:
    node.write("log", b"first\nsecond\n")
    node.sender.tell()
    node.write("log", b"third\n")
    node.sender.tell()
    node.write("log", b"third\nfourth\n")
    node.sender.tell()
    assert node.told_log() == b"first\nsecond\nthird\nfourth\n"


def test_links_that_expired_are_fetched_anew(node: Node) -> None:
    node.write("output/a", b"a")
    node.write("log", b"line\n")
    node.sign("?new")
    node.store.answer = lambda path: None if path.endswith(("new", "links", "stop")) else 403
    for _ in range(3):
        with pytest.raises(OSError, match="403"):
            node.sender.tell()
        break
    node.round()
    assert node.store.kept["/0?new"] == b"line\n"
    assert json.loads(node.store.kept["/index?new"])["files"]["output/a"]


@pytest.mark.parametrize(
    ("note", "file"), [({"cancel": True}, "cancel"), ({"cause": "nan_loss", "step": 7}, "stop.json")]
)
def test_a_request_to_stop_arrives_without_ray(node: Node, note: dict[str, object], file: str) -> None:
    attempt = runner.Attempt(node.folder, "id")
    node.sender.tell()
    assert not attempt.is_cancelled()
    assert not attempt.stop_cause()
    node.store.kept["/stop"] = json.dumps(note).encode()
    node.sender._stop_asked_at = -math.inf
    node.sender.tell()
    assert (node.folder / file).exists()
    assert attempt.is_cancelled() or attempt.stop_cause() == "nan_loss"


def test_names_of_any_bytes_arrive_as_they_are(node: Node) -> None:
    for raw in (b"a b\n{x}.png", b"\xff\xfe", "ä/é".encode()):
        path = Path(os.fsdecode(os.fsencode(node.folder / "output") + b"/" + raw))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
    node.round()
    assert {os.fsencode(name).removeprefix(b"output/"): node.told(name) for name in node.index["files"]} == {
        raw: raw for raw in (b"a b\n{x}.png", b"\xff\xfe", "ä/é".encode())
    }


def test_an_attempt_that_somebody_runs_is_seen_and_a_store_that_is_away_is_no_answer(node: Node) -> None:
    links = node.node_store.Links(node.store.link("/links"))
    assert not links.is_taken()
    node.sender.tell()
    assert links.is_taken()
    node.store.answer = lambda _: 503
    with pytest.raises(node.node_store.StoreAway):
        node.node_store.patiently(links.is_taken, lambda: True)


def test_why_the_store_does_not_answer_is_said_without_its_address(node: Node) -> None:
    with pytest.raises(node.node_store.StoreAway, match=r"^the store does not answer \(ConnectionRefusedError\)$"):
        node.node_store.fetch("http://127.0.0.1:9/secret")


def test_what_nobody_used_for_a_month_goes_from_the_node(node: Node, tmp_path: Path) -> None:
    for name in ("attempts/killed", "inputs/old", "inputs/used"):
        (tmp_path / name).mkdir(parents=True)
    long_ago = time.time() - node.node_store.KEPT_S - 60
    for name in ("attempts/killed", "inputs/old", "attempts/one"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    (node.folder / "beat").touch()
    node.node_store.tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["one", "used"]
