"""Whether a file on the disk holds only numbers, without computing anything with them."""

from pathlib import Path

import numpy as np

from lib.artifacts.lora import arrays
from lib.artifacts.lora.byte_source import FirstBlock, LocalBytes
from lib.artifacts.lora.header import FIRST_READ_BYTES, read_header
from lib.artifacts.lora.scalars import READABLE

CHUNK_BYTES = 4 << 20


def holds_nan(path: Path) -> bool:
    """Whether any value is NaN or infinite; reading stops at the first.

    Raises:
        BrokenFile: It is no whole safetensors file.
        OSError, ArtifactError: It cannot be read.
    """
    with LocalBytes(path) as source:
        header = read_header(FirstBlock(source, FIRST_READ_BYTES))
        for tensor in sorted(header.tensors.values(), key=lambda each: each.begin):
            if tensor.dtype not in READABLE:
                continue
            for begin in range(tensor.begin, tensor.end, CHUNK_BYTES):
                data = source.read(header.size_bytes + begin, min(CHUNK_BYTES, tensor.end - begin))
                if not np.isfinite(arrays.numbers(arrays.raw(data, tensor.dtype), tensor.dtype)).all():
                    return True
    return False
