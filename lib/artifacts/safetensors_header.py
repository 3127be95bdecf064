"""What a safetensors file says of itself, read from its first bytes: no weights are downloaded.

The format: 8 bytes little-endian length, then that many bytes of JSON, then the tensors
(https://huggingface.co/docs/safetensors: "Format").
"""

import json
import math
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.errors import ArtifactError

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
DOWN_ENDINGS = (".lora_down.weight", ".lora.down.weight", ".lora_A.weight", ".lora_A.default.weight")
_ALPHA_FORMATS = {"F16": "<e", "F32": "<f", "F64": "<d"}

ReadRange = Callable[[int, int], bytes]
"""``read(offset, size)`` gives that many bytes of the file, fewer at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Where a tensor lies: ``begin`` and ``end`` count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsHeader:
    """A file's header. ``rank`` and ``alpha`` are None when neither metadata nor tensors tell."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    size_bytes: int = 0
    rank: int | None = None
    alpha: float | None = None

    @property
    def file_bytes(self) -> int:
        """Size of the whole file, as its header tells."""
        return self.size_bytes + max((tensor.end for tensor in self.tensors.values()), default=0)


def damage(path: Path) -> str:
    """Why a file is no whole safetensors file, as a sentence; empty when it is one. Raises OSError."""
    with path.open("rb") as file:

        def read(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        try:
            missing_bytes = read_header(read).file_bytes - file.seek(0, 2)
        except ArtifactError as error:
            return str(error)
    return f"Its last {missing_bytes:,} bytes are missing: it was not written completely." if missing_bytes > 0 else ""


def read_header(read: ReadRange) -> SafetensorsHeader:
    """Read a header in two ranged reads, and one tiny third for an alpha that the metadata lack.

    Raises:
        ArtifactError: It is no safetensors file, or a damaged one.
    """
    start = read(0, 8)
    if len(start) < 8:
        raise ArtifactError("The file is too short to be a safetensors file.")
    (length,) = struct.unpack("<Q", start)
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise ArtifactError("The file is not a safetensors file.")
    content = _parse(read(8, length), length)
    metadata = content.pop("__metadata__", None) or {}
    try:
        tensors = {name: _tensor(entry) for name, entry in content.items()}
        texts = {str(key): str(value) for key, value in metadata.items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtifactError("The safetensors header cannot be understood.") from error
    header = SafetensorsHeader(metadata=texts, tensors=tensors, size_bytes=8 + length, rank=_rank(texts, tensors))
    return SafetensorsHeader(
        metadata=texts,
        tensors=tensors,
        size_bytes=header.size_bytes,
        rank=header.rank,
        alpha=_alpha(header, read),
    )


def _parse(data: bytes, length: int) -> dict[str, Any]:
    if len(data) < length:
        raise ArtifactError("The file ends within its safetensors header: it was not written completely.")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError("The file is not a safetensors file.") from error
    if not isinstance(content, dict):
        raise ArtifactError("The file is not a safetensors file.")
    return content


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    if not 0 <= int(begin) <= int(end) < 1 << 63:
        raise ValueError("no part of a file")
    return Tensor(dtype=str(entry["dtype"]), shape=shape, begin=int(begin), end=int(end))


def _rank(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> int | None:
    for text in (metadata.get("ss_network_dim"), _adapter_metadata(metadata).get("r")):
        if (number := _number(text)) is not None:
            return int(number)
    ranks = Counter(tensor.shape[0] for name, tensor in tensors.items() if name.endswith(DOWN_ENDINGS) and tensor.shape)
    return ranks.most_common(1)[0][0] if ranks else None


def _alpha(header: SafetensorsHeader, read: ReadRange) -> float | None:
    metadata = header.metadata
    for text in (metadata.get("ss_network_alpha"), _adapter_metadata(metadata).get("lora_alpha")):
        if (number := _number(text)) is not None:
            return number
    for name, tensor in header.tensors.items():
        layout = _ALPHA_FORMATS.get(tensor.dtype)
        if name.endswith(".alpha") and layout and math.prod(tensor.shape) == 1:
            data = read(header.size_bytes + tensor.begin, struct.calcsize(layout))
            return float(struct.unpack(layout, data)[0]) if len(data) == struct.calcsize(layout) else None
    return None


def _adapter_metadata(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """The values diffusers writes; its keys may bear a component's name before a dot."""
    try:
        content = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        return {str(key).rsplit(".", 1)[-1]: value for key, value in content.items()}
    except (ValueError, AttributeError):
        return {}


def _number(text: object) -> float | None:
    try:
        number = float(str(text))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
