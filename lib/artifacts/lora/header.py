"""The header of a safetensors file, checked as strictly as the safetensors library checks it.

The format: 8 bytes little-endian length, then that many bytes of JSON, then the tensors
(https://huggingface.co/docs/safetensors: "Format"). Every bound is checked before what it bounds is read or parsed.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, Never

from lib.artifacts.lora.byte_source import FirstBlock
from lib.errors import ArtifactError

FIRST_READ_BYTES = 512 << 10
BEYOND_HEADER_BYTES = 64 << 10
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
MAX_TENSORS = 500_000
# The library's list (safetensors 0.8, enum Dtype).
DTYPE_BITS: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_UNSIGNED_END = 1 << 64
_new_tuple = tuple.__new__  # what a named tuple's own constructor calls, without its detour
_ENTRY = ("dtype", "shape", "data_offsets")
_IMPOSSIBLE = "has an impossible shape or place"
# What is often stored under the name of a safetensors file, by its first bytes.
_FOREIGN = (
    ((b"PK\x03\x04",), "It is a zip archive, most likely a pickle written by torch.save. Pickles are never opened."),
    (tuple(bytes((0x80, protocol)) for protocol in range(2, 6)), "It is a pickle. Pickles are never opened."),
    ((b"version https://git-lfs",), "It is a git-lfs pointer: the real file was not downloaded."),
    ((b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML"), "It is a web page, most likely an error page."),
    ((b"<?xml", b"<Error"), "It is an XML document, most likely an error of a store."),
    ((b"GGUF",), "It is a GGUF file."),
    ((b"\x93NUMPY",), "It is a NumPy array."),
    ((b"\x1f\x8b",), "It is a gzip archive."),
    ((b"\x89PNG", b"\xff\xd8\xff", b"RIFF"), "It is a picture, a sound or a video."),
)


class BrokenFile(ArtifactError):
    """The file is no whole safetensors file; the text says why."""


class Tensor(NamedTuple):
    """Where a tensor lies: ``begin`` and ``end`` count from the end of the header."""

    begin: int
    end: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A checked header. ``size_bytes`` includes the 8 bytes of the length; tensors are in the order they lie in."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    size_bytes: int


def read_header(file: FirstBlock) -> Header:
    """Read and check a header: one read, a second one only for a header that is longer than the first block.

    Raises:
        BrokenFile: The safetensors library would refuse the file.
    """
    start = file.read(0, 64)
    length = _length(start, file.size_bytes)
    if not file.holds(8, length):
        file.reach(8 + length + BEYOND_HEADER_BYTES)
    data = file.read(8, length)
    if len(data) < length:
        raise BrokenFile("The file ends within its safetensors header: it was not written completely.")
    try:
        content = _parsed(data)
    except BrokenFile as error:
        raise BrokenFile(foreign(start) or str(error)) from error
    del data
    metadata = _metadata(content.pop("__metadata__", None))
    tensors = _tensors(content)
    _check_layout(tensors, file.size_bytes - 8 - length)
    return Header(metadata=metadata, tensors=tensors, size_bytes=8 + length)


def foreign(start: bytes) -> str:
    """What a file is that is no safetensors file, as a sentence; empty when its first bytes do not tell."""
    if start.lstrip()[:1] in (b"{", b"[") and start[:4].isascii():
        return "It is a JSON file, not a safetensors file."
    return next((sentence for magic, sentence in _FOREIGN if start.startswith(magic)), "")


def _length(start: bytes, size_bytes: int) -> int:
    if not start:
        raise BrokenFile("The file is empty.")
    if len(start) < 8:
        raise BrokenFile(foreign(start) or "The file is too short to be a safetensors file.")
    (length,) = struct.unpack_from("<Q", start)
    if not start.strip(b"\0"):
        raise BrokenFile("The file holds only zeros where its header should be: it was never written.")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise BrokenFile(foreign(start) or "The file is not a safetensors file: its header cannot be that long.")
    if 8 + length > size_bytes:
        cut = "The file ends within its safetensors header: it was not written completely."
        raise BrokenFile(foreign(start) or cut)
    return int(length)


def _parsed(data: bytes) -> dict[str, Any]:
    """The header's JSON, in which each tensor is a Tensor already, or a text that says what is wrong with it."""
    # Every tensor has two lists and about eight commas; texts of the metadata may hold some more.
    if data.count(b'"data_offsets"') > MAX_TENSORS or data.count(b"[") > 4 * MAX_TENSORS:
        raise BrokenFile(f"The file claims more than {MAX_TENSORS:,} tensors.")
    if data.count(b",") > 20 * MAX_TENSORS or data.count(b"{") > 4 * MAX_TENSORS:
        raise BrokenFile("The safetensors header is too large to be read.")
    try:
        content = json.loads(
            data.decode(), object_pairs_hook=_object, parse_float=_no_number, parse_constant=_no_number
        )
        if b"\\u" in data:
            json.dumps(content, ensure_ascii=False).encode()  # lone surrogates, which the library refuses
    except RecursionError as error:
        raise BrokenFile("The file is not a safetensors file: its header is nested too deeply.") from error
    except ValueError as error:
        raise BrokenFile("The file is not a safetensors file: its header is not JSON.") from error
    if not isinstance(content, dict):
        raise BrokenFile("The file is not a safetensors file: its header is not a JSON object.")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Tensor | str:
    if len(pairs) == 3:  # the order in which every writer writes them; this runs once a tensor
        (first, dtype), (second, shape), (third, offsets) = pairs
        if first == "dtype" and second == "shape" and third == "data_offsets":
            return _tensor(dtype, shape, offsets)
    content = dict(pairs)
    if len(content) < len(pairs):
        raise BrokenFile("The safetensors header names something twice.")
    return _tensor(*[content[key] for key in _ENTRY]) if content.keys() >= set(_ENTRY) else content


