"""Our own routes beside Streamlit's: health, downloads, logs, images, uploads and unknown addresses."""

import contextlib
import mimetypes
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from html import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from lib import services
from lib.errors import ArtifactError, DashboardError, DatasetError, JobNotFound
from lib.sources.protocol import LocalFile
from lib.ui.parts.links import PAGES, own_path
from lib.web.upload_route import Uploads

NO_STORE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
LOG_PIECE_BYTES = 1 << 20
Endpoint = Callable[[Request], Awaitable[Response]]
INLINE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/bmp"})
SHOWN_TYPES = INLINE_TYPES | {"video/mp4"}


async def healthz(_request: Request) -> Response:
    """Whether this server answers; says nothing about the source behind it."""
    return JSONResponse({"status": "ok"}, headers=NO_STORE)


async def download(request: Request) -> Response:
    """A job's file: streamed if it is on this machine, else a redirect to a link signed at this click."""
    job_id, artifact_id = request.path_params["job_id"], request.path_params["artifact"]
    try:
        found = await run_in_threadpool(lambda: services.source().locate_artifact(job_id, artifact_id))
    except DashboardError as error:
        return _problem(error)
    if isinstance(found, LocalFile):
        small = await run_in_threadpool(_small, found) if "small" in request.query_params else None
        return small or _file(found, inline="inline" in request.query_params)
    return RedirectResponse(found.url, status_code=302, headers=NO_STORE)


def _small(found: LocalFile) -> Response | None:
    """The picture in a size for lists; None if it is none, or cannot be decoded."""
    if mimetypes.guess_type(found.name)[0] not in INLINE_TYPES:
        return None
    with contextlib.suppress(DatasetError, OSError):
        headers = {**NO_STORE, "Cache-Control": "private, max-age=60"}
        return Response(services.small_picture(found.path), media_type="image/webp", headers=headers)
    return None


def _file(found: LocalFile, *, inline: bool) -> Response:
    media_type = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
    shown = inline and media_type in SHOWN_TYPES
    return FileResponse(
        found.path,
        media_type=media_type if shown else "application/octet-stream",
        filename=found.name,
        content_disposition_type="inline" if shown else "attachment",
        headers={**NO_STORE, "Cache-Control": "no-cache"},
    )


async def image(request: Request) -> Response:
    """An image of a dataset as it was uploaded."""
    dataset_id, name = request.path_params["dataset_id"], request.path_params["name"]
    try:
        path = await run_in_threadpool(lambda: services.source().datasets.image_path(dataset_id, name))
    except DashboardError as error:
        return _problem(error)
    return _file(LocalFile(path=path, name=path.name), inline=True)


async def log(request: Request) -> Response:
    """The raw log of an attempt as a file, streamed; what is printed after the click is left out."""
    job_id = request.path_params["job_id"]

    async def piece_at(offset: int, limit: int) -> tuple[bytes, int]:
        return await run_in_threadpool(services.read_log_bytes, job_id, attempt, offset, limit)

    try:
        attempt = await run_in_threadpool(_known_attempt, job_id, request.path_params["attempt"])
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


def _known_attempt(job_id: str, text: str) -> int:
    """The attempt's number, if the job has such an attempt. Raises ArtifactError."""
    latest = services.source().get_job(job_id).attempt
    # At most nine digits: Python refuses to convert thousands of them.
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= latest:
        raise ArtifactError(f"The job has no attempt {text[:20]!r}.", hint="Open the job to see its attempts.")
    return int(text)


def _problem(error: DashboardError) -> Response:
    """The error as a small page: a download opens in a new tab, where nothing else would explain it."""
    status = 404 if isinstance(error, JobNotFound | ArtifactError | DatasetError) else 503
    return small_page("Download failed", str(error), error.hint, status)


