"""``python -m lib.jobs.explain``: one JSON object about any trainer's log."""

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lib.jobs.explain import count_loras, main, printed_pace
from lib.jobs.logs.binary import is_binary

ROOT = Path(__file__).parent.parent.parent
LORAS = Path(__file__).parent.parent / "recordings" / "lora-files"
RECORDINGS = ROOT / "tests" / "recordings" / "trainers"
KEYS = {
    "status",
    "stage",
    "step",
    "total_steps",
    "epoch",
    "total_epochs",
    "loss",
    "seconds_per_step",
    "cause",
    "message",
    "hint",
    "evidence",
    "alarms",
    "learning_rate",
    "confidence",
    "phase",
    "raised_by",
}


def recording(name: str) -> Path:
    return next((RECORDINGS / name).glob("*.bin"))


def explain(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    """The report as strict JSON: NaN and Infinity are refused."""
    assert main([str(each) for each in arguments]) == 0
    out = capsys.readouterr()
    assert not out.err
    report = json.loads(out.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert set(report) == KEYS
    return dict(report)


# Read from the recordings by hand: status, stage, step, total, epoch, epochs, loss, cause, alarms.
EXPECTED: dict[str, tuple[Any, ...]] = {
    "diffusers-dreambooth-success": ("succeeded", "finished", 40, 40, 5, 5, 1.09, None, []),
    "diffusers-t2i-fail-missing-model": (
        "failed",
        "loading model",
        None,
        None,
        None,
        None,
        None,
        "missing_model",
        [],
    ),
    "diffusers-t2i-success": ("succeeded", "finished", 48, 48, 6, 6, 1.11, None, []),
    "sd-scripts-accelerate-child-sigkill-midrun": ("failed", "training", 4, 24, 1, 3, 1.09, "killed", []),
    "sd-scripts-fail-corrupt-image": ("failed", "training", 2, 24, 1, 3, 1.03, "corrupt_image", []),
    "sd-scripts-fail-missing-dataset": (
        "failed",
        "loading model",
        None,
        None,
        None,
        None,
        None,
        "missing_dataset",
        [],
    ),
    "sd-scripts-nan-loss": ("succeeded", "finished", 8, 8, 1, 1, "nan", None, ["nan_loss"]),
    "sd-scripts-resume": ("succeeded", "finished", 16, 16, 2, 2, 1.1, None, []),
    "sd-scripts-sigkill": ("failed", "training", 5, 24, 1, 3, 1.07, "killed", []),
    "sd-scripts-simple-log-unbuffered-columns": ("succeeded", "finished", 8, 8, 1, 1, 1.11, None, []),
    "sd-scripts-success": ("succeeded", "finished", 24, 24, 3, 3, 1.09, None, []),
    "sd-scripts-success-one-pipe": ("succeeded", "finished", 16, 16, 2, 2, 1.1, None, []),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_recording_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    exit_code = json.loads((RECORDINGS / name / "meta.json").read_text())["popen_returncode"]
    report = explain(capsys, recording(name), "--exit-code", str(exit_code))
    fields = ("status", "stage", "step", "total_steps", "epoch", "total_epochs", "loss", "cause", "alarms")
    assert tuple(report[field] for field in fields) == EXPECTED[name]
    assert report["message"]
    assert bool(report["evidence"]) == bool(report["hint"]) == (report["cause"] is not None)
    assert (report["seconds_per_step"] is None) == (report["step"] is None)


def test_without_an_exit_code_the_log_alone_tells(capsys: pytest.CaptureFixture[str]) -> None:
    for name, expected in EXPECTED.items():
        report = explain(capsys, recording(name))
        if name == "sd-scripts-sigkill":
            assert (report["status"], report["cause"], report["stage"]) == ("running", None, "training")
        else:
            assert (report["status"], report["cause"]) == (expected[0], expected[7])


@pytest.mark.parametrize("exit_code", ["-2", "-15", "130", "143"])
def test_an_interruption_is_a_cancellation(exit_code: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = explain(capsys, recording("sd-scripts-sigkill"), "--exit-code", exit_code)
    assert (report["status"], report["cause"]) == ("cancelled", "interrupted")


def test_a_keyboard_interrupt_in_the_log_is_a_cancellation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text('Traceback (most recent call last):\n  File "train.py", line 7, in main\nKeyboardInterrupt')
    assert explain(capsys, log)["status"] == "cancelled"


def test_the_output_folder_decides_about_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = recording("sd-scripts-success")
    state = tmp_path / "last-state"
    state.mkdir()
    (state / "model.safetensors").write_bytes((LORAS / "series/aria_v2.safetensors").read_bytes())
    (tmp_path / "optimizer.pt").write_bytes(b"is none")
    (tmp_path / "last.pt").write_bytes((LORAS / "broken/pickle_named_safetensors.safetensors").read_bytes())
    for name in ("not_lora/vae.safetensors", "broken/truncated_in_tensors.safetensors"):
        (tmp_path / Path(name).name).write_bytes((LORAS / name).read_bytes())
    (tmp_path / "folder.safetensors").mkdir()
    for arguments in (["--exit-code", "0"], []):
        report = explain(capsys, log, "--output", tmp_path, *arguments)
        assert (report["status"], report["cause"]) == ("failed", "no_output")
    (tmp_path / "checkpoint-8").mkdir()
    (tmp_path / "checkpoint-8" / "pytorch_lora_weights.safetensors").write_bytes(
        (LORAS / "series/aria_v2-000001.safetensors").read_bytes()
    )
    (tmp_path / "sampler_girl.safetensors").write_bytes((LORAS / "series/aria_v2.safetensors").read_bytes())
    assert count_loras(tmp_path) == 2
    report = explain(capsys, log, "--exit-code", "0", "--output", tmp_path)
    assert (report["status"], report["message"]) == ("succeeded", "The training succeeded and wrote 2 LoRA files.")


def test_an_output_folder_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(recording("sd-scripts-success")), "--output", str(tmp_path / "outptu")]) == 2
    out = capsys.readouterr()
    assert (out.out, "no such folder" in out.err) == ("", True)


RESUMED = (
    b"INFO     resume training from local state: /elsewhere/last-000001-state\n"
    b"  num batches per epoch: 8\n  num epochs: 2\n  total optimization steps: 16\n"
    b"steps:   0%|          | 0/16 [00:00<?, ?it/s]\r"
    b"steps:  19%|#9        | 3/16 [00:03<00:13, 1.00s/it, avr_loss=0.5]"
)


@pytest.mark.parametrize(
    ("current_step", "step"),
    [("8", 11), ("14", 3), ('"x"', 3), ("-1", 3), ("1e999", 3), pytest.param("[" * 99_999, 3, id="nested")],
)
def test_a_resumed_run_starts_at_the_offset_of_its_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], current_step: str, step: int
) -> None:
    log = tmp_path / "log"
    log.write_bytes(RESUMED)
    state = tmp_path / "out" / "last-000001-state"
    state.mkdir(parents=True)
    (state / "train_state.json").write_text('{"current_epoch": 1, "current_step": ' + current_step + "}")
    report = explain(capsys, log, "--output", tmp_path / "out")
    assert (report["step"], report["total_steps"], report["status"]) == (step, 16, "running")


