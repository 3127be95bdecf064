"""What the server answers while it still imports what pages need: at the first start, byte code is made for seconds."""

import threading
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

RETRY = {"Retry-After": "1", "Cache-Control": "no-store"}
TRY_AGAIN_LATER = 1013
# It asks again for the address that was asked for, until that is the page itself.
PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<meta name=color-scheme content='light dark'><meta http-equiv=refresh content=1><title>Starting</title>"
    "<body style='font:16px/1.5 system-ui;max-width:40em;margin:10vh auto;padding:0 1em'>"
    "<h1>Starting</h1><p role=status>The dashboard is starting and will appear here by itself. "
    "The very first start takes a few seconds longer.</p>"
)


class Starting:
    """Answers everything itself until the event is set."""

    def __init__(self, app: ASGIApp, ready: threading.Event) -> None:
        self._app, self._ready = app, ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if not self._ready.is_set():
            if scope["type"] == "websocket":
                await receive()
                app = WebSocketClose(code=TRY_AGAIN_LATER)
            elif scope["type"] == "http":
                is_page = "text/html" in Headers(scope=scope).get("accept", "")
                kind, content = (HTMLResponse, PAGE) if is_page else (JSONResponse, {"status": "starting"})
                app = kind(content, HTTPStatus.SERVICE_UNAVAILABLE, headers=RETRY)
        await app(scope, receive, send)
