"""What Streamlit's frontend gets from us instead: compressed scripts, and settings that switch its dialogs off."""

import gzip
from functools import cache
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import file_util

from lib.ui.parts.links import own_path

# Streamlit's own answer, but for one value: its dialogs tell a visitor to run "streamlit run yourscript.py".
# browser.js says what happened instead.
HOST_CONFIG = {
    "allowedOrigins": [],
    "useExternalAuthToken": False,
    "enableCustomParentMessages": False,
    "enforceDownloadInNewTab": False,
    "metricsUrl": "",
    "blockErrorDialogs": True,
    "resourceCrossOriginMode": None,
}
# Their names change with their content, so a browser asks once.
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
COMPRESSIBLE = {".js": "text/javascript", ".css": "text/css"}


class Frontend:
    """Stands between the guard and Streamlit, whose own paths cannot be routes of ours.

    Scripts and style sheets are public, the same for everybody and hold no secret: compressing them tells nothing.
    """

    def __init__(self, app: ASGIApp, folder: Path | None = None) -> None:
        self._app = app
        root = folder or Path(file_util.get_static_dir())
        paths = (path for path in (root / "static").rglob("*") if path.suffix in COMPRESSIBLE)
        self._files = {own_path(f"/{path.relative_to(root).as_posix()}"): path for path in paths}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            if scope["path"] == own_path("/_stcore/host-config"):
                app = JSONResponse(HOST_CONFIG, headers={"Cache-Control": "no-cache"})
            elif (path := self._files.get(scope["path"])) and _takes_gzip(Headers(scope=scope)):
                content = await run_in_threadpool(compressed, path)
                headers = {**FOR_EVER, "Content-Encoding": "gzip"}
                app = Response(content, media_type=COMPRESSIBLE[path.suffix], headers=headers)
        await app(scope, receive, send)


@cache
def compressed(path: Path) -> bytes:
    """A file of Streamlit's, compressed once: the installation changes only while nothing runs."""
    return gzip.compress(path.read_bytes(), 9, mtime=0)


def _takes_gzip(headers: Headers) -> bool:
    """Whether the client takes gzip and wants the whole file."""
    return "range" not in headers and "gzip" in headers.get("accept-encoding", "")
