"""Single stored values as floats, for every dtype of a safetensors file that has a value a byte or more; no numpy."""

import math
import struct
from collections.abc import Mapping

_STRUCT: Mapping[str, str] = {
    "BOOL": "<?", "U8": "<B", "I8": "<b", "I16": "<h", "U16": "<H", "I32": "<i", "U32": "<I", "I64": "<q", "U64": "<Q",
    "F16": "<e", "F32": "<f", "F64": "<d",
}  # fmt: skip
# Bits of the exponent and its bias.
_EIGHT_BITS: Mapping[str, tuple[int, int]] = {
    "F8_E4M3": (4, 7), "F8_E5M2": (5, 15), "F8_E4M3FNUZ": (4, 8), "F8_E5M2FNUZ": (5, 16), "F8_E8M0": (8, 127),
}  # fmt: skip
EIGHT_BIT_FLOATS = tuple(_EIGHT_BITS)
READABLE = frozenset({*_STRUCT, *_EIGHT_BITS, "BF16"})


def scalar(data: bytes, dtype: str) -> float:
    """The only value of a tensor of one value; ``dtype`` is one of READABLE."""
    if dtype == "BF16":
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    if dtype in _EIGHT_BITS:
        return eight_bit_float(data[0], dtype)
    return float(struct.unpack(_STRUCT[dtype], data)[0])


def eight_bit_float(code: int, dtype: str) -> float:
    """The value of an 8-bit float (OCP 8-bit floating point specification; FNUZ as in ml_dtypes)."""
    exponent_bits, bias = _EIGHT_BITS[dtype]
    if dtype == "F8_E8M0":
        return math.nan if code == 0xFF else 2.0 ** (code - bias)
    if (dtype.endswith("FNUZ") and code == 0x80) or (dtype == "F8_E4M3" and code & 0x7F == 0x7F):
        return math.nan
    sign = -1.0 if code & 0x80 else 1.0
    if dtype == "F8_E5M2" and code & 0x7C == 0x7C:
        return math.nan if code & 3 else sign * math.inf
    mantissa_bits = 7 - exponent_bits
    exponent, mantissa = (code & 0x7F) >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
    lead, power = (1, exponent - bias) if exponent else (0, 1 - bias)
    return sign * float(lead + mantissa / (1 << mantissa_bits)) * 2.0**power
