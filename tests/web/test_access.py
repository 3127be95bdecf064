"""The guard: what it refuses before anything else sees it, and what every answer carries."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from lib import services
from lib.access import ONLY_LOOKING
from lib.errors import NotAllowed
from lib.sources.memory import MemorySource
from lib.web.access import HEADERS, Guard
from lib.web.identity import PROXY_SECRET_HEADER, asking, current_visitor
from tests.test_sign_in_settings import PROXY, SECRET

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
    async for message in websocket.iter_text():
        await websocket.send_text(f"heard {message}")


def act(_request: Request) -> Response:
    try:
        return PlainTextResponse(services.act(lambda _source: str(services.visitor())))
    except NotAllowed as error:
        return PlainTextResponse(f"{error} {error.hint}", 418)


def client_at(address: str, peer: str = "127.0.0.1") -> TestClient:
    routes = [
        WebSocketRoute("/_stcore/stream", stream),
        Route("/act", act),
        Route("/{path:path}", anything, methods=METHODS),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Guard)])
    return TestClient(app, base_url=f"http://{address}", headers={"Host": HOST}, client=(peer, 50_000))


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


# A proxy that signs in

ANN, VERA, EVE = "ann@corp.example", "vera@corp.example", "eve@evil.example"
USER = PROXY["LORA_PROXY_USER_HEADER"]
BY_ADDRESS = PROXY | {"LORA_PROXY_SECRET": "", "LORA_PROXY_ADDRESSES": "10.0.0.2"}
PAGE = {"Accept": "text/html"}


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Sets up a proxy that signs in: Ann is an operator, Vera a viewer; more settings may be given."""

    def set_up(**settings: str) -> None:
        for name, value in (PROXY | {"LORA_VIEWERS": VERA} | settings).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("LORA_SETTINGS_FILE", str(tmp_path / "settings.toml"))
        services.access.cache_clear()

    set_up()
    services.identify_with(current_visitor)
    yield set_up
    services.identify_with(lambda: None)


def sent(name: str | None, secret: str | None = SECRET, **more: str) -> dict[str, str]:
    """The headers that the proxy adds."""
    found = {USER: name, PROXY_SECRET_HEADER: secret, **{key.replace("_", "-"): value for key, value in more.items()}}
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("headers", "read", "change"),
    [
        (sent(ANN), 200, 200),
        (sent("ANN@CORP.EXAMPLE"), 200, 200),
        (sent("x@gpu.example"), 200, 200),
        (sent(VERA), 200, 403),
        (sent(EVE), 403, 403),
        (sent(None), 401, 401),
        (sent(""), 401, 401),
        (sent(ANN, None), 401, 401),
        (sent(ANN, ""), 401, 401),
        (sent(ANN, SECRET[:-1]), 401, 401),
        (sent(ANN, SECRET.upper() + "x"), 401, 401),
        (sent(f"{EVE}, {ANN}"), 401, 401),
        (sent(f"{ANN},{EVE}"), 401, 401),
        (sent(f"<{ANN}>"), 401, 401),
        (sent("group:trainers"), 403, 403),
        (sent("@gpu.example"), 403, 403),
        ({"X-Forwarded-User": ANN, PROXY_SECRET_HEADER: SECRET}, 401, 401),
        ({USER.replace("-", "_"): ANN, PROXY_SECRET_HEADER: SECRET}, 401, 401),
    ],
)
def test_who_comes_through_the_proxy(
    proxy: object, client: TestClient, headers: dict[str, str], read: int, change: int
) -> None:
    for path in ("/", "/jobs", "/static/js/index.js", "/media/x.png", "/download/j/1/a"):
        assert client.get(path, headers=headers).status_code == read, path
    assert client.get("/_stcore/host-config", headers=headers).status_code == (200 if read == 200 else 401)
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        assert client.request(method, "/upload/red/a.png", headers=headers).status_code == change
    assert reaches_websocket(client, headers) == (read == 200)


@pytest.mark.parametrize("path", ["/healthz", "/_stcore/health"])
def test_everybody_may_ask_whether_the_server_is_well(proxy: object, client: TestClient, path: str) -> None:
    assert client.get(path).text == "reached"


