"""Tensors as numpy arrays: every dtype of a safetensors file that numpy has no name for, too."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lib.artifacts.lora.scalars import EIGHT_BIT_FLOATS, eight_bit_float

Raw = NDArray[np.generic]
Numbers = NDArray[np.floating]
_NUMPY: Mapping[str, str] = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8",
    "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", **dict.fromkeys(EIGHT_BIT_FLOATS, "|u1"),
}  # fmt: skip


def raw(data: bytes, dtype: str) -> Raw:
    """The stored values, one-dimensional, without copying."""
    return np.frombuffer(data, dtype=_NUMPY[dtype])


def numbers(values: Raw, dtype: str) -> Numbers:
    """The values as floats: of 32 bits where that is exact, else of 64."""
    if dtype == "BF16":
        wide = np.zeros((*values.shape, 2), np.uint16)
        wide[..., 1] = values
        exact: NDArray[np.float32] = wide.view(np.float32)[..., 0]
        return exact
    if dtype in _TABLES:
        looked_up: NDArray[np.float32] = _TABLES[dtype][values]
        return looked_up
    is_exact = values.dtype.itemsize <= 2 or dtype == "F32"
    return values.astype(np.float32 if is_exact else np.float64, copy=False)


_TABLES: Mapping[str, NDArray[np.float32]] = {
    dtype: np.array([eight_bit_float(code, dtype) for code in range(256)], np.float32) for dtype in EIGHT_BIT_FLOATS
}