def test_the_pace_is_the_median_of_what_the_training_bar_prints() -> None:
    bar = "steps:  50%|█████     | {step}/16 [00:11<00:11,  {rate}, avr_loss=1.1]\r"
    frames = [bar.format(step=step, rate=rate) for step, rate in enumerate(["1.00s/it", "2.00it/s", "9.00s/it"])]
    sampler = "100%|██████████| 3/3 [00:00<00:00,  5.01it/s]\n"
    assert printed_pace("".join([*frames, sampler]).encode()) == 1.0
    assert printed_pace(b"steps:   0%|          | 0/16 [00:00<?, ?it/s, loss=1]") is None
    assert printed_pace(b"steps:   1%|\xff\xe2\x96| 1/16 [00:00<?, 0.00it/s, loss=inf]") is None


@pytest.mark.parametrize(("printed", "loss"), [("inf", "inf"), ("-inf", "-inf"), ("nan", "nan"), ("0.25", 0.25)])
def test_a_loss_that_is_no_number_is_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], printed: str, loss: float | str
) -> None:
    log = tmp_path / "log"
    log.write_text(f"\rsteps:  50%|█████     | 8/16 [00:11<00:11,  1.41s/it, avr_loss={printed}]")
    report = explain(capsys, log)
    assert report["loss"] == loss
    assert bool(report["alarms"]) == isinstance(loss, str)


