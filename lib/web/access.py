"""The guard in front of everything the server answers: pages, files, our routes, uploads and the websocket.

A pure ASGI class: Starlette's ``BaseHTTPMiddleware`` sees no websocket and holds up streamed uploads. A page that the
guard lets through is not thereby allowed anything: pages and services ask for the visitor themselves.
"""

import sys
from http import HTTPStatus
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from lib import services
from lib.access import NO_ACCESS, Access, Identity, is_this_machine
from lib.errors import SettingsError
from lib.settings import is_sign_in_wanted
from lib.ui.parts.links import own_path
from lib.web.identity import asking, identity_of
from lib.web.routes import small_page

# What every answer carries unless the route behind it says something stricter.
HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
POLICY_VIOLATION = 1008
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Streamlit answers both without being asked to: the first counts sessions, the second drives pages without a browser.
CLOSED = ("/_stcore/metrics", "/_stcore/agent")
FOREIGN_ORIGIN = "The dashboard answers to its own pages only."
NOBODY = "Nobody is signed in. Open the dashboard under the address of the proxy that signs you in."
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
            app = _admitted(self._app, scope)
        except Refused as refusal:
            await _refuse(refusal, scope, receive, _with_headers(send))
        else:
            await app(scope, receive, _with_headers(send))


def _check(scope: Scope) -> None:
    """Raise Refused for what no visitor may ask."""
    if any(path in scope["path"] for path in CLOSED):
        raise Refused(HTTPStatus.NOT_FOUND, "Not found.")
    if scope["type"] == "websocket" or scope["method"] not in READING:
        _check_origin(Headers(scope=scope))
    address = str((scope.get("server") or ("localhost",))[0])
    if not is_this_machine(address) and not _may_listen_on(address):
        raise Refused(HTTPStatus.FORBIDDEN, NOT_MEANT)


def _admitted(app: ASGIApp, scope: Scope) -> ASGIApp:
    """The app as this visitor meets it. Raises Refused for somebody who may not ask this."""
    try:
        rules = services.access()
    except SettingsError:  # every page says so, and there is nothing to read before they are right
        return app
    if not rules.signs_in or scope["path"] in _open_paths():
        return app
    identity = identity_of(rules, scope)
    if identity is None:
        raise Refused(HTTPStatus.UNAUTHORIZED, NOBODY)
    visitor = rules.visitor(identity)
    if visitor is None:
        # An open page tells its visitor what this says, unless it is a 403: that it takes for a matter of CORS.
        is_page = "/_stcore/" in scope["path"]
        raise Refused(HTTPStatus.UNAUTHORIZED if is_page else HTTPStatus.FORBIDDEN, NO_ACCESS)
    if scope["type"] == "http" and scope["method"] not in READING and visitor.refusal:
        raise Refused(HTTPStatus.FORBIDDEN, visitor.refusal)
    asking.set(visitor)
    return _Page(app, rules, identity) if scope["type"] == "websocket" else app


def _open_paths() -> frozenset[str]:
    """What everybody may ask: whether the server is well."""
    return frozenset({"/healthz", own_path("/healthz"), own_path("/_stcore/health")})


class _Page:
    """An open page's connection, which ends with the visitor's access: whatever is sent after that finds nobody."""

    def __init__(self, app: ASGIApp, rules: Access, identity: Identity) -> None:
        self._app, self._rules, self._identity = app, rules, identity
        self._is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and self._rules.visitor(self._identity) is None:
                self._is_over = True
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
                return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}
            return message

        async def sending(message: Message) -> None:
            if not self._is_over:
                await send(message)

        await self._app(scope, receiving, sending)


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
        await WebSocketClose(code=POLICY_VIOLATION)(
            scope, receive, send
        )  # before it is accepted: the browser gets a 403
    elif "text/html" in Headers(scope=scope).get("accept", ""):
        hint = "Whoever runs the dashboard decides who may come in."
        await small_page(refusal.status.phrase, str(refusal), hint, refusal.status)(scope, receive, send)
    else:
        # As JSON, which open pages and uploads show to their visitor.
        content, headers = {"error": str(refusal)}, {"Cache-Control": "no-store"}
        await JSONResponse(content, refusal.status, headers=headers)(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def refuse_unsafe_start() -> None:
    """End the program with a plain sentence instead of being open to more people than is meant."""
    address = str(st.get_option("server.address") or "")
    if not is_this_machine(address) or is_sign_in_wanted():
        try:
            services.access().require_safe_address(address)
        except SettingsError as error:
            sys.exit(f"{error} {error.hint}".strip())
