"""What the guard costs: per request, and per message of an open websocket (a tick of a page is one).

Run: uv run python -m tests.benchmarks.bench_access
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from lib import services
from lib.web.access import Guard
from lib.web.identity import PROXY_SECRET_HEADER
from tests.test_sign_in_settings import OIDC, PROXY, SECRET

REQUESTS, MESSAGES = 20_000, 50_000
HEADERS = [
    (b"host", b"localhost:8501"),
    (b"origin", b"http://localhost:8501"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0"),
    (b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8"),
    (b"cookie", b"_streamlit_xsrf=2|0123456789abcdef|0123456789abcdef|1700000000"),
]


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that does nothing but answer; a websocket is read until it closes."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"ok"})
    else:
        while (await receive())["type"] != "websocket.disconnect":
            pass


def scope_of(kind: str) -> Scope:
    """A request as the server passes it on."""
    return {
        "type": kind,
        "method": "GET",
        "path": "/jobs",
        "headers": list(HEADERS),
        "server": ("127.0.0.1", 8501),
        "client": ("127.0.0.1", 50_000),
    }


async def nowhere(_message: Message) -> None:
    """Take an answer."""


async def requests(app: ASGIApp) -> float:
    """Seconds per request."""

    async def receive() -> Message:
        return {"type": "http.request"}

    start = time.perf_counter()
    for _ in range(REQUESTS):
        await app(scope_of("http"), receive, nowhere)
    return (time.perf_counter() - start) / REQUESTS


async def messages(app: ASGIApp) -> float:
    """Seconds per message that a browser sends over one open websocket."""
    left = MESSAGES

    async def receive() -> Message:
        nonlocal left
        left -= 1
        return {"type": "websocket.receive", "text": "tick"} if left else {"type": "websocket.disconnect"}

    start = time.perf_counter()
    await app(scope_of("websocket"), receive, nowhere)
    return (time.perf_counter() - start) / MESSAGES


def compare(name: str, measure: Callable[[ASGIApp], Awaitable[float]]) -> None:
    """Best of three without and with the guard, in microseconds."""

    async def best(app: ASGIApp) -> float:
        return min([await measure(app) for _ in range(3)]) * 1e6

    plain, guarded = asyncio.run(best(answer)), asyncio.run(best(Guard(answer)))
    print(f"{name:<16} {plain:>10.1f} {guarded:>10.1f} {guarded - plain:>10.1f}")


def sign_in(way: str) -> None:
    """Set up one way in, with somebody who is signed in by it."""
    os.environ.update({"none": {"LORA_ACCESS": "none"}, "proxy": PROXY, "oidc": OIDC}[way])
    services.access.cache_clear()
    claims = {"email": "ann@corp.example", "iat": time.time(), "is_logged_in": True, "origin": OIDC["LORA_URL"]}
    cookie = create_signed_value(OIDC["LORA_COOKIE_SECRET"], "_streamlit_user", json.dumps(claims)).decode()
    HEADERS[5:] = [
        (PROXY["LORA_PROXY_USER_HEADER"].lower().encode(), b"ann@corp.example"),
        (PROXY_SECRET_HEADER.lower().encode(), SECRET.encode()),
        (b"cookie", f"_streamlit_user={cookie}".encode()),
    ]


if __name__ == "__main__":
    print(f"{'µs per':<16} {'alone':>10} {'guarded':>10} {'guard':>10}")
    for way in ("none", "proxy", "oidc"):
        sign_in(way)
        compare(f"{way} request", requests)
        compare(f"{way} message", messages)
