"""Whether a file holds NaN or infinity, in every dtype that can."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from lib.artifacts.lora.finite import CHUNK_BYTES, holds_nan
from lib.artifacts.lora.header import BrokenFile


def written(path: Path, dtype: str, data: bytes, width: int) -> Path:
    shapes = {"a": (0, 0), "b": (0, len(data))}
    header = json.dumps(
        {
            name: {"dtype": dtype, "shape": [(end - begin) // width], "data_offsets": [begin, end]}
            for name, (begin, end) in shapes.items()
        }
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@pytest.mark.parametrize(
    ("dtype", "value", "bad"),
    [
        ("F32", np.float32(1).tobytes(), np.float32("nan").tobytes()),
        ("F32", np.float32(-3e38).tobytes(), np.float32("-inf").tobytes()),
        ("F16", np.float16(65504).tobytes(), np.float16("inf").tobytes()),
        ("F64", np.float64(1e300).tobytes(), np.float64("nan").tobytes()),
        ("BF16", b"\x80\x3f", b"\xc0\x7f"),
        ("F8_E4M3", b"\x7e", b"\x7f"),
        ("I64", b"\xff" * 8, b""),
    ],
)
def test_the_last_value_counts_behind_the_first_chunk(tmp_path: Path, dtype: str, value: bytes, bad: bytes) -> None:
    many = value * (CHUNK_BYTES // len(value) + 1)
    assert not holds_nan(written(tmp_path / "good.safetensors", dtype, many, len(value)))
    assert holds_nan(written(tmp_path / "bad.safetensors", dtype, many + bad, len(value))) == bool(bad)


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "half.safetensors", "F32", bytes(8), 4)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BrokenFile):
        holds_nan(path)
