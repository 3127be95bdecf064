"""The upload route: image, caption and zip files stream to the disk and are never held in memory."""

import errno
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lib import services
from lib.errors import DashboardError, DatasetError, NotSupported
from lib.jobs.words import size_text
from lib.services import MAX_UPLOAD_BYTES, UPLOAD_HEADER
from lib.sources.protocol import Action

KEPT_FREE_BYTES = 64 << 20
WRITE_BYTES = 1 << 20
TOO_LARGE = f"The file is larger than {size_text(MAX_UPLOAD_BYTES)}."
DISK_FULL = "There is not enough free disk space for the file."


class UploadRefused(Exception):
    """An upload that is not taken in: the HTTP status and one plain sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def upload(request: Request) -> Response:
    """Take one file into a dataset; the answer is the ``ImportReport`` as JSON."""
    dataset_id, name = request.path_params["dataset_id"], request.path_params["name"]
    try:
        _check_sender(request)
        folder = await run_in_threadpool(_folder_with_room, dataset_id, _declared_bytes(request))
        # The file has no name: whatever ends this request, the system takes it away.
        with tempfile.TemporaryFile(dir=folder) as file:
            await _receive(request, file)
            file.seek(0)
            report = await run_in_threadpool(
                lambda: services.act(lambda source: source.datasets.import_file(dataset_id, name, file))
            )
    except UploadRefused as refusal:
        return _answer({"error": str(refusal)}, refusal.status)
    except NotSupported as error:
        return _answer({"error": str(error)}, 403)
    except DatasetError as error:
        return _answer({"error": f"{error} {error.hint}".strip()}, 409)
    except DashboardError as error:
        return _answer({"error": f"{error} {error.hint}".strip()}, 503)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _answer({"error": DISK_FULL if full else "The file could not be written."}, 507 if full else 500)
    except ClientDisconnect:
        return Response(status_code=499)
    return _answer(asdict(report), 200)


def _check_sender(request: Request) -> None:
    """Only our own pages may upload: any page a person visits could otherwise send files to this address."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "")
    same = site == "same-origin" if site else urlsplit(origin).netloc == request.headers.get("host", "-")
    if not same or UPLOAD_HEADER not in request.headers:
        raise UploadRefused(403, "Files are taken in from the dashboard's own pages only.")


def _declared_bytes(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _folder_with_room(dataset_id: str, size_bytes: int) -> Path:
    """Where the upload lies until it is imported."""
    source = services.source()
    source.require(Action.CHANGE_DATASETS)
    source.datasets.get(dataset_id)
    if size_bytes > MAX_UPLOAD_BYTES:
        raise UploadRefused(413, TOO_LARGE)
    folder = source.datasets.upload_folder()
    if size_bytes + KEPT_FREE_BYTES > shutil.disk_usage(folder).free:
        raise UploadRefused(507, DISK_FULL)
    return folder


async def _receive(request: Request, file: IO[bytes]) -> None:
    """Write the body in pieces; only one piece is in memory at a time."""
    buffer, size_bytes = bytearray(), 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > MAX_UPLOAD_BYTES:
            raise UploadRefused(413, TOO_LARGE)
        buffer += chunk
        if len(buffer) >= WRITE_BYTES:
            await run_in_threadpool(file.write, bytes(buffer))
            buffer.clear()
    await run_in_threadpool(file.write, bytes(buffer))


def _answer(content: dict[str, object], status: int) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return JSONResponse(content, status_code=status, headers=headers)


UPLOAD_ROUTES: list[Route] = [Route("/upload/{dataset_id}/{name:path}", upload, methods=["PUT"])]
