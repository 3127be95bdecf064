"""The guard: what it refuses before anything else sees it, and what every answer carries."""

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from lib.web.access import HEADERS, Guard

METHODS = ["GET", "PUT", "POST", "DELETE", "PATCH"]
HOST = "localhost:8501"
FOREIGN = [
    "http://localhost:9999",
    "http://127.0.0.1:8501",
    "http://localhost",
    "http://evil.example",
    "http://localhost:8501.evil.example",
    "http://localhost:8501@evil.example",
    "http://evil.example/localhost:8501",
    "localhost:8501",
    "null",
    "",
    "http://[::1",
]


async def anything(request: Request) -> Response:
    headers = {"Referrer-Policy": "no-referrer"} if request.url.path == "/strict" else {}
    return PlainTextResponse("reached", headers=headers)


async def stream(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("reached")
    await websocket.close()


def client_at(address: str) -> TestClient:
    routes = [WebSocketRoute("/_stcore/stream", stream), Route("/{path:path}", anything, methods=METHODS)]
    app = Starlette(routes=routes, middleware=[Middleware(Guard)])
    return TestClient(app, base_url=f"http://{address}", headers={"Host": HOST})


@pytest.fixture
def client() -> Iterator[TestClient]:
    with client_at(HOST) as client:
        yield client


def reaches_websocket(client: TestClient, headers: dict[str, str]) -> bool:
    try:
        with client.websocket_connect(f"ws://{HOST}/_stcore/stream", headers=headers) as websocket:
            return websocket.receive_text() == "reached"
    except WebSocketDisconnect as closed:
        return closed.code != 1008


@pytest.mark.parametrize("path", ["/", "/jobs", "/static/js/index.js", "/nowhere", "/_stcore/metrics"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_a_stricter_header_of_a_route_stays(client: TestClient) -> None:
    assert client.get("/strict").headers.get_list("referrer-policy") == ["no-referrer"]


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_page_opens_no_websocket(client: TestClient, origin: str) -> None:
    assert not reaches_websocket(client, {"Origin": origin})


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("method", [method for method in METHODS if method != "GET"])
def test_a_foreign_page_changes_nothing(client: TestClient, origin: str, method: str) -> None:
    answer = client.request(method, "/upload/red/a.png", headers={"Origin": origin})
    assert (answer.status_code, answer.headers["cache-control"]) == (403, "no-store")


@pytest.mark.parametrize("headers", [{"Origin": f"http://{HOST}"}, {"Origin": f"https://{HOST.upper()}"}, {}])
def test_its_own_pages_reach_it(client: TestClient, headers: dict[str, str]) -> None:
    assert reaches_websocket(client, headers)
    assert client.put("/upload/red/a.png", headers=headers).text == "reached"


def test_one_good_origin_does_not_excuse_a_foreign_one(client: TestClient) -> None:
    headers = [("Origin", f"http://{HOST}"), ("Origin", "http://evil.example")]
    assert client.put("/upload/red/a.png", headers=headers).status_code == 403


def test_reading_from_a_link_on_a_foreign_page_works(client: TestClient) -> None:
    assert client.get("/jobs", headers={"Origin": "http://evil.example"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/_stcore/metrics", "/_stcore/metrics/", "/lora/_stcore/metrics", "/_stcore/agent/v1/x", "/%5Fstcore/metrics"],
)
def test_what_streamlit_answers_unasked_is_closed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.post(path).status_code == 404


@pytest.mark.parametrize(
    ("address", "status"),
    [("localhost", 200), ("127.0.0.1", 200), ("127.8.8.8", 200), ("[::1]", 200), ("10.0.0.7", 403), ("gpu.lan", 403)],
)
def test_other_machines_get_nothing_while_nobody_signs_in(address: str, status: int) -> None:
    # The address that was asked, whatever the Host header says: a server may be started with any --host.
    assert client_at(address).get("/").status_code == status


def test_other_machines_are_answered_when_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_OPEN", "1")
    assert client_at("10.0.0.7").get("/").text == "reached"


def test_wrong_settings_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_OPEN", "perhaps")
    assert client_at("10.0.0.7").get("/").status_code == 403
