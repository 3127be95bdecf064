"""/healthz and /download: ranges, names, redirects signed at click, and errors a person can read."""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

from lib.errors import SourceUnavailable
from lib.jobs.job import Job, JobStatus, PresignedUrl
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.memory import MemorySource
from lib.sources.protocol import LocalFile
from lib.ui.datasets.image_editor import original_path
from lib.ui.parts.job_actions import download_path
from lib.ui.parts.links import PAGES, own_path
from lib.web.routes import ROUTES, own_routes

SetOption = Callable[[str, object], None]
APP = Path(__file__).parents[2] / "lib" / "app.py"
AS_A_BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
BODY = bytes(range(256)) * 8
NAME = 'Ария "v1" ねこ.safetensors'
SIGNED = "http://127.0.0.1:9/bucket/key?X-Amz-Signature=secret"


@pytest.fixture
def source(source: MemorySource, tmp_path: Path) -> MemorySource:
    source.add(Job(id="j1", name="one", status=JobStatus.SUCCEEDED))
    file = tmp_path / "file"
    file.write_bytes(BODY)
    source.files["j1", "1/a.safetensors"] = LocalFile(path=file, name=NAME)
    source.files["j1", "1/page.html"] = LocalFile(path=file, name="page.html")
    source.files["j1", "1/sample.png"] = LocalFile(path=file, name="sample.png")
    source.files["j1", "1/sample.mp4"] = LocalFile(path=file, name="sample.mp4")
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    source.files["j1", "s3"] = PresignedUrl(url=SIGNED, expires_at=expires)
    return source


@pytest.fixture
def client(source: MemorySource) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=ROUTES), base_url="http://localhost", follow_redirects=False) as client:
        yield client


