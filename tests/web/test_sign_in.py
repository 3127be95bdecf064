"""Cookies of the sign-in: which are believed, how long, and where a sign-in leads back to."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient
from streamlit.auth_util import set_cookie_with_chunks
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from lib import services
from lib.access import Access, Identity
from lib.settings import Settings
from lib.sign_in_settings import OidcSettings, Roles, SignInSettings
from lib.web.identity import current_visitor
from lib.web.sign_in import WANTED_COOKIE, identity_from, signed_in
from tests.test_sign_in_settings import OIDC
from tests.web.test_access import HOST, PAGE, client_at, reaches_websocket

ANN = "ann@corp.example"
SECRET, ORIGIN = OIDC["LORA_COOKIE_SECRET"], f"http://{HOST}"
NAME = "_streamlit_user"
RULES = OidcSettings(url=ORIGIN, metadata_url="https://x", client_id="x", client_secret="x", cookie_secret=SECRET)


def claims(**change: Any) -> dict[str, Any]:
    found = {"email": ANN, "email_verified": True, "iat": int(time.time()), "sub": "1", "is_logged_in": True}
    return {name: value for name, value in (found | {"origin": ORIGIN} | change).items() if value is not ...}


def cookie(content: object, *, secret: str = SECRET, salt: str = NAME) -> str:
    return create_signed_value(secret, salt, json.dumps(content)).decode()


GOOD = cookie(claims())
FORGED = {
    "nothing": "",
    "no cookie of ours": "x",
    # Not the last character: some of its bits are not part of the signature.
    "a character changed": GOOD[:-9] + ("a" if GOOD[-9] != "a" else "b") + GOOD[-8:],
    "cut": GOOD[:-20],
    "unsigned": json.dumps(claims()),
    "another secret": cookie(claims(), secret=SECRET[::-1]),
    "another cookie's salt": cookie(claims(), salt="_streamlit_user_tokens"),
    "another origin": cookie(claims(origin="http://localhost:9999")),
    "https for http": cookie(claims(origin=ORIGIN.replace("http:", "https:"))),
    "not logged in": cookie(claims(is_logged_in=False)),
    "logged in, as text": cookie(claims(is_logged_in="true")),
    "no time": cookie(claims(iat=...)),
    "a time that is none": cookie(claims(iat="1")),
    "true as time": cookie(claims(iat=True)),
    "too old": cookie(claims(iat=time.time() - 12 * 3600 - 1)),
    "unverified": cookie(claims(email_verified=False)),
    "unverified, as text": cookie(claims(email_verified="false")),
    "verified by a number": cookie(claims(email_verified=0)),
    "no address": cookie(claims(email=...)),
    "an address that is a list": cookie(claims(email=[ANN])),
    "a list": cookie([claims()]),
    "a word": cookie("ann"),
    "chunks without end": cookie("chunks-99999999"),
    "chunks that are not there": create_signed_value(SECRET, NAME, "chunks-3").decode(),
}


@pytest.fixture
def oidc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A sign-in with OpenID Connect: Ann is an operator."""
    for name, value in {**OIDC, "LORA_SETTINGS_FILE": str(tmp_path / "none.toml")}.items():
        monkeypatch.setenv(name, value)
    services.access.cache_clear()
    services.identify_with(current_visitor)
    yield
    services.identify_with(lambda: None)


@pytest.fixture
def ask(oidc: None) -> Callable[..., TestClient]:
    """A browser with these cookies."""

    def ask(value: str = "", **more: str) -> TestClient:
        client = client_at(HOST)
        client.follow_redirects = False
        both = {NAME: value, **more}
        client.headers["Cookie"] = "; ".join(f"{name}={each}" for name, each in both.items() if each)
        return client

    return ask


def test_a_good_cookie_comes_in(ask: Callable[..., TestClient]) -> None:
    assert ask(GOOD).get("/jobs").text == "reached"
    assert ask(GOOD).put("/upload/red/a.png").text == "reached"
    assert reaches_websocket(ask(GOOD), {})


