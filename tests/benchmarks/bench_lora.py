"""LoRA files: what a header costs, far and near, with many tensors; what norms cost in time and memory.

    uv run python -m tests.benchmarks.bench_lora

Norms are compared with reading the bytes and computing one 32-bit Gram per factor in numpy, each in a process of its
own with one BLAS thread; both in CPU seconds, so that a busy machine counts less.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import requests

from lib.artifacts.lora.byte_source import LocalBytes, MemoryBytes
from lib.artifacts.lora.far_bytes import StoredBytes
from lib.artifacts.lora.file import read_lora
from lib.artifacts.lora.inspect import facts_of
from lib.artifacts.object_store import ObjectStore
from tests.artifacts.s3_server import BUCKET, s3_server

# FLUX.1: (block, count, [(module, inputs, outputs)]), the modules that sd-scripts' lora_flux changes.
HIDDEN, MLP = 3072, 12288
DOUBLE = [
    (f"{side}_{name}", inputs, outputs)
    for side in ("img", "txt")
    for name, inputs, outputs in (
        ("attn_qkv", HIDDEN, 3 * HIDDEN),
        ("attn_proj", HIDDEN, HIDDEN),
        ("mlp_0", HIDDEN, MLP),
        ("mlp_2", MLP, HIDDEN),
        ("mod_lin", HIDDEN, 6 * HIDDEN),
    )
]
SINGLE = [
    ("linear1", HIDDEN, 3 * HIDDEN + MLP),
    ("linear2", HIDDEN + MLP, HIDDEN),
    ("modulation_lin", HIDDEN, 3 * HIDDEN),
]
SIZES = {"F32": 4, "BF16": 2, "F16": 2}


def flux_modules() -> Iterator[tuple[str, int, int]]:
    """All 304 modules: name, inputs, outputs."""
    for kind, count, layers in (("double", 19, DOUBLE), ("single", 38, SINGLE)):
        for block in range(count):
            for name, inputs, outputs in layers:
                yield f"lora_unet_{kind}_blocks_{block}_{name}", inputs, outputs


def header(rank: int, dtype: str) -> tuple[bytes, int]:
    """A header of a FLUX LoRA with its length, and the size of its data."""
    entries, offset = {}, 0
    for module, inputs, outputs in flux_modules():
        for part, shape in (("alpha", []), ("lora_down.weight", [rank, inputs]), ("lora_up.weight", [outputs, rank])):
            end = offset + SIZES[dtype] * int(np.prod(shape, dtype=int))
            entries[f"{module}.{part}"] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
            offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, offset


def write_flux(path: Path, rank: int, dtype: str, *, is_sparse: bool = False) -> None:
    """A FLUX LoRA of random weights, or of zeros that take no room on the disk."""
    start, size = header(rank, dtype)
    random = np.random.default_rng(1)
    with path.open("wb") as file:
        file.write(start)
        if is_sparse:
            file.truncate(len(start) + size)
            return
        for _module, inputs, outputs in flux_modules():
            for count in (1, rank * inputs, rank * outputs):
                values = random.standard_normal(count, np.float32) * np.float32(0.02)
                file.write((values.view("<u4") >> 16).astype("<u2") if dtype == "BF16" else values)


def bench_far(folder: Path) -> None:
    """Requests, bytes and time of a 2 GB file's header on a real S3 server, and on the disk."""
    path = folder / "flux.safetensors"
    write_flux(path, 208, "BF16", is_sparse=True)
    with LocalBytes(path) as source:
        read_lora(source)
        times = [_timed(lambda: read_lora(source)) for _ in range(9)]
    row("header, 2 GB on the disk", f"{median(times) * 1000:.0f} ms")
    with s3_server(folder / "s3") as server, closing(ObjectStore(server.settings)) as store:
        path.rename(folder / "s3" / BUCKET / "flux.safetensors")
        link = store.sign("flux.safetensors", "flux.safetensors").url
        requests.get(link, headers={"Range": "bytes=0-9"}, timeout=300)  # rclone hashes the whole object at first
        times = []
        for _ in range(9):
            far = Counted(store, "flux.safetensors")
            times.append(_timed(partial(read_lora, far)))
    row("header, 2 GB in S3", f"{median(times) * 1000:.0f} ms, {len(far.answers)} requests, {sum(far.answers):,} bytes")