@pytest.mark.parametrize(
    "path",
    ["/healthz/", "/healthz/../jobs", "//healthz", "/x/healthz", "/_stcore/health/x", "/%2e/healthz", "/HEALTHZ"],
)
def test_nothing_else_passes_for_that(proxy: object, client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401 or str(answer.url).endswith("/healthz")


@pytest.mark.parametrize("name", [USER, PROXY_SECRET_HEADER])
def test_a_header_that_comes_twice_is_not_the_proxy_s(proxy: object, client: TestClient, name: str) -> None:
    for first, second in ((ANN, EVE), (EVE, ANN), (ANN, ANN)):
        headers = [*sent(first).items(), (name, second if name == USER else SECRET)]
        assert client.get("/jobs", headers=headers).status_code == 401


def test_groups_of_the_proxy(proxy: Callable[..., None], client: TestClient) -> None:
    headers = sent(EVE, X_Forwarded_Groups="guests, Trainers")
    assert client.get("/jobs", headers=headers).status_code == 403
    proxy(LORA_PROXY_GROUPS_HEADER="X-Forwarded-Groups")
    assert client.put("/upload/red/a.png", headers=headers).status_code == 200
    twice = [*sent(EVE).items(), ("X-Forwarded-Groups", "guests"), ("X-Forwarded-Groups", "trainers")]
    assert client.get("/jobs", headers=twice).status_code == 401


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "status"),
    [
        ("10.0.0.2", "", 200),
        ("10.0.0.2", "192.168.7.7", 200),
        ("::ffff:10.0.0.2", "192.168.7.7", 200),
        ("10.0.0.3", "", 401),
        ("127.0.0.1", "", 401),
        ("127.0.0.1", "10.0.0.2", 401),
        # What the server makes of a connection from this machine that claims to be forwarded for the proxy.
        ("10.0.0.2", "10.0.0.2", 401),
        ("10.0.0.2", "10.0.0.2:4711, 127.0.0.1", 401),
        ("testclient", "", 401),
    ],
)
def test_a_proxy_known_by_its_address(proxy: Callable[..., None], peer: str, forwarded_for: str, status: int) -> None:
    proxy(**BY_ADDRESS)
    headers = {USER: ANN} | ({"X-Forwarded-For": forwarded_for} if forwarded_for else {})
    assert client_at(HOST, peer).get("/jobs", headers=headers).status_code == status


def test_secret_and_address_must_both_be_right_where_both_are_set(proxy: Callable[..., None]) -> None:
    proxy(LORA_PROXY_ADDRESSES="10.0.0.2")
    assert client_at(HOST, "10.0.0.2").get("/jobs", headers=sent(ANN)).status_code == 200
    assert client_at(HOST, "10.0.0.2").get("/jobs", headers=sent(ANN, None)).status_code == 401
    assert client_at(HOST, "10.0.0.3").get("/jobs", headers=sent(ANN)).status_code == 401


def test_a_refusal_is_a_readable_page_that_names_no_secret(proxy: object, client: TestClient) -> None:
    for headers, sentence in ((sent(EVE), "You have no access"), (sent(ANN, "wrong"), "Nobody is signed in")):
        answer = client.get("/jobs", headers=headers | PAGE)
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == (
            "text/html; charset=utf-8",
            "no-store",
        )
        assert sentence in answer.text
        assert SECRET not in answer.text


def test_services_know_the_visitor_of_a_request(proxy: object, client: TestClient, source: MemorySource) -> None:
    assert ANN in client.get("/act", headers=sent(ANN)).text
    refused = client.get("/act", headers=sent(VERA))
    assert (refused.status_code, ONLY_LOOKING in refused.text) == (418, True)
    assert asking.get() is None


def test_without_the_guard_nobody_acts(proxy: object, source: MemorySource) -> None:
    with TestClient(Starlette(routes=[Route("/act", act)])) as unguarded:
        assert unguarded.get("/act", headers=sent(ANN)).status_code == 418


def test_an_open_page_ends_when_its_visitor_loses_access(
    proxy: Callable[..., None], client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LORA_VIEWERS", "")
    (tmp_path / "settings.toml").write_text(f'LORA_VIEWERS = "{VERA}"')
    services.access.cache_clear()
    with client.websocket_connect(f"ws://{HOST}/_stcore/stream", headers=sent(VERA)) as websocket:
        websocket.receive_text()
        websocket.send_text("tick")
        assert websocket.receive_text() == "heard tick"
        (tmp_path / "settings.toml").write_text('LORA_VIEWERS = "somebody.else@corp.example"')
        websocket.send_text("tick")
        with pytest.raises(WebSocketDisconnect) as closed:
            websocket.receive_text()
    assert closed.value.code == 1008


def test_with_a_sign_in_other_machines_are_answered(proxy: object) -> None:
    assert client_at("10.0.0.7").get("/jobs", headers=sent(ANN)).status_code == 200
    assert client_at("10.0.0.7").get("/jobs").status_code == 401
