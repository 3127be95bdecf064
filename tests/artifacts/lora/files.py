"""Safetensors files for tests: from arrays, from hand-written headers, and the recorded ones."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from lib.artifacts.lora.adapter_config import AdapterConfig
from lib.artifacts.lora.byte_source import MemoryBytes
from lib.artifacts.lora.file import LoraFile, read_lora
from lib.artifacts.lora.norms import Norms, compute_norms

RECORDED = Path(__file__).parents[2] / "recordings" / "lora-files"
INDEX: list[dict[str, Any]] = json.loads((RECORDED / "index.json").read_text())["files"]
RANDOM = np.random.default_rng(7)


def framed(content: object, data: bytes = b"") -> bytes:
    """A file with a header as given, JSON or bytes."""
    text = content if isinstance(content, bytes) else json.dumps(content, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def bf16(values: np.ndarray) -> bytes:
    """The upper halves of 32-bit floats."""
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()


def pair(module: str, rank: int = 4, rows: int = 6, columns: int = 8) -> dict[str, np.ndarray]:
    """The two factors of one kohya module."""
    return {
        f"{module}.lora_down.weight": RANDOM.normal(size=(rank, columns)).astype(np.float32),
        f"{module}.lora_up.weight": RANDOM.normal(size=(rows, rank)).astype(np.float32),
    }


def read(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None, config: AdapterConfig | None = None
) -> LoraFile:
    return read_lora(MemoryBytes(save(dict(tensors), dict(metadata or {}))), config)


def norms(tensors: Mapping[str, np.ndarray], config: AdapterConfig | None = None) -> Norms:
    source = MemoryBytes(save(dict(tensors)))
    return compute_norms(read_lora(source, config), source)
