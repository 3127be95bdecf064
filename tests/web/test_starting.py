"""What the server answers while it is still starting."""

import threading

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from lib.web.starting import Starting


async def stream(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("reached")


@pytest.fixture
def ready() -> threading.Event:
    return threading.Event()


@pytest.fixture
def client(ready: threading.Event) -> TestClient:
    def anything(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("reached")

    routes = [WebSocketRoute("/_stcore/stream", stream), Route("/{path:path}", anything, methods=["GET", "PUT"])]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(Starting, ready=ready)]))


def test_a_page_is_a_small_one_that_asks_again_for_the_same_address(client: TestClient) -> None:
    answer = client.get("/job?id=j1", headers={"Accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["cache-control"]) == (
        503,
        "1",
        "no-store",
    )
    assert "<meta http-equiv=refresh content=1>" in answer.text
    assert "<h1>Starting</h1>" in answer.text
    assert len(answer.content) < 1_000


def test_everything_else_is_told_to_come_back(client: TestClient) -> None:
    for answer in (
        client.get("/healthz"),
        client.get("/_stcore/health"),
        client.put("/upload/red/a.png", content=b"x"),
    ):
        assert (answer.status_code, answer.json()) == (503, {"status": "starting"})
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/_stcore/stream"):
        pass
    assert closed.value.code == 1013


def test_once_it_is_ready_nothing_stands_in_the_way(client: TestClient, ready: threading.Event) -> None:
    ready.set()
    assert client.get("/job?id=j1", headers={"Accept": "text/html"}).text == "reached"
    with client.websocket_connect("/_stcore/stream") as websocket:
        assert websocket.receive_text() == "reached"
