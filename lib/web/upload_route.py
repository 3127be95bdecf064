"""The upload route: image, caption and zip files are streamed to the disk, never held in memory."""

import asyncio
import errno
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from lib import services
from lib.errors import DashboardError, DatasetError, NotAllowed, NotSupported
from lib.jobs.dataset import ImportReport
from lib.jobs.words import size_text
from lib.services import MAX_UPLOAD_BYTES, UPLOAD_HEADER
from lib.sources.protocol import Action

DISK_FULL = "There is not enough free disk space for the file."


class UploadRefused(Exception):
    """An upload that is refused: the HTTP status and one plain sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UploadStopped(Exception):
    """Whoever sent the upload is gone."""


class StoppableFile:
    """A file whose reading ends with UploadStopped once ``stop`` is set: an import notices between two files."""

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        self._file, self._stop = file, stop
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Bytes of the file."""
        if self._stop.is_set():
            raise UploadStopped
        return self._file.read(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Takes files into datasets.

    Attributes:
        most_bytes: The size of the largest file.
        kept_free_bytes: What an upload leaves free on the disk.
        write_bytes: How much is held in memory before it is written.
        open_file: Opens the file that holds the upload until it is imported. It has no name, so the system removes it
            however the request ends.
    """

    most_bytes: int = MAX_UPLOAD_BYTES
    kept_free_bytes: int = 64 << 20
    write_bytes: int = 1 << 20
    open_file: Callable[..., BinaryIO] = tempfile.TemporaryFile

    async def upload(self, request: Request) -> Response:
        """Take one file into a dataset; the answer is the ``ImportReport`` as JSON."""
        dataset_id, name = request.path_params["dataset_id"], request.path_params["name"]
        try:
            _check_sender(request)
            folder = await run_in_threadpool(self._folder_with_room, dataset_id, _declared_bytes(request))
            with self.open_file(dir=folder) as file:
                await self._receive(request, file)
                file.seek(0)
                report = await _while_connected(request, file, partial(_import, dataset_id, name))
        except UploadRefused as refusal:
            return _answer({"error": str(refusal)}, refusal.status)
        except (NotAllowed, NotSupported) as error:
            return _answer({"error": str(error)}, 403)
        except DatasetError as error:
            return _answer({"error": f"{error} {error.hint}".strip()}, 409)
        except DashboardError as error:
            return _answer({"error": f"{error} {error.hint}".strip()}, 503)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return _answer({"error": DISK_FULL if full else "The file could not be written."}, 507 if full else 500)
        except (ClientDisconnect, UploadStopped):
            return Response(status_code=499)
        return _answer(asdict(report), 200)

    def _folder_with_room(self, dataset_id: str, size_bytes: int) -> Path:
        """The folder for the upload until it is imported."""
        source = services.source()
        services.require(Action.CHANGE_DATASETS)
        source.datasets.get(dataset_id)
        self._check_size(size_bytes)
        folder = source.datasets.upload_folder()
        if size_bytes + self.kept_free_bytes > shutil.disk_usage(folder).free:
            raise UploadRefused(507, DISK_FULL)
        return folder

    async def _receive(self, request: Request, file: BinaryIO) -> None:
        """Write the body in pieces, one in memory at a time."""
        buffer, size_bytes = bytearray(), 0
        async for chunk in request.stream():
            size_bytes += len(chunk)
            self._check_size(size_bytes)
            buffer += chunk
            if len(buffer) >= self.write_bytes:
                await run_in_threadpool(file.write, bytes(buffer))
                buffer.clear()
        await run_in_threadpool(file.write, bytes(buffer))

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self.most_bytes:
            raise UploadRefused(413, f"The file is larger than {size_text(self.most_bytes)}.")


def _import(dataset_id: str, name: str, file: BinaryIO) -> ImportReport:
    return services.act(lambda source: source.datasets.import_file(dataset_id, name, file))


async def _while_connected(
    request: Request, file: BinaryIO, take_in: Callable[[BinaryIO], ImportReport]
) -> ImportReport:
    """Import the received file, as long as somebody waits for the answer."""
    stop = threading.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        stop.set()

    watching = asyncio.create_task(watch())
    try:
        return await run_in_threadpool(take_in, cast(BinaryIO, StoppableFile(file, stop)))
    finally:
        watching.cancel()


def _check_sender(request: Request) -> None:
    """Only our own pages may upload: otherwise any page that a person visits could send files here."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "")
    same = site == "same-origin" if site else urlsplit(origin).netloc == request.headers.get("host", "-")
    if not same or UPLOAD_HEADER not in request.headers:
        raise UploadRefused(403, "Files can be uploaded from the dashboard's own pages only.")


def _declared_bytes(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _answer(content: dict[str, object], status: int) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return JSONResponse(content, status_code=status, headers=headers)