async def no_such_page(request: Request) -> Response:
    """The answer for an address without a page."""
    sentence = f"The dashboard has no page {request.url.path[:200]}."
    return small_page("No such page", sentence, "The address may be mistyped or from an older version.", 404)


async def first_page(request: Request) -> Response:
    """The first page under its own name, which Streamlit knows as ``/`` only."""
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{own_path('/')}{query}", status_code=302, headers=NO_STORE)


class UnknownPages(Route):
    """Unknown addresses, for which Streamlit would show the overview or an empty page.

    It matches only what a browser requests as a page and what has no file extension: Streamlit's own files, components
    and sign-in are left alone.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match unknown addresses only."""
        match, child = super().matches(scope)
        name = str(child.get("path_params", {}).get("name", ""))
        first, last = name.split("/")[0], name.split("/")[-1]
        is_known = name in _PAGE_PATHS or first in _OF_STREAMLIT or not last or "." in last
        accepted = dict(scope.get("headers", ())).get(b"accept", b"")
        return (Match.NONE, {}) if is_known or b"text/html" not in accepted else (match, child)


_PAGE_PATHS = frozenset(page.path for page in PAGES)
# Sign-in returns to the first; the others are folders.
_OF_STREAMLIT = frozenset({"oauth2callback", "_stcore", "media", "component", "static", "app", "auth"})


def small_page(title: str, sentence: str, hint: str, status: int, links: Mapping[str, str] | None = None) -> Response:
    """A self-contained page that needs nothing else from the server."""
    ways = {"Overview": own_path("/"), "All jobs": own_path("/jobs")} if links is None else links
    anchors = (f"<a href='{escape(url)}'>{escape(label)}</a>" for label, url in ways.items())
    body = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        "<meta name=color-scheme content='light dark'>"
        f"<title>{escape(title)}</title>"
        "<body style='font:16px/1.5 system-ui;max-width:40em;margin:10vh auto;padding:0 1em'>"
        f"<h1>{escape(title)}</h1><p>{escape(sentence)}</p><p>{escape(hint)}</p>"
        f"<p>{' · '.join(anchors)}</p>"
    )
    return HTMLResponse(body, status_code=status, headers=NO_STORE)


def _guarded(route: Route) -> Route:
    """The route for known hosts only: a foreign page that rebinds its name to this address reads nothing."""
    endpoint: Endpoint = route.endpoint

    async def guarded(request: Request) -> Response:
        host = request.headers.get("host", "")
        if is_host_allowed(host):
            return await endpoint(request)
        hint = "The administrator can add it to server.allowedHosts."
        return small_page("Unknown address", f"The dashboard does not answer under the name {host[:200]!r}.", hint, 403)

    return type(route)(route.path, guarded, methods=route.methods)


def _prefixed(routes: list[Route]) -> list[BaseRoute]:
    """The routes, also below ``server.baseUrlPath`` if it is set: Streamlit does not prefix ours."""
    again = [Route(own_path(route.path), route.endpoint, methods=route.methods) for route in routes]
    return [*routes, *(route for route in again if route.path not in {each.path for each in routes})]


def own_routes(uploads: Uploads | None = None) -> list[BaseRoute]:
    """All our own routes, for the configured base path."""
    upload = (uploads or Uploads()).upload
    files = [
        Route("/download/{job_id}/{artifact:path}", download, methods=["GET", "HEAD"]),
        Route("/logs/{job_id}/{attempt}", log),
        Route("/images/{dataset_id}/{name}", image, methods=["GET", "HEAD"]),
        Route("/upload/{dataset_id}/{name:path}", upload, methods=["PUT"]),
    ]
    # Below the base path only: other addresses may belong to other applications.
    pages = [Route(own_path(f"/{PAGES[0].path}"), first_page), UnknownPages(own_path("/{name:path}"), no_such_page)]
    return [*_prefixed([Route("/healthz", healthz), *map(_guarded, files)]), *map(_guarded, pages)]


ROUTES = own_routes()
