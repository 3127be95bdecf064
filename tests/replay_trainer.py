"""A trainer that plays the recording of a real run: its output in time, its files at their moments, its own end.

As a program: ``python replay_trainer.py RECORDING OUTPUT LONGEST_S``. It needs no package, so that it starts fast.
"""

import json
import os
import re
import signal
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

FASTER = 20.0
STAMP = re.compile(r"_(20\d{12})(?:_|\.)")


def weights(name: str, value: float) -> bytes:
    """A whole LoRA file of one pair of tensors."""
    tensors = ("lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight")
    entries = {
        tensor: {"dtype": "F32", "shape": [1, 1], "data_offsets": [4 * place, 4 * place + 4]}
        for place, tensor in enumerate(tensors)
    }
    header = json.dumps({"__metadata__": {"n": name}, **entries}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<ff", value, value)


def pieces(folder: Path) -> list[tuple[float, bytes]]:
    """Seconds since the start and the bytes of each read; a recording without times is played evenly."""
    timed = folder / "merged.jsonl"
    if timed.exists():
        records = map(json.loads, filter(None, timed.read_text(encoding="utf-8").splitlines()))
        return [(float(record["t"]), record["text"].encode()) for record in records]
    data = (folder / "merged.bin").read_bytes()
    return [(place * 0.5, data[start : start + 512]) for place, start in enumerate(range(0, len(data), 512))]


def output_files(meta: Mapping[str, Any]) -> list[str]:
    """What the run left in its output folder, relative to it."""
    named = [each["path"] for each in meta["files"]] + [each["file"] for each in meta.get("safetensors", ())]
    return sorted({path.removeprefix("output/") for path in named if path.startswith("output/")})


def moments(files: Sequence[str], played: Sequence[tuple[float, bytes]], meta: Mapping[str, Any]) -> dict[str, float]:
    """When each file was written: by the time in its name, else when the log last named it, else at the end."""
    found = {}
    text = b"".join(data for _, data in played).decode("utf-8", "replace")
    ends, done = [], 0
    for at, data in played:
        done += len(data.decode("utf-8", "replace"))
        ends.append((done, at))
    for path in files:
        name = path.partition("-state/")[0] + "." if "-state/" in path else path.rpartition("/")[2]
        stamp, place = STAMP.search(path), text.rfind(name)
        if stamp and meta.get("started"):
            began = datetime.fromisoformat(meta["started"]).replace(tzinfo=None)
            found[path] = (datetime.strptime(stamp[1], "%Y%m%d%H%M%S") - began).total_seconds()  # noqa: DTZ007 (both UTC)
        else:
            found[path] = next((at for end, at in ends if end > place >= 0), played[-1][0])
    return found


def end_of(meta: Mapping[str, Any]) -> int:
    """Its exit code; a negative one is a signal."""
    if "popen_returncode" in meta:
        return int(meta["popen_returncode"])
    return int((meta["exit"] or {"exit_code": 0})["exit_code"])


def was_cancelled(meta: Mapping[str, Any]) -> bool:
    """Whether a person ended it."""
    return bool((meta.get("exit") or {}).get("cancelled"))


def write(output: Path, path: str, *, is_nan: bool) -> None:
    """A file like the recorded one, as small as it may be."""
    target = output / path
    target.parent.mkdir(parents=True, exist_ok=True)
    is_lora = path.endswith(".safetensors")
    target.write_bytes(weights(path, float("nan") if is_nan else 0.5) if is_lora else b"replayed")


def play(folder: Path, output: Path, longest_s: float) -> int:
    """Play a recording; returns the exit code, or does not return."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    played = pieces(folder)
    is_nan = any(b"avr_loss=nan" in data for _, data in played)
    waiting = sorted(moments(output_files(meta), played, meta).items(), key=lambda each: each[1])
    speed = max(FASTER, played[-1][0] / longest_s)
    began = time.monotonic()

    def write_until(moment: float) -> None:
        while waiting and waiting[0][1] <= moment:
            write(output, waiting.pop(0)[0], is_nan=is_nan)

    for at, data in _joined(played, speed):
        time.sleep(max(0.0, at / speed - (time.monotonic() - began)))
        write_until(at)
        os.write(1, data)
    write_until(float("inf"))
    code = end_of(meta)
    if was_cancelled(meta):
        time.sleep(600)
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


def _joined(played: Sequence[tuple[float, bytes]], speed: float) -> Iterator[tuple[float, bytes]]:
    """What arrives within 20 ms when played is written at once."""
    last, kept = 0.0, b""
    for at, data in played:
        if kept and at - last > 0.02 * speed:
            yield last, kept
            kept = b""
        last, kept = at, kept + data
    yield last, kept


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(play(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
