"""Where the bytes of a file come from: a disk or memory; and how far ones are read with few requests."""

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from lib.errors import ArtifactError


class FileChanged(ArtifactError):
    """Another version lies there now."""

    def __init__(self) -> None:
        super().__init__("The file changed while it was read.", hint="Read it again once it is written completely.")


class ByteSource(Protocol):
    """Bytes of one file, in ranges.

    Attributes:
        size_bytes: Size of the whole file; 0 until the first read where only an answer tells.
        is_near: Whether many small reads are cheap (disk, memory) or each is a request.
    """

    size_bytes: int
    is_near: bool

    @property
    def version(self) -> str:
        """Tells this content from what may lie there later, as far as the place can tell."""

    def read(self, offset: int, size: int) -> bytes:
        """That many bytes, fewer only at the end of the file. Raises ArtifactError."""


class MemoryBytes:
    """A file that is in memory already, such as an upload."""

    is_near = True
    version = ""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size_bytes = len(data)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._data[offset : offset + size])


class LocalBytes:
    """A file on the disk; a context manager. Raises OSError when it cannot be opened, ArtifactError for a pipe."""

    is_near = True

    def __init__(self, path: Path) -> None:
        # Opening a pipe would wait for somebody who writes.
        self._file = open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode):
            self._file.close()
            raise ArtifactError("It is not a file but a pipe or a device.")
        self.size_bytes = status.st_size

    @property
    def version(self) -> str:
        """Of the file as it is now, though it may be replaced by another one."""
        status = os.fstat(self._file.fileno())
        return f"{status.st_mtime_ns} {status.st_size}"

    def read(self, offset: int, size: int) -> bytes:
        try:
            data = os.pread(self._file.fileno(), size, offset)
            while len(data) < size and (more := os.pread(self._file.fileno(), size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise ArtifactError(f"The file cannot be read: {error.strerror}.") from error
        if len(data) < min(size, self.size_bytes - offset):
            raise FileChanged
        return data

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FirstBlock:
    """A source whose beginning is kept, so that what lies near it costs no further read."""

    def __init__(self, source: ByteSource, size: int) -> None:
        self._source = source
        self._start = source.read(0, size)
        self.size_bytes = source.size_bytes
        self.is_near = source.is_near
        self.reads = 1

    def reach(self, end: int) -> None:
        """Keep the bytes up to ``end``, in one read."""
        end = min(end, self.size_bytes)
        if end > len(self._start):
            self._start += self._source.read(len(self._start), end - len(self._start))
            self.reads += 1

    def holds(self, offset: int, size: int) -> bool:
        """Whether a read of these bytes costs nothing."""
        return offset + size <= len(self._start)

    def read(self, offset: int, size: int) -> bytes:
        if self.holds(offset, size) or self.size_bytes <= len(self._start):
            return self._start[offset : offset + size]
        self.reads += 1
        return self._source.read(offset, size)


class ReadAhead:
    """A source that is read in large blocks, for small reads one after the other."""

    is_near = True

    def __init__(self, source: ByteSource, block_bytes: int = 8 << 20) -> None:
        self._source, self._block_bytes = source, block_bytes
        self._begin, self._block = 0, b""
        self.size_bytes, self.version = source.size_bytes, source.version

    def read(self, offset: int, size: int) -> bytes:
        begin = offset - self._begin
        if not 0 <= begin <= begin + size <= len(self._block):
            if size >= self._block_bytes:
                return self._source.read(offset, size)
            self._block = b""
            self._block, self._begin, begin = self._source.read(offset, self._block_bytes), offset, 0
        return self._block[begin : begin + size]
