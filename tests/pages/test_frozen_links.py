"""A deployment without credentials for its store: links frozen into the job, counted down and refused in time."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from lib import services
from lib.settings import InfluencerSettings
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.source import InfluencerSource
from lib.web.routes import ROUTES
from tests.making import NOW
from tests.pages.reading import labels, texts
from tests.sources.influencerai.api_server import EMAIL, PASSWORD, ApiServer, api_server, iso
from tests.sources.influencerai.conftest import AT_ONCE, PATIENT

Open = Callable[..., AppTest]
PREFIX = "lora-training/a/"
LATER = {"name": "later.safetensors", "url": "https://cdn.test/later", "expiresAt": iso(NOW + timedelta(days=3))}
NO_LINK = {"name": "mock.safetensors", "url": "mock/loras/mock.safetensors"}


@pytest.fixture
def api(clock: list[datetime]) -> Iterator[ApiServer]:
    """A deployment with one job that has ended; the dashboard in front of it knows no store."""
    with api_server() as running:
        running.add_job("a")
        put_links(running, NOW)
        settings = InfluencerSettings(api_url=running.url, email=EMAIL, password=PASSWORD)
        client = InfluencerClient(settings, limits=PATIENT)
        source = InfluencerSource(client, files=None, now=lambda: clock[-1], intervals=AT_ONCE, background=False)
        services.connect(source)
        yield running
        services.connect(None)
        source.close()


def put_links(api: ApiServer, now: datetime) -> None:
    """Write the job's files into it, as a worker does that signs ``soon`` for 3 minutes from now."""
    signed = f"X-Amz-Date={now - timedelta(hours=1):%Y%m%dT%H%M%SZ}&X-Amz-Signature=secret&X-Amz-Expires="
    files = [
        {"key": f"{PREFIX}soon.safetensors", "url": f"https://s3.test/b/soon?{signed}{3600 + 180}"},
        {"key": f"{PREFIX}gone.safetensors", "url": f"https://s3.test/b/gone?{signed}{3600 - 180}"},
    ]
    api.patch("a", "succeeded", {"artifacts": [*files, LATER, NO_LINK]}, at=now - timedelta(hours=1))


def disabled_downloads(app: AppTest) -> set[str]:
    """The files that no click fetches; all others have a link that leads through the dashboard."""
    links = [link.proto.url for link in app.get("link_button") if link.proto.label == "Download"]
    linked = {link.removeprefix("/download/a/").removesuffix(".safetensors") for link in links}
    keys = [str(button.key) for button in app.button if button.label == "Download" and button.disabled]
    disabled = {key.removeprefix("download-a-").removesuffix(".safetensors") for key in keys}
    assert sorted([*linked, *disabled]) == ["gone", "later", "mock", "soon"]
    return disabled


def test_frozen_links_are_counted_down_refused_in_time_and_read_anew(
    api: ApiServer, open_page: Open, clock: list[datetime]
) -> None:
    app = open_page("job", id="a")
    text = texts(app)
    for words in ("URL expires in 3 minutes", "URL expired", "URL works until 26 Nov 2026, 12:00:00 UTC"):
        assert words in text
    assert "Set S3_BUCKET and S3 credentials" in text
    assert "secret" not in text
    assert "Refresh URL" in labels(app)
    assert disabled_downloads(app) == {"gone", "mock"}
    # Nothing else of the job changes any more, and yet its links are looked at again.
    assert any("view-links-a" in component.proto.id for component in app.get("component_instance"))

    for minutes, left in ((1, "2 minutes"), (2.8, "less than a minute")):
        clock.append(NOW + timedelta(minutes=minutes))
        app.run()
        assert f"URL expires in {left}" in texts(app)
        assert disabled_downloads(app) == {"gone", "mock"}
    clock.append(NOW + timedelta(minutes=3))
    app.run()
    assert "expires in" not in texts(app)
    assert texts(app).count("URL expired") == 2
    assert disabled_downloads(app) == {"gone", "mock", "soon"}

    # Reading the job again brings the same links, and the page does not pretend otherwise.
    app = app.button(key="files-a-1-refresh").click().run()
    assert disabled_downloads(app) == {"gone", "mock", "soon"}
    put_links(api, clock[-1])
    app = app.button(key="files-a-1-refresh").click().run()
    assert disabled_downloads(app) == {"gone", "mock"}
    assert "URL expires in 3 minutes" in texts(app)


def test_a_click_that_came_too_late_says_what_to_configure(api: ApiServer, clock: list[datetime]) -> None:
    app = Starlette(routes=ROUTES)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as browser:
        assert browser.get("/download/a/soon.safetensors").status_code == 302
        assert browser.get("/download/a/later.safetensors").headers["location"] == LATER["url"]
        clock.append(NOW + timedelta(minutes=4))
        for name, words in (("soon", "expired at 2026-11-23 12:03 UTC"), ("mock", "gives no link")):
            answer = browser.get(f"/download/a/{name}.safetensors")
            assert answer.status_code == 404
            assert words in answer.text
            assert "S3_KEY and S3_SECRET" in answer.text
            assert "X-Amz" not in answer.text


def test_links_that_last_need_no_care(api: ApiServer, open_page: Open) -> None:
    api.patch("a", "succeeded", {"artifacts": [LATER]}, at=NOW)
    app = open_page("job", id="a")
    assert "URL works until" in texts(app)
    assert "Refresh URL" not in labels(app)
    assert "S3_BUCKET" not in texts(app)
