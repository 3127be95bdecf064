"""Routes of our own beside Streamlit's: /healthz, /download/{job_id}/{artifact} and /logs/{job_id}/{attempt}."""

import mimetypes
import re
from collections.abc import AsyncIterator

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from lib import services
from lib.errors import ArtifactError, DashboardError, JobNotFound
from lib.sources.protocol import LocalFile
from lib.uploads import UPLOAD_ROUTES

NO_STORE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
LOG_PIECE_BYTES = 1 << 20
INLINE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})


async def healthz(_request: Request) -> Response:
    """Whether this server answers; says nothing about the source behind it."""
    return JSONResponse({"status": "ok"}, headers=NO_STORE)


async def download(request: Request) -> Response:
    """A file of a job: streamed when it lies here, else a redirect to a link signed for this click."""
    job_id, artifact_id = request.path_params["job_id"], request.path_params["artifact"]
    try:
        found = await run_in_threadpool(lambda: services.source().locate_artifact(job_id, artifact_id))
    except DashboardError as error:
        return _problem(error)
    if isinstance(found, LocalFile):
        return _file(found, inline="inline" in request.query_params)
    return RedirectResponse(found.url, status_code=302, headers=NO_STORE)


def _file(found: LocalFile, *, inline: bool) -> Response:
    media_type = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
    shown = inline and media_type in INLINE_TYPES
    return FileResponse(
        found.path,
        media_type=media_type if shown else "application/octet-stream",
        filename=found.name,
        content_disposition_type="inline" if shown else "attachment",
        headers={**NO_STORE, "Cache-Control": "no-cache"},
    )


async def log(request: Request) -> Response:
    """The raw log of an attempt as a file, streamed; what is printed after the click does not belong to it."""
    job_id, attempt = request.path_params["job_id"], request.path_params["attempt"]

    async def piece_at(offset: int, limit: int) -> tuple[bytes, int]:
        return await run_in_threadpool(services.read_log_bytes, job_id, attempt, offset, limit)

    try:
        first, size = await piece_at(0, LOG_PIECE_BYTES)
    except DashboardError as error:
        return _problem(error)

    async def pieces() -> AsyncIterator[bytes]:
        piece, sent = first[:size], 0
        while piece:
            yield piece
            sent += len(piece)
            piece = (await piece_at(sent, min(LOG_PIECE_BYTES, size - sent)))[0] if sent < size else b""

    name = re.sub(r"[^\w.-]", "_", job_id, flags=re.ASCII)[:80]
    disposition = f'attachment; filename="{name}-attempt-{attempt}.log"'
    headers = {**NO_STORE, "Content-Disposition": disposition, "Content-Length": str(size)}
    return StreamingResponse(pieces(), media_type="text/plain; charset=utf-8", headers=headers)


def _problem(error: DashboardError) -> Response:
    """The error as a small page of its own: a download opens in a new tab, where nothing else would explain it."""
    from html import escape

    status = 404 if isinstance(error, JobNotFound | ArtifactError) else 503
    body = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        "<meta name=color-scheme content='light dark'><title>Download failed</title>"
        "<body style='font:16px/1.5 system-ui;max-width:40em;margin:10vh auto;padding:0 1em'>"
        f"<h1>Download failed</h1><p>{escape(str(error))}</p><p>{escape(error.hint)}</p>"
        "<p><a href='/jobs'>All jobs</a></p>"
    )
    return HTMLResponse(body, status_code=status, headers=NO_STORE)


def _prefixed(routes: list[Route]) -> list[BaseRoute]:
    """The routes, again below ``server.baseUrlPath`` when one is set: Streamlit does not prefix ours."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    again = [Route(f"/{base}{route.path}", route.endpoint, methods=route.methods) for route in routes] if base else []
    return [*routes, *again]


ROUTES = _prefixed(
    [
        Route("/healthz", healthz),
        Route("/download/{job_id}/{artifact:path}", download, methods=["GET", "HEAD"]),
        Route("/logs/{job_id}/{attempt:int}", log),
        *UPLOAD_ROUTES,
    ]
)