class Counted(StoredBytes):
    """Remembers the sizes of the answers."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        super().__init__(store, key)
        self.answers: list[int] = []

    def read(self, offset: int, size: int) -> bytes:
        data = super().read(offset, size)
        self.answers.append(len(data))
        return data


def bench_many_tensors(count: int = 200_000) -> None:
    """Time and memory of a header with very many tensors, beside json.loads alone."""
    entries, offset = {}, 0
    for place in range(count // 3):
        for part, shape in (("alpha", []), ("lora_down.weight", [1, 1]), ("lora_up.weight", [1, 1])):
            entry = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + 2]}
            entries[f"lora_unet_double_blocks_{place % 19}_img_attn_qkv_{place}.{part}"] = entry
            offset += 2
    text = json.dumps(entries, separators=(",", ":")).encode()
    data = struct.pack("<Q", len(text)) + text + b"\x80\x3f" * (offset // 2)
    lora = read_lora(MemoryBytes(data))
    alone, reading, facts = (
        min(_timed(work, time.process_time) for _ in range(5))
        for work in (lambda: json.loads(text), lambda: read_lora(MemoryBytes(data)), lambda: facts_of(lora))
    )
    row(f"{len(entries):,} tensors, CPU", f"{reading:.2f} s, facts {facts:.2f} s; json.loads alone {alone:.2f} s")


BASELINE = """
import numpy as np, sys
from lib.artifacts.lora.byte_source import LocalBytes
from lib.artifacts.lora.file import read_local
lora = read_local(__import__("pathlib").Path(sys.argv[1]))
def work():
    total = 0.0
    with open(sys.argv[1], "rb", buffering=0) as file:
        for module in lora.modules.values():
            for part in ("down", "up"):
                tensor = lora.header.tensors[module.tensors[part]]
                file.seek(lora.header.size_bytes + tensor.begin)
                data = file.read(tensor.end - tensor.begin)
                if tensor.dtype == "BF16":
                    values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(tensor.shape)
                else:
                    values = np.frombuffer(data, "<f4").reshape(tensor.shape)
                gram = values @ values.T if part == "down" else values.T @ values
                total += float(gram[0, 0])
"""
OURS = """
import sys
from lib.artifacts.lora.byte_source import LocalBytes
from lib.artifacts.lora.file import read_lora
from lib.artifacts.lora import norms
def work():
    with LocalBytes(__import__("pathlib").Path(sys.argv[1])) as source:
        norms.compute_norms(read_lora(source), source)
"""
MEASURE = """
import time
def peak():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1])
np.ones((64, 64), np.float32) @ np.ones((64, 64), np.float32)
before = peak()
times = []
for _ in range(3):
    start = time.process_time()
    work()
    times.append(time.process_time() - start)
print(min(times), (peak() - before) / 1024)
"""


def bench_norms(folder: Path) -> None:
    """Norms of 250 MB FLUX-shaped files, each side in a process of its own, in turn."""
    for rank, dtype in ((26, "BF16"), (13, "F32")):
        path = folder / f"{dtype}.safetensors"
        write_flux(path, rank, dtype)
        size = path.stat().st_size / 1e6
        ours, baseline = (_in_process(code, path) for code in (OURS, BASELINE))
        row(
            f"norms, {size:,.0f} MB, rank {rank} {dtype}",
            f"{ours[0]:.2f} s CPU, +{ours[1]:.0f} MB; baseline {baseline[0]:.2f} s, +{baseline[1]:.0f} MB; "
            f"ratio {ours[0] / baseline[0]:.2f}",
        )
        path.unlink()


def _in_process(code: str, path: Path) -> tuple[float, float]:
    command = [sys.executable, "-c", f"import numpy as np\n{code}\n{MEASURE}", str(path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # threads of a busy machine wait for each other
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds, megabytes = ended.stdout.split()
    return float(seconds), float(megabytes)


def _timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def row(name: str, result: str) -> None:
    print(f"{name:<36} {result}", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        bench_many_tensors()
        bench_far(Path(name))
        bench_norms(Path(name))
