"""The guard in front of everything the server answers: pages, files, our routes, uploads and the websocket.

A pure ASGI class: Starlette's ``BaseHTTPMiddleware`` sees no websocket and holds up streamed uploads. A page that the
guard lets through is not thereby allowed anything: pages and services ask for the visitor themselves.
"""

import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from lib import services
from lib.access import NO_ACCESS, Access, Identity, is_this_machine
from lib.errors import SettingsError
from lib.settings import is_sign_in_wanted
from lib.sign_in_settings import OidcSettings
from lib.ui.parts.links import own_path
from lib.web.identity import asking, identity_of
from lib.web.routes import small_page
from lib.web.sign_in import (
    LOGOUT,
    SIGNED_OUT,
    is_sign_in_path,
    keep_wanted,
    streamlit_secrets,
    to_provider,
    to_wanted,
)

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
NOT_SIGNED_IN = "Nobody is signed in, or no longer. Reload the page to sign in."
NOT_THROUGH_PROXY = "Nobody is signed in. Open the dashboard under the address of the proxy that signs you in."
NOT_MEANT = "The dashboard does not answer other machines. Whoever runs it sets LORA_OPEN=1 if that is meant."


class Refused(Exception):
    """A request that gets no further."""

    def __init__(self, status: HTTPStatus, sentence: str, *, links: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.links = links or {}


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
            await _admitted(self._app, scope)(scope, receive, _with_headers(send))
        except Refused as refusal:
            await _refuse(refusal, scope, receive, _with_headers(send))


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
    """The app as this visitor meets it, or another answer. Raises Refused for somebody who may not ask this."""
    try:
        rules = services.access()
    except SettingsError:  # every page says so, and there is nothing to read before they are right
        return app
    if not rules.signs_in or scope["path"] in _open_paths():
        return app
    identity = identity_of(rules, scope)
    if rules.oidc and is_sign_in_path(scope["path"]):
        return _signing_out(app, rules, rules.oidc, identity) if scope["path"] == own_path(LOGOUT) else app
    if identity is None or not rules.is_signed_in(identity):
        if rules.oidc and _is_page(scope):
            return to_provider(HTTPConnection(scope), rules.oidc)
        raise Refused(HTTPStatus.UNAUTHORIZED, NOT_SIGNED_IN if rules.oidc else NOT_THROUGH_PROXY)
    visitor = rules.visitor(identity)
    if visitor is None:
        raise _without_role(scope, rules)
    if scope["type"] == "websocket":
        return _Page(app, rules, identity)
    if scope["method"] not in READING and visitor.refusal:
        raise Refused(HTTPStatus.FORBIDDEN, visitor.refusal)
    asking.set(visitor)
    return (to_wanted(HTTPConnection(scope)) if rules.oidc and _is_page(scope) else None) or app


def _open_paths() -> frozenset[str]:
    """What everybody may ask: whether the server is well."""
    return frozenset({"/healthz", own_path("/healthz"), own_path("/_stcore/health")})


def _is_page(scope: Scope) -> bool:
    """Whether a browser asks for a page to show, not a script for something it needs."""
    is_reading = scope["type"] == "http" and scope["method"] == "GET"
    return is_reading and "text/html" in Headers(scope=scope).get("accept", "")


def _without_role(scope: Scope, rules: Access) -> Refused:
    # An open page tells its visitor what this says, unless it is a 403: that it takes for a matter of CORS.
    status = HTTPStatus.UNAUTHORIZED if "/_stcore/" in scope["path"] else HTTPStatus.FORBIDDEN
    return Refused(status, NO_ACCESS, links={"Sign in as somebody else": own_path(LOGOUT)} if rules.oidc else {})


def _signing_out(app: ASGIApp, rules: Access, oidc: OidcSettings, identity: Identity | None) -> ASGIApp:
    """Streamlit forgets the cookies; the session they stood for ends here."""

    async def signing_out(scope: Scope, receive: Receive, send: Send) -> None:
        if Headers(scope=scope).get("sec-fetch-site") == "cross-site":
            raise Refused(HTTPStatus.FORBIDDEN, FOREIGN_ORIGIN)
        if identity:
            rules.sign_out(identity)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie = Response()
                keep_wanted(cookie, SIGNED_OUT, oidc)
                MutableHeaders(scope=message).append("set-cookie", cookie.headers["set-cookie"])
            await send(message)

        await app(scope, receive, sending)

    return signing_out


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
    elif _is_page(scope):
        hint = "Whoever runs the dashboard decides who may come in."
        page = small_page(refusal.status.phrase, str(refusal), hint, refusal.status, refusal.links)
        await page(scope, receive, send)
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


def sign_in_secrets() -> dict[str, Any] | None:
    """Streamlit's settings for the sign-in; None where it does not sign in."""
    try:
        oidc = services.access().oidc
    except SettingsError:  # every page says so
        return None
    return streamlit_secrets(oidc) if oidc else None
