"""Signing in with a real OpenID Connect provider, in a real browser, in front of a real server."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from lib.access import ONLY_LOOKING
from tests.browser.conftest import Dashboard
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, oidc_provider
from tests.ports import lasting_port

ANN, VERA, EVE = "ann@corp.example", "vera@corp.example", "eve@evil.example"
COOKIE_SECRET = "Vq8x-0f3kJd72Lm5-Zp9RtY1wXc6Bn4s"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with oidc_provider() as running:
        yield running


@pytest.fixture(scope="module")
def settings_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "settings.toml"


def write_roles(path: Path, *, operators: str = ANN, viewers: str = VERA) -> None:
    """As somebody who runs the dashboard changes them."""
    path.with_suffix(".new").write_text(f'LORA_OPERATORS = "{operators}"\nLORA_VIEWERS = "{viewers}"\n')
    path.with_suffix(".new").replace(path)


@pytest.fixture(scope="module")
def start(
    start_dashboard: Callable[..., Dashboard], provider: Provider, settings_path: Path
) -> Callable[..., Dashboard]:
    """Starts a dashboard whose visitors sign in with the provider."""

    def start(**more: str) -> Dashboard:
        write_roles(settings_path)
        port = lasting_port()
        settings = {
            "LORA_ACCESS": "oidc",
            "LORA_URL": f"http://localhost:{port}",
            "LORA_OIDC_METADATA_URL": f"{provider.url}/.well-known/openid-configuration",
            "LORA_OIDC_CLIENT_ID": CLIENT_ID,
            "LORA_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "LORA_COOKIE_SECRET": COOKIE_SECRET,
            "LORA_SETTINGS_FILE": str(settings_path),
        }
        return start_dashboard(port=port, **settings, **more)

    return start


@pytest.fixture(scope="module")
def shared(start: Callable[..., Dashboard]) -> Dashboard:
    """One dashboard for the tests that leave it as it was."""
    return start()


@pytest.fixture
def dashboard(shared: Dashboard, settings_path: Path) -> Dashboard:
    write_roles(settings_path)
    return shared


def person(email: str, **claims: Any) -> dict[str, Any]:
    return {"email": email, "email_verified": True, **claims}


def test_a_deep_link_survives_the_sign_in_and_an_operator_acts(
    page: Page, dashboard: Dashboard, provider: Provider
) -> None:
    provider.person = person(ANN)
    page.goto(f"{dashboard.url}/datasets?page=7")
    expect(page.get_by_role("button", name="Create dataset")).to_be_visible()
    assert page.url == f"{dashboard.url}/datasets?page=7"
    expect(page.get_by_text("operator")).to_be_visible()
    create_dataset(page, "red")
    expect(page.get_by_role("heading", name="red")).to_be_visible()


def test_a_viewer_looks(page: Page, dashboard: Dashboard, provider: Provider) -> None:
    provider.person = person(VERA.upper(), email_verified="true")
    page.goto(f"{dashboard.url}/datasets")
    expect(page.get_by_text(ONLY_LOOKING)).to_be_visible()
    expect(page.get_by_role("button", name="Create dataset")).to_have_count(0)
    refused = page.request.put(f"{dashboard.url}/upload/x/a.png", data=b"x", headers={"X-Lora-Upload": "1"})
    assert (refused.status, refused.json()) == (403, {"error": ONLY_LOOKING})


@pytest.mark.parametrize("who", [person(EVE), {"email": ANN, "email_verified": False}, {"sub": ANN, "email": ""}])
def test_nobody_else_comes_in(page: Page, dashboard: Dashboard, provider: Provider, who: dict[str, Any]) -> None:
    provider.person = who
    page.goto(f"{dashboard.url}/jobs")
    expect(
        page.get_by_role("heading", name="Forbidden").or_(page.get_by_role("heading", name="Not signed in"))
    ).to_be_visible()
    for path in ("/download/j/1/a", "/_stcore/host-config", "/static/x", "/media/x"):
        assert page.request.get(f"{dashboard.url}{path}").status in (401, 403)


def test_a_provider_that_refuses_ends_in_a_page_not_in_a_circle(
    page: Page, dashboard: Dashboard, provider: Provider
) -> None:
    provider.person = None
    page.goto(f"{dashboard.url}/jobs")
    expect(page.get_by_text("The sign-in was not finished.")).to_be_visible()
    provider.person = person(ANN)
    page.get_by_role("link", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_sign_out_ends_the_session_everywhere(page: Page, dashboard: Dashboard, provider: Provider) -> None:
    provider.person = person(ANN)
    page.goto(f"{dashboard.url}/datasets")
    expect(page.get_by_role("button", name="Create dataset")).to_be_visible()
    stolen = page.context.cookies()
    other = page.context.new_page()
    other.goto(f"{dashboard.url}/datasets")
    expect(other.get_by_label("Dataset name")).to_be_visible()
    other.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    create_dataset(other, "after-sign-out")
    expect(other.get_by_text("Nobody is signed in").first).to_be_visible()
    page.context.add_cookies(stolen)
    assert page.request.get(f"{dashboard.url}/download/j/1/a").status == 401
    assert "after-sign-out" not in names_of_datasets(dashboard)


def test_who_becomes_a_viewer_acts_no_more_on_the_open_page(
    page: Page, dashboard: Dashboard, provider: Provider, settings_path: Path
) -> None:
    provider.person = person(ANN)
    page.goto(f"{dashboard.url}/datasets")
    expect(page.get_by_label("Dataset name")).to_be_visible()
    write_roles(settings_path, operators=VERA, viewers=ANN)
    create_dataset(page, "after-role")
    expect(page.get_by_text(ONLY_LOOKING).first).to_be_visible()
    assert "after-role" not in names_of_datasets(dashboard)


def test_groups_give_roles(page: Page, dashboard: Dashboard, provider: Provider, settings_path: Path) -> None:
    write_roles(settings_path, operators="group:trainers")
    provider.person = person("new@other.example", groups=["guests", "Trainers"])
    page.goto(f"{dashboard.url}/datasets")
    expect(page.get_by_role("button", name="Create dataset")).to_be_visible()


def test_a_session_ends_with_its_time(page: Page, start: Callable[..., Dashboard], provider: Provider) -> None:
    provider.person = person(ANN)
    short = start(LORA_SESSION_HOURS=str(8 / 3600))
    page.goto(f"{short.url}/jobs")
    expect(page.get_by_role("heading", name="LoRA Training Jobs")).to_be_visible()
    time.sleep(8)
    assert page.request.get(f"{short.url}/download/j/1/a").status == 401


def test_no_secret_is_in_the_server_s_log(dashboard: Dashboard) -> None:
    logs = "".join(log.read_text() for log in dashboard.data_dir.parent.glob("server-*.log"))
    for secret in (COOKIE_SECRET, CLIENT_SECRET):
        assert secret not in logs


def create_dataset(page: Page, name: str) -> None:
    page.get_by_label("Dataset name").fill(name)
    page.get_by_role("button", name="Create dataset").click()


def names_of_datasets(dashboard: Dashboard) -> str:
    return "".join(file.read_text() for file in (dashboard.data_dir / "datasets").glob("*/.dataset.json"))
