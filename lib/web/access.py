"""The guard in front of everything the server answers: pages, files, our routes, uploads and the websocket.

A pure ASGI class: Starlette's ``BaseHTTPMiddleware`` sees no websocket and holds up streamed uploads.
"""

import sys
from http import HTTPStatus
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from lib import services
from lib.access import is_this_machine
from lib.errors import SettingsError

# What every answer carries unless the route behind it says something stricter.
HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Streamlit answers both without being asked to: the first counts sessions, the second drives pages without a browser.
CLOSED = ("/_stcore/metrics", "/_stcore/agent")
FOREIGN_ORIGIN = "The dashboard answers to its own pages only."
NOT_MEANT = "The dashboard does not answer other machines. Whoever runs it sets LORA_OPEN=1 if that is meant."


class Refused(Exception):
    """A request that gets no further."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Guard:
    """Refuses what may not come in and adds the security headers to everything that goes out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            _check(scope)
        except Refused as refusal:
            await _refuse(refusal, scope, receive, _with_headers(send))
        else:
            await self._app(scope, receive, _with_headers(send))


def _check(scope: Scope) -> None:
    """Raise Refused for what no visitor may ask."""
    if any(path in scope["path"] for path in CLOSED):
        raise Refused(HTTPStatus.NOT_FOUND, "Not found.")
    if scope["type"] == "websocket" or scope["method"] not in READING:
        _check_origin(Headers(scope=scope))
    address = str((scope.get("server") or ("localhost",))[0])
    if not is_this_machine(address) and not _may_listen_on(address):
        raise Refused(HTTPStatus.FORBIDDEN, NOT_MEANT)


def _check_origin(headers: Headers) -> None:
    """The page that asks must come from the name that is asked; other ports of this machine are foreign too.

    Browsers send an Origin with every websocket and every change. What is no browser can claim any.
    """
    host = headers.get("host", "").lower()
    if any(_netloc(origin) != host for origin in headers.getlist("origin")):
        raise Refused(HTTPStatus.FORBIDDEN, FOREIGN_ORIGIN)


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower() or "none"
    except ValueError:
        return "none"


def _may_listen_on(address: str) -> bool:
    try:
        return services.access().may_listen_on(address)
    except SettingsError:
        return False


async def _refuse(refusal: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await WebSocketClose(code=1008)(scope, receive, send)  # before it is accepted: the browser gets a 403
    else:
        headers = {"Cache-Control": "no-store"}
        await PlainTextResponse(str(refusal), refusal.status, headers=headers)(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def refuse_unsafe_start() -> None:
    """End the program with a plain sentence instead of listening to other machines unless that is meant."""
    address = str(st.get_option("server.address") or "")
    if not is_this_machine(address):
        try:
            services.access().require_safe_address(address)
        except SettingsError as error:
            sys.exit(f"{error} {error.hint}".strip())