@pytest.mark.parametrize("value", FORGED.values(), ids=FORGED.keys())
def test_a_cookie_that_is_not_ours_or_over_does_not(ask: Callable[..., TestClient], value: str) -> None:
    client = ask(value.replace('"', "%22"))
    assert client.get("/jobs").status_code == 401
    assert client.put("/upload/red/a.png").status_code == 401
    assert not reaches_websocket(client, {})


def test_headers_of_a_proxy_mean_nothing_here(ask: Callable[..., TestClient]) -> None:
    headers = {"X-Forwarded-Email": ANN, "X-Forwarded-User": ANN, "Remote-User": ANN}
    assert ask().get("/jobs", headers=headers).status_code == 401


def test_a_cookie_in_parts_is_put_together() -> None:
    def sign(name: str, value: str) -> bytes:
        return create_signed_value(SECRET, name, value)

    jar: dict[str, str] = {}
    many = claims(groups=[hashlib.sha256(bytes([number])).hexdigest() for number in range(200)] + ["trainers"])
    set_cookie_with_chunks(
        lambda name, value: jar.update({name: sign(name, value).decode()}), sign, NAME, many, cookie_attr_size=80
    )
    assert len(jar) > 1
    found = signed_in(RULES, jar)
    assert found is not None
    assert found.groups[-1] == "trainers"
    first_part = next(name for name in jar if name != NAME)
    assert signed_in(RULES, jar | {first_part: jar[first_part][:-1]}) is None


def test_sessions_are_told_apart_and_end() -> None:
    now = time.time()
    one, other = (identity_from(RULES, claims(iat=now, nonce=nonce)) for nonce in "ab")
    assert one is not None
    assert other is not None
    moment = [now]
    roles = Roles(operators=frozenset({ANN}))
    rules = Access(Settings(sign_in=SignInSettings(way="oidc", oidc=RULES, roles=roles)), clock=lambda: moment[0])
    rules.sign_out(one)
    assert (rules.visitor(one), rules.visitor(other) is None) == (None, False)
    moment[0] = now + RULES.session_s
    assert rules.visitor(other) is None
    assert rules.visitor(Identity(name=ANN)) is not None


@pytest.mark.parametrize("wanted", ["/job?id=a%20b&view=logs", "/jobs", "/datasets?id=%2F%2Fevil.example"])
def test_a_sign_in_leads_back_to_the_page_that_was_wanted(ask: Callable[..., TestClient], wanted: str) -> None:
    answer = ask(GOOD, **{WANTED_COOKIE: quote(wanted, safe="")}).get("/", headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (302, wanted)
    assert f'{WANTED_COOKIE}=""' in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\r\nSet-Cookie: a=b",
        "/\tx",
        "/ /evil.example",
        "/jo\u0301bs",
        "",
        "-",
        "/",
    ],
)
def test_it_leads_nowhere_else(ask: Callable[..., TestClient], wanted: str) -> None:
    answer = ask(GOOD, **{WANTED_COOKIE: quote(wanted, safe="") or "%20"}).get("/", headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (302, "/")


def test_signed_out_a_browser_is_told_so_once(ask: Callable[..., TestClient]) -> None:
    answer = ask(**{WANTED_COOKIE: "-"}).get("/", headers=PAGE)
    assert (answer.status_code, "You are signed out." in answer.text) == (401, True)
    assert f'{WANTED_COOKIE}=""' in answer.headers["set-cookie"]


def test_signing_out_ends_the_session_and_no_foreign_page_does_it(ask: Callable[..., TestClient]) -> None:
    other = {"Sec-Fetch-Site": "cross-site"}
    fresh = cookie(claims(nonce="sign-out"))
    assert ask(fresh).get("/auth/logout", headers=other).status_code == 403
    assert ask(fresh).get("/jobs").status_code == 200
    assert f"{WANTED_COOKIE}=-" in ask(fresh).get("/auth/logout").headers["set-cookie"]
    assert ask(fresh).get("/jobs").status_code == 401
    assert ask(GOOD).get("/jobs").status_code == 200


def test_a_link_that_somebody_without_a_role_can_follow(ask: Callable[..., TestClient]) -> None:
    answer = ask(cookie(claims(email="eve@evil.example"))).get("/jobs", headers=PAGE)
    assert answer.status_code == 403
    assert "<a href='/auth/logout'>Sign in as somebody else</a>" in answer.text
