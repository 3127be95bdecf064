"""What a named file or folder is, which runs lie in it, and whether one goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.embedded.files.availability import FolderUnavailable
from lib.embedded.watching.life import GONE, QUIET, SAID, LifeLimits, Signs, end_of
from lib.embedded.watching.named import named_place
from lib.embedded.watching.runs import collect_watched, output_named_in, run_of_log, runs_below, within
from lib.embedded.watching.writers import is_alive, writers_of
from lib.errors import InvalidRequest
from lib.jobs.job import ArtifactKind, RunPlace
from tests.embedded.scripted import WEIGHTS
from tests.waiting import wait_for


def put(path: Path, data: bytes = b"x", at: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if at is not None:
        os.utime(path, (at, at))
    return path


def refusal(text: str, roots: list[Path] | None, own: Path) -> str:
    with pytest.raises(InvalidRequest) as found:
        named_place(text, roots, own)
    return str(found.value)


def test_what_cannot_be_watched_is_refused_in_plain_words(tmp_path: Path) -> None:
    own, open_ = tmp_path / "data", tmp_path / "runs"
    own.mkdir()
    open_.mkdir()
    os.mkfifo(open_ / "pipe")
    put(open_ / "weights.log", bytes(range(256)) * 100)
    (open_ / "loop").symlink_to(open_ / "loop")
    (open_ / "way-out").symlink_to(put(tmp_path / "secret.log"))
    closed = put(open_ / "closed.log")
    closed.chmod(0)
    roots = [open_]
    assert "is a pipe" in refusal(f"{open_}/pipe", roots, own)
    assert "is a device" in refusal("/dev/zero", None, own)
    assert "in none of the folders" in refusal("/dev/zero", roots, own)
    assert "in none of the folders" in refusal(f"{open_}/way-out", roots, own)
    assert "in none of the folders" in refusal(f"{open_}/../secret.log", roots, own)
    assert "in none of the folders" in refusal(f"{tmp_path}/runs-of-others", roots, own)
    assert "in none of the folders" in refusal("/nowhere", roots, own)
    assert "There is no file or folder" in refusal(f"{open_}/nothing", roots, own)
    assert "in a circle" in refusal(f"{open_}/loop", None, own)
    assert "binary data" in refusal(f"{open_}/weights.log", roots, own)
    assert "own data folder" in refusal(f"{own}", None, own)
    assert "not a whole path" in refusal("runs/a.log", roots, own)
    assert refusal(" ", roots, own) == refusal("a\0b", roots, own) == "Name a log file or a folder."
    if os.geteuid():
        assert "may not be read" in refusal(str(closed), roots, own)
    assert named_place(f"{open_}/", roots, own) == open_


def test_a_file_of_50_gb_is_looked_at_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "huge.log"
    with log.open("wb") as file:
        file.seek(50 << 30)
        file.write(b"\nsaving checkpoint: " + os.fsencode(tmp_path) + b"/a-000001.safetensors\n")
    assert named_place(str(log), None, tmp_path / "data") == log
    assert run_of_log(log).place.output == str(tmp_path)


def test_a_folder_of_many_runs_is_a_list_newest_first(tmp_path: Path) -> None:
    # kohya's outputs, flat; ai-toolkit's output; a run of diffusers; what is no run.
    put(tmp_path / "fox.safetensors", at=300)
    put(tmp_path / "fox-000001.safetensors", at=200)
    put(tmp_path / "fox.log", b"steps:", at=300)
    put(tmp_path / "owl-step00000400.safetensors", at=900)
    put(tmp_path / "sample" / "fox_e000001_00_20261123150700.png", at=210)
    put(tmp_path / "aria" / "aria_000000250.safetensors", at=600)
    put(tmp_path / "aria" / "samples" / "1__000000250_0.jpg", at=601)
    put(tmp_path / "dream" / "checkpoint-20" / "pytorch_lora_weights.safetensors", at=700)
    put(tmp_path / "img" / "10_fox" / "a.png", at=5_000)
    put(tmp_path / "papers" / "notes.md", at=5_000)
    found = runs_below(tmp_path)
    assert [(run.name, run.place.stem, Path(run.place.output).name, run.last_at) for run in found] == [
        ("owl", "owl", tmp_path.name, 900),
        ("dream", "", "dream", 700),
        ("aria", "", "aria", 601),
        ("fox", "fox", tmp_path.name, 300),
    ]
    fox = found[-1]
    assert (fox.place.log, fox.first_at) == (str(tmp_path / "fox.log"), 200)
    assert {file.path for file in collect_watched(fox.place)} == {
        "fox.safetensors",
        "fox-000001.safetensors",
        "sample/fox_e000001_00_20261123150700.png",
    }
    assert runs_below(tmp_path / "papers") == []


def test_a_folder_of_its_own_is_one_run_even_before_it_holds_anything(tmp_path: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    (run,) = runs_below(empty)
    assert (run.name, run.place) == ("empty", RunPlace(output=str(empty), events=""))
    put(empty / "last.safetensors")
    put(empty / "train.log", b"running training\n")
    put(empty / "logs" / "events.out.tfevents.1")
    (run,) = runs_below(empty)
    assert (run.name, run.place.log, run.place.events) == ("empty", f"{empty}/train.log", f"{empty}/logs")


def test_files_of_a_watched_run_are_those_of_a_training(tmp_path: Path) -> None:
    put(tmp_path / "a.safetensors", WEIGHTS)
    put(tmp_path / "a-state" / "optimizer.bin")
    put(tmp_path / "holiday.png")
    put(tmp_path / "samples" / "any.png")
    put(tmp_path / "diary.txt")
    put(tmp_path / "datasets" / "sample" / "cat.png")
    (tmp_path / "link.safetensors").symlink_to("/etc/passwd")
    kinds = {file.path: file.kind for file in collect_watched(RunPlace(output=str(tmp_path)))}
    assert kinds == {
        "a.safetensors": ArtifactKind.LORA,
        "a-state/optimizer.bin": ArtifactKind.STATE,
        "samples/any.png": ArtifactKind.SAMPLE,
    }
    with pytest.raises(FolderUnavailable):
        collect_watched(RunPlace(output=str(tmp_path / "gone")))


def test_an_output_folder_that_a_log_names_counts_within_the_allowed_folders(tmp_path: Path) -> None:
    (tmp_path / "out" / "checkpoint-20").mkdir(parents=True)
    said = b"Model weights saved in " + os.fsencode(tmp_path) + b"/out/checkpoint-20/pytorch_lora_weights.safetensors\n"
    assert output_named_in(b"saving checkpoint: /nowhere/a.safetensors\n" + said) == tmp_path / "out"
    assert output_named_in(b"saving checkpoint: /nowhere/a.safetensors\n") is None
    place = RunPlace(log=str(tmp_path / "log"), output=str(tmp_path / "out"))
    assert within(place, None).output == str(tmp_path / "out")
    assert within(place, [tmp_path]).output == str(tmp_path / "out")
    assert within(place, [tmp_path / "other"]).output == ""


@pytest.mark.parametrize(
    ("signs", "why"),
    [
        (Signs(quiet_s=9_999, has_writer=True, writer_died=True, says_end=True), ""),
        (Signs(quiet_s=0, writer_died=True), ""),
        (Signs(quiet_s=3, writer_died=True), GONE),
        (Signs(quiet_s=59, says_end=True), ""),
        (Signs(quiet_s=60, says_end=True), SAID),
        (Signs(quiet_s=3_599), ""),
        (Signs(quiet_s=3_600), QUIET),
    ],
)
def test_when_a_run_counts_as_ended(signs: Signs, why: str) -> None:
    assert end_of(signs, LifeLimits()) == why


def test_only_who_writes_is_a_writer(tmp_path: Path) -> None:
    log = put(tmp_path / "log")
    with log.open("rb"):
        assert writers_of((str(log), "")) == frozenset()
    script = f"import time; file = open({str(log)!r}, 'a'); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", script]) as process:
        try:
            wait_for(lambda: writers_of((str(log),)), "the writer is not seen")
            (writer,) = writers_of((str(tmp_path),))
            assert (writer[0], is_alive(writer), is_alive((writer[0], "1"))) == (process.pid, True, False)
        finally:
            process.kill()
    assert not is_alive(writer)
    assert writers_of((str(log),)) == frozenset()