def test_a_log_without_a_word_needs_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"")
    assert explain(capsys, log, "--exit-code", "1")["cause"] == "unknown"
    assert explain(capsys, log, "--exit-code", "0")["cause"] == "no_output"
    assert explain(capsys, log, "--exit-code", "-9")["cause"] == "killed"


BY_EXIT_FILE: list[tuple[dict[str, Any], str, str | None]] = [
    ({"exit_code": -9, "finished_at": 1.0}, "failed", "killed"),
    ({"exit_code": 0}, "failed", "no_output"),
    ({"exit_code": -9, "cancelled": True}, "cancelled", "interrupted"),
    ({"exit_code": -15, "timed_out": True}, "failed", "timeout"),
    ({"exit_code": None, "start_error": "accelerate: No such file or directory"}, "failed", "missing_trainer"),
    ({"exit_code": None}, "running", None),
    ({"exit_code": "9"}, "running", None),
]


@pytest.mark.parametrize(("written", "status", "cause"), BY_EXIT_FILE)
def test_what_the_supervisor_wrote_beside_the_log_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: dict[str, Any], status: str, cause: str | None
) -> None:
    (tmp_path / "log").write_bytes(recording("sd-scripts-sigkill").read_bytes())
    (tmp_path / "exit.json").write_text(json.dumps(written).ljust(1024))
    for named in (tmp_path, tmp_path / "log"):
        report = explain(capsys, named)
        assert (report["status"], report["cause"], report["step"]) == (status, cause, 5)
        assert report["message"]
    given = explain(capsys, tmp_path, "--exit-code", "-2")
    assert (given["status"], given["cause"]) == ("cancelled", "interrupted")


@pytest.mark.parametrize("written", [b"", b"[1]", b"\xff", b"{"])
def test_an_exit_file_that_cannot_be_read_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: bytes
) -> None:
    (tmp_path / "log").write_bytes(recording("sd-scripts-sigkill").read_bytes())
    (tmp_path / "exit.json").write_bytes(written)
    assert explain(capsys, tmp_path)["status"] == "running"


def test_the_standard_input_is_read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = recording("sd-scripts-fail-corrupt-image").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert explain(capsys, "-", "--exit-code", "1")["cause"] == "corrupt_image"


@pytest.mark.parametrize("name", ["none", ".", "empty", "blank", "binary", "image.png", "a/b", "loop"])
def test_what_is_no_log_is_one_plain_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_bytes(b"\n \0\0\0\n")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(50_000))
    (tmp_path / "a").touch()
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / name
    for arguments in ([], ["--exit-code", "1"] if name not in ("empty", "blank") else []):
        assert main([str(path), *arguments]) == 2
        out = capsys.readouterr()
        assert not out.out
        assert out.err.count("\n") == 1
        assert str(path) in out.err
        assert out.err.endswith(".\n")
        assert "[Errno" not in out.err


def test_text_with_odd_bytes_is_a_log() -> None:
    bars = recording("sd-scripts-success").read_bytes()
    assert not is_binary(bars)
    assert not is_binary(bars[:3_000] + b"\0" * 100_000)  # as a power cut leaves it
    assert not is_binary("学習開始 steps, 訓練".encode("shift-jis") + b" INFO loading the model, please wait")
    assert not is_binary(b"")


@pytest.mark.slow
def test_as_a_real_process_in_a_plain_locale() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lib.jobs.explain", str(recording("sd-scripts-sigkill")), "--exit-code", "-9"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=120,
        check=True,
    )
    report = json.loads(done.stdout.decode("ascii"))
    assert (report["status"], report["cause"], report["step"]) == ("failed", "killed", 5)
    assert not done.stderr