def test_healthz_answers(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_whole_file_with_its_own_name(client: TestClient) -> None:
    answer = client.get("/download/j1/1/a.safetensors")
    assert answer.status_code == 200
    assert answer.content == BODY
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment;")
    assert "filename*=utf-8''%D0%90" in disposition


def test_a_range_and_its_conditions(client: TestClient) -> None:
    whole = client.head("/download/j1/1/a.safetensors")
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == len(BODY)
    part = client.get("/download/j1/1/a.safetensors", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, BODY[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(BODY)}"
    same = {"Range": "bytes=100-199", "If-Range": whole.headers["etag"]}
    assert client.get("/download/j1/1/a.safetensors", headers=same).status_code == 206
    other = {"Range": "bytes=100-199", "If-Range": '"another"'}
    assert client.get("/download/j1/1/a.safetensors", headers=other).status_code == 200
    beyond = client.get("/download/j1/1/a.safetensors", headers={"Range": "bytes=99999-"})
    assert beyond.status_code == 416


def test_a_stored_file_is_a_redirect_signed_at_the_click(client: TestClient) -> None:
    answer = client.get("/download/j1/s3")
    assert (answer.status_code, answer.headers["location"]) == (302, SIGNED)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_only_pictures_and_videos_are_shown_inline(client: TestClient) -> None:
    picture = client.get("/download/j1/1/sample.png?inline=1")
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["content-disposition"].startswith("inline;")
    video = client.get("/download/j1/1/sample.mp4?inline=1", headers={"Range": "bytes=0-3"})
    assert (video.status_code, video.headers["content-type"], len(video.content)) == (206, "video/mp4", 4)
    page = client.get("/download/j1/1/page.html?inline=1")
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize("path", ["/download/j1/nothing", "/download/nobody/1/a.safetensors"])
def test_a_missing_file_is_a_readable_page(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "<h1>Download failed</h1>" in answer.text


@pytest.mark.parametrize("path", ["/download/j1/1/a.safetensors", "/logs/j1/1", "/upload/d1/a.png"])
def test_a_foreign_name_that_points_here_gets_nothing(client: TestClient, path: str) -> None:
    send = client.put if path.startswith("/upload") else client.get
    answer = send(path, headers={"Host": "rebound.evil.test:8501"})
    assert answer.status_code == 403
    assert "server.allowedHosts" in answer.text


def test_an_image_of_a_dataset_as_it_was_uploaded(client: TestClient, embedded: EmbeddedSource) -> None:
    dataset = embedded.datasets.create("red")
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "PNG")
    embedded.datasets.import_file(dataset.id, "a b%.png", io.BytesIO(content.getvalue()))
    embedded.datasets.set_caption(dataset.id, "a b%.png", "red")
    answer = client.get(original_path(dataset.id, "a b%.png"))
    assert (answer.status_code, answer.content) == (200, content.getvalue())
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("inline;")
    for name in ("a b%.txt", "gone.png", ".dataset.json", "..%2f..%2flora.db"):
        assert client.get(f"/images/{dataset.id}/{name}").status_code in (400, 404)
    assert client.get("/images/x/a.png").status_code == 404
    assert client.get(original_path(dataset.id, "a b%.png"), headers={"Host": "evil.test"}).status_code == 403


KNOWN_HOSTS = ["localhost", "LOCALHOST:8501", "127.0.0.1:1", "[::1]:8501", "localhost."]
UNKNOWN_HOSTS = ["evil.test", "", "[::1", "a.b.c", "localhost/x", "localhost?x", "localhost#x", "me@localhost"]
UNKNOWN_HOSTS += ["localhost:x", "localhost:99999", "localhost.evil.test", "evil.test/localhost"]


def is_answered(client: TestClient, host: str) -> bool:
    return client.get("/download/j1/1/a.safetensors", headers={"Host": host}).status_code == 200


def test_only_known_hosts_are_answered(client: TestClient, set_option: SetOption) -> None:
    assert {host: is_answered(client, host) for host in KNOWN_HOSTS} == dict.fromkeys(KNOWN_HOSTS, True)
    assert {host: is_answered(client, host) for host in UNKNOWN_HOSTS} == dict.fromkeys(UNKNOWN_HOSTS, False)
    set_option("server.allowedHosts", ["*.b.c"])
    assert [is_answered(client, host) for host in ("a.b.c", "b.c", "ab.c")] == [True, False, False]
    set_option("server.allowedHosts", [])
    assert is_answered(client, "anything.test")


@pytest.mark.parametrize("path", ["/nosuchpage", "/JOBS", "/jobs/job-1", "/%3Cb%3E"])
def test_an_address_that_leads_nowhere_says_so(client: TestClient, path: str) -> None:
    answer = client.get(path, headers=AS_A_BROWSER)
    assert answer.status_code == 404
    assert "No such page" in answer.text
    assert ("href='/'" in answer.text, "href='/jobs'" in answer.text) == (True, True)
    assert "<b>" not in answer.text


def test_what_streamlit_serves_stays_its_own() -> None:
    everything = Mount("/", PlainTextResponse("Streamlit"))
    with TestClient(Starlette(routes=[*ROUTES, everything]), base_url="http://localhost") as client:
        pages = ["/", *(f"/{page.path}" for page in PAGES[1:])]
        others = [
            "/oauth2callback",
            "/auth/login",
            "/_stcore/health",
            "/component/a/b.html",
            "/static/js/a.js",
            "/a.png",
            "/jobs/",
        ]
        for path in [*pages, *others]:
            assert client.get(path, headers=AS_A_BROWSER).text == "Streamlit", path
        # What a script or a program asks for is no page.
        assert client.get("/nosuchpage", headers={"Accept": "*/*"}).text == "Streamlit"


def test_every_page_is_in_the_one_list_of_pages() -> None:
    """A script that is missing there would be in no navigation, and its address would answer 404."""
    listed = {(APP.parent / page.file).resolve() for page in PAGES}
    assert listed == set((APP.parents[1] / "pages").glob("*.py"))
    assert len({page.path for page in PAGES}) == len(PAGES)


def test_the_first_page_answers_under_its_name_too(client: TestClient) -> None:
    for path, target in (("/overview", "/"), ("/overview?window=7d", "/?window=7d")):
        answer = client.get(path, headers=AS_A_BROWSER)
        assert (answer.status_code, answer.headers["location"]) == (302, target)


def test_below_a_base_path_only_its_own_addresses_are_judged(set_option: SetOption) -> None:
    set_option("server.baseUrlPath", "/lora/")
    routes = [*own_routes(), Mount("/", PlainTextResponse("Streamlit"))]
    with TestClient(Starlette(routes=routes), base_url="http://localhost") as client:
        paths = ("/lora", "/lora/", "/lora/jobs", "/lora/overview", "/elsewhere", "/lora/nosuchpage", "/lora/healthz")
        answers = {path: client.get(path, headers=AS_A_BROWSER) for path in paths}
    statuses = {path: answer.status_code for path, answer in answers.items()}
    assert statuses.pop("/lora/nosuchpage") == 404
    assert set(statuses.values()) == {200}
    assert "href='/lora/jobs'" in answers["/lora/nosuchpage"].text
    assert answers["/lora/overview"].url.path == "/lora/"


def test_own_addresses_lie_below_the_base_path(client: TestClient, set_option: SetOption) -> None:
    set_option("server.baseUrlPath", "/team/lora/")
    assert own_path("/jobs") == "/team/lora/jobs"
    assert download_path("j 1", "1/a b") == "/team/lora/download/j%201/1/a%20b"
    assert "href='/team/lora/jobs'" in client.get("/download/j1/nothing").text


def test_a_source_that_is_down_is_a_readable_page(client: TestClient, source: MemorySource) -> None:
    source.failing = SourceUnavailable("The API <b>does not</b> answer.", hint="Try again in a minute.")
    answer = client.get("/download/j1/s3")
    assert answer.status_code == 503
    assert "The API &lt;b&gt;does not&lt;/b&gt; answer." in answer.text
    assert "Try again in a minute." in answer.text


def test_a_sample_is_sent_small_for_lists(source: MemorySource, client: TestClient, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (512, 256), "red").save(picture)
    source.files["j1", "1/real.png"] = LocalFile(path=picture, name="real.png")
    answer = client.get("/download/j1/1/real.png?inline=1&small=1")
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as small:
        assert small.size == (96, 48)
    Image.new("RGB", (64, 96), "blue").save(picture)
    with Image.open(io.BytesIO(client.get("/download/j1/1/real.png?small=1").content)) as small:
        assert small.size == (64, 96)
    # What cannot be decoded, or is no picture, is sent as it is.
    assert client.get("/download/j1/1/sample.png?inline=1&small=1").content == BODY
    assert client.get("/download/j1/1/a.safetensors?small=1").content == BODY
