"""Writing a LoRA file: the same tensors and metadata give the same bytes."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lib.tiny_trainer.network import Array


def write_lora(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file in one step.

    The safetensors library orders metadata differently at each call, so the header is written here, sorted
    (8 bytes of little-endian length, JSON, tensors: https://huggingface.co/docs/safetensors, "Format").
    """
    names = sorted(tensors)
    blocks = [np.ascontiguousarray(tensors[name], "<f4").tobytes() for name in names]
    hashes = {"sshs_model_hash": hashlib.sha256(b"".join(blocks)).hexdigest()}
    entries: dict[str, object] = {"__metadata__": dict(sorted({**metadata, **hashes}.items()))}
    end = 0
    for name, block in zip(names, blocks, strict=True):
        begin, end = end, end + len(block)
        entries[name] = {"dtype": "F32", "shape": list(np.shape(tensors[name])), "data_offsets": [begin, end]}
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    header += b" " * (-len(header) % 8)
    unfinished = path.with_name(f".{path.stem[:40]}.{os.getpid()}.part")
    with unfinished.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.writelines(blocks)
    unfinished.replace(path)
