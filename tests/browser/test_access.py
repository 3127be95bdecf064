"""The guard in front of a real server: foreign pages, headers, an open dashboard's notice, and the start refusal."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, expect

from lib.access import ONLY_LOOKING, OPEN_NOTICE
from lib.web.access import HEADERS
from lib.web.identity import PROXY_SECRET_HEADER
from tests.browser.conftest import ROOT, Dashboard
from tests.ports import lasting_port
from tests.test_sign_in_settings import PROXY, SECRET
from tests.waiting import PATIENCE_S

# What a page of another program on this machine could try: drive the dashboard's websocket, or show it in a frame.
ATTACK = """<!doctype html><iframe src="{target}"></iframe><script>
const socket = new WebSocket("{target}/_stcore/stream".replace("http", "ws"), ["streamlit"]);
socket.onopen = () => {{ document.title = "opened"; }};
socket.onerror = () => {{ document.title = "refused"; }};
</script>"""


@pytest.fixture
def foreign_page(dashboard: Dashboard) -> Iterator[str]:
    """The address of another server of this machine whose page attacks the dashboard."""

    class Attacker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(ATTACK.format(target=dashboard.url).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Attacker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_page_of_another_port_neither_drives_nor_frames_the_dashboard(page: Page, foreign_page: str) -> None:
    page.goto(foreign_page)
    expect(page).to_have_title("refused")
    expect(page.frame_locator("iframe").get_by_text("Overview")).to_have_count(0)
    assert page.frames[1].url.startswith("chrome-error:")


def test_the_own_page_works_and_every_answer_carries_the_headers(page: Page, dashboard: Dashboard) -> None:
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer) if answer.url.startswith(dashboard.url) else None)
    page.goto(dashboard.url)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert len(answers) > 20
    for answer in answers:
        missing = {name for name in HEADERS if name.lower() not in answer.headers}
        assert not missing, f"{answer.url} lacks {missing}"
    assert page.request.get(f"{dashboard.url}/_stcore/metrics").status == 404
    expect(page.get_by_text(OPEN_NOTICE)).to_have_count(0)


def test_an_open_dashboard_says_so_on_every_page(page: Page, start_dashboard: Callable[..., Dashboard]) -> None:
    opened = start_dashboard(LORA_OPEN="1", STREAMLIT_SERVER_ADDRESS="0.0.0.0")
    for path in ("/", "/jobs", "/job?id=none", "/new", "/datasets", "/configs"):
        page.goto(f"{opened.url}{path}")
        expect(page.get_by_text(OPEN_NOTICE)).to_be_visible()


@pytest.mark.parametrize(
    ("address", "settings", "words"),
    [
        ("0.0.0.0", {}, "set LORA_OPEN=1 if this is meant"),
        ("::", {}, "set LORA_OPEN=1 if this is meant"),
        ("", {}, "set LORA_OPEN=1 if this is meant"),
        ("localhost", {"LORA_ACCESS": "oidc"}, "LORA_OPERATORS is missing"),
        ("0.0.0.0", {**PROXY, "LORA_PROXY_SECRET": SECRET[1:]}, "LORA_PROXY_SECRET is shorter than 32 characters"),
    ],
)
def test_it_does_not_start_open_to_more_people_than_is_meant(
    address: str, settings: dict[str, str], words: str
) -> None:
    command = [sys.executable, "-m", "streamlit", "run", "Home.py", "--server.address", address]
    ended = subprocess.run(
        [*command, "--server.port", str(lasting_port())],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 1
    assert words in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr
    assert SECRET[1:].encode() not in ended.stderr


# A proxy that signs in

ANN, VERA, EVE = "ann@corp.example", "vera@corp.example", "eve@evil.example"


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the file of settings with these roles, as somebody who runs the dashboard does."""
    folder = tmp_path_factory.mktemp("settings")

    def write(**given: str) -> Path:
        (folder / "new").write_text("".join(f'LORA_{role.upper()} = "{who}"\n' for role, who in given.items()))
        return (folder / "new").replace(folder / "settings.toml")

    return write


@pytest.fixture(scope="module")
def behind_proxy(start_dashboard: Callable[..., Dashboard], roles: Callable[..., Path]) -> Dashboard:
    settings = {name: value for name, value in PROXY.items() if name != "LORA_OPERATORS"}
    return start_dashboard(**settings, LORA_SETTINGS_FILE=str(roles(operators=ANN, viewers=VERA)))


@pytest.fixture
def proxied(behind_proxy: Dashboard, roles: Callable[..., Path]) -> Dashboard:
    """A dashboard behind a proxy: Ann is an operator, Vera a viewer when a test begins."""
    roles(operators=ANN, viewers=VERA)
    return behind_proxy


def come_as(page: Page, name: str, dashboard: Dashboard) -> None:
    """Let every request and every websocket of the page carry what the proxy adds."""
    page.set_extra_http_headers({PROXY["LORA_PROXY_USER_HEADER"]: name, PROXY_SECRET_HEADER: SECRET})
    page.goto(f"{dashboard.url}/datasets")


def test_through_a_proxy_an_operator_acts_and_a_viewer_looks(page: Page, proxied: Dashboard) -> None:
    page.goto(proxied.url)
    expect(page.get_by_role("heading", name="Unauthorized")).to_be_visible()
    come_as(page, EVE, proxied)
    expect(page.get_by_role("heading", name="Forbidden")).to_be_visible()
    come_as(page, VERA, proxied)
    expect(page.get_by_text("vera").first).to_contain_text("viewer")
    expect(page.get_by_text(ONLY_LOOKING)).to_be_visible()
    expect(page.get_by_role("button", name="Create dataset")).to_have_count(0)
    come_as(page, ANN, proxied)
    expect(page.get_by_text("ann").first).to_contain_text("operator")
    create_dataset(page, "red")
    expect(page.get_by_role("heading", name="red")).to_be_visible()


def create_dataset(page: Page, name: str) -> None:
    page.get_by_label("Dataset name").fill(name)
    page.get_by_role("button", name="Create dataset").click()


def test_who_becomes_a_viewer_acts_no_more_on_the_open_page(
    page: Page, proxied: Dashboard, roles: Callable[..., Path]
) -> None:
    come_as(page, ANN, proxied)
    expect(page.get_by_role("button", name="Create dataset")).to_be_visible()
    roles(operators=VERA, viewers=ANN)
    create_dataset(page, "blue")
    expect(page.get_by_text(ONLY_LOOKING).first).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="blue")).to_have_count(0)


def test_who_loses_all_access_is_cut_off_on_the_open_page(
    page: Page, proxied: Dashboard, roles: Callable[..., Path]
) -> None:
    come_as(page, ANN, proxied)
    expect(page.get_by_role("button", name="Create dataset")).to_be_visible()
    expect(page.get_by_label("Dataset name")).to_be_visible()
    page.wait_for_load_state("networkidle")
    roles(operators=VERA)
    create_dataset(page, "green")
    expect(page.locator("#connection-notice")).to_contain_text("You have no access to this dashboard")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert not [*(proxied.data_dir / "datasets").glob("green*")]
