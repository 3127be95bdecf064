"""What Streamlit's frontend gets from us instead of Streamlit's own answers."""

from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from streamlit.web.server.starlette.starlette_routes import create_host_config_routes

from lib.web.frontend import HOST_CONFIG, Frontend


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
