"""What Streamlit's frontend gets from us instead of Streamlit's own answers."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.web.server.starlette.starlette_routes import create_host_config_routes

from lib.web.frontend import HOST_CONFIG, Frontend, compressed


def test_the_host_settings_are_streamlits_without_its_dialogs() -> None:
    theirs = TestClient(Starlette(routes=create_host_config_routes(None))).get("/_stcore/host-config").json()
    assert {**theirs, "blockErrorDialogs": True} == HOST_CONFIG
    assert theirs["blockErrorDialogs"] is False


@pytest.mark.parametrize(("base", "path"), [("", "/_stcore/host-config"), ("lora", "/lora/_stcore/host-config")])
def test_they_are_answered_below_the_base_path(set_option: Callable[[str, object], None], base: str, path: str) -> None:
    set_option("server.baseUrlPath", base)
    client = TestClient(Starlette(middleware=[Middleware(Frontend)]))
    answer = client.get(path)
    assert (answer.json(), answer.headers["cache-control"]) == (HOST_CONFIG, "no-cache")
    assert client.get(f"{path}s").status_code == 404


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """In front of an app that says "behind" to everything."""
    (tmp_path / "static/js").mkdir(parents=True)
    (tmp_path / "static/js/app.1a2b.js").write_text(SCRIPT)
    (tmp_path / "static/font.woff2").write_text("font")
    (tmp_path / "index.html").write_text("page")
    behind = Route("/{path:path}", lambda _request: PlainTextResponse("behind"))
    return TestClient(Starlette(routes=[behind], middleware=[Middleware(Frontend, folder=tmp_path)]))


SCRIPT = "const a = 1;\n" * 1_000


def test_a_script_is_sent_compressed_once_and_kept_for_ever(client: TestClient, tmp_path: Path) -> None:
    answer = client.get("/static/js/app.1a2b.js")
    assert answer.text == SCRIPT
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < len(SCRIPT) / 10
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert compressed(tmp_path / "static/js/app.1a2b.js") is compressed(tmp_path / "static/js/app.1a2b.js")
    assert gzip.decompress(compressed(tmp_path / "static/js/app.1a2b.js")).decode() == SCRIPT
    assert client.head("/static/js/app.1a2b.js").content == b""


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/static/js/app.1a2b.js", {"Accept-Encoding": "identity"}),
        ("/static/js/app.1a2b.js", {"Range": "bytes=0-9"}),
        ("/static/font.woff2", {}),
        ("/static/js/../../index.html", {}),
        ("/static/js/%2e%2e/font.woff2", {}),
        ("/download/j/aria.safetensors", {}),
        ("/jobs", {}),
    ],
)
def test_everything_else_is_left_to_the_app_behind(client: TestClient, path: str, headers: dict[str, str]) -> None:
    answer = client.get(path, headers=headers)
    assert (answer.text, answer.headers.get("content-encoding")) == ("behind", None)


def test_a_script_is_not_changed_by_a_request(client: TestClient) -> None:
    assert client.post("/static/js/app.1a2b.js").status_code == 405