def _tensor(dtype: Any, shape: Any, offsets: Any) -> Tensor | str:
    if type(dtype) is not str or type(shape) is not list or type(offsets) is not list or len(offsets) != 2:
        return _IMPOSSIBLE
    begin, end = offsets
    for number in shape:
        if type(number) is not int:
            return _IMPOSSIBLE
    if type(begin) is not int or type(end) is not int:
        return _IMPOSSIBLE
    if dtype not in DTYPE_BITS:
        return f"has the dtype {_short(dtype)}, which safetensors does not know"
    size_bytes, kept_shape = _size_bytes(dtype, tuple(shape))
    if size_bytes < 0 or begin < 0:
        return _IMPOSSIBLE
    if end - begin != size_bytes:
        return "has more or fewer bytes than its shape needs"
    return _new_tuple(Tensor, (begin, end, dtype, kept_shape))


@lru_cache(maxsize=4096)
def _size_bytes(dtype: str, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Bytes of a tensor, -1 for none that could exist; and the shape, so that tensors share it."""
    bits = DTYPE_BITS[dtype]
    for number in shape:
        bits *= number
        if not 0 <= number < _UNSIGNED_END or bits >= _UNSIGNED_END:
            return -1, shape
    return (-1 if bits & 7 else bits >> 3), shape


def _no_number(word: str) -> Never:
    raise ValueError(word)


def _metadata(content: Any) -> dict[str, str]:
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(type(value) is str for value in content.values()):
        raise BrokenFile("The metadata of the safetensors header are not texts.")
    return content


def _tensors(content: Mapping[str, Any]) -> dict[str, Tensor]:
    for name, tensor in content.items():
        if type(tensor) is not Tensor:
            wrong = tensor if type(tensor) is str else _IMPOSSIBLE
            raise BrokenFile(f"The safetensors header is wrong: {_short(name)} {wrong}.")
    return dict(sorted(content.items(), key=itemgetter(1)))


def _check_layout(tensors: Mapping[str, Tensor], data_bytes: int) -> None:
    position = 0
    for name, tensor in tensors.items():
        if tensor.begin != position:
            raise BrokenFile(f"{_short(name)} does not begin where the tensor before it ends.")
        position = tensor.end
    if position > data_bytes:
        raise BrokenFile(f"Its last {position - data_bytes:,} bytes are missing: it was not written completely.")
    if position < data_bytes:
        raise BrokenFile(f"{data_bytes - position:,} bytes follow its last tensor that belong to none.")


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:79]}…")
