"""Settings of a sign-in: complete or refused, and never quoting a secret."""

from pathlib import Path

import pytest

from lib.errors import SettingsError
from lib.settings import is_sign_in_wanted, load_settings, settings_file

SECRET = "0123456789-0123456789-0123456789"
PROXY = {
    "LORA_ACCESS": "proxy",
    "LORA_OPERATORS": "Ann@Corp.Example, @gpu.example\ngroup:Trainers",
    "LORA_PROXY_USER_HEADER": "X-Forwarded-Email",
    "LORA_PROXY_SECRET": SECRET,
}

COOKIE_SECRET, CLIENT_SECRET = "Vq8x-0f3kJd72Lm5-Zp9RtY1wXc6Bn4s", "client-secret-that-must-not-show"
OIDC = {
    "LORA_ACCESS": "oidc",
    "LORA_OPERATORS": "ann@corp.example",
    "LORA_URL": "http://localhost:8501",
    "LORA_OIDC_METADATA_URL": "https://id.example/.well-known/openid-configuration",
    "LORA_OIDC_CLIENT_ID": "lora",
    "LORA_OIDC_CLIENT_SECRET": CLIENT_SECRET,
    "LORA_COOKIE_SECRET": COOKIE_SECRET,
}


@pytest.fixture
def no_file(tmp_path: Path) -> Path:
    return tmp_path / "secrets.toml"


def test_a_proxy_that_signs_in(no_file: Path) -> None:
    found = load_settings(PROXY | {"LORA_PROXY_ADDRESSES": "10.0.0.2 10.1.0.0/16"}, no_file).sign_in
    assert found.proxy is not None
    assert found.roles.operators == {"ann@corp.example", "@gpu.example", "group:trainers"}
    assert [str(each) for each in found.proxy.addresses] == ["10.0.0.2/32", "10.1.0.0/16"]
    assert (found.way, found.proxy.secret) == ("proxy", SECRET)
    assert SECRET not in repr(found)


def test_roles_may_be_lists_in_the_file(no_file: Path) -> None:
    no_file.write_text('LORA_VIEWERS = ["Vera@corp.example", "group:guests"]\n')
    roles = load_settings(PROXY, no_file).sign_in.roles
    assert roles.viewers == {"vera@corp.example", "group:guests"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"LORA_ACCESS": "maybe"}, "LORA_ACCESS is wrong"),
        ({"LORA_ACCESS": ""}, "is set (read from the environment), but LORA_ACCESS is not"),
        ({"LORA_ACCESS": "none"}, "is set (read from the environment), but LORA_ACCESS is not"),
        ({"LORA_OPERATORS": ""}, "LORA_OPERATORS is missing"),
        ({"LORA_OPERATORS": " , "}, "LORA_OPERATORS is missing"),
        ({"LORA_PROXY_USER_HEADER": ""}, "LORA_PROXY_USER_HEADER is missing"),
        ({"LORA_PROXY_USER_HEADER": "X Forwarded"}, "LORA_PROXY_USER_HEADER is not the name of a header"),
        ({"LORA_PROXY_SECRET": ""}, "LORA_PROXY_SECRET is missing"),
        ({"LORA_PROXY_SECRET": SECRET[1:]}, "LORA_PROXY_SECRET is shorter than 32 characters"),
        ({"LORA_PROXY_SECRET": f"{SECRET} {SECRET}"}, "LORA_PROXY_SECRET contains spaces"),
        ({"LORA_PROXY_ADDRESSES": "proxy.lan"}, "LORA_PROXY_ADDRESSES has something that is not an IP address"),
        ({"LORA_PROXY_ADDRESSES": "127.0.0.1"}, "includes this machine"),
        ({"LORA_PROXY_ADDRESSES": "10.0.0.2, ::1"}, "includes this machine"),
        ({"LORA_PROXY_ADDRESSES": "0.0.0.0/0"}, "includes this machine"),
    ],
)
def test_what_would_let_the_wrong_people_in_is_refused(no_file: Path, change: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(PROXY | change, no_file)
    assert words in str(caught.value)
    assert SECRET[1:] not in f"{caught.value} {caught.value.hint}"


def test_a_provider(no_file: Path) -> None:
    found = load_settings(
        OIDC | {"LORA_URL": "https://GPU.Example/lora/", "LORA_SESSION_HOURS": "1.5"}, no_file
    ).sign_in
    assert found.oidc is not None
    assert (found.oidc.url, found.oidc.origin) == ("https://gpu.example/lora", "https://gpu.example")
    assert (found.oidc.session_s, found.oidc.groups_claim, found.oidc.cookie_secret) == (5400, "groups", COOKIE_SECRET)
    assert COOKIE_SECRET not in repr(found)
    assert CLIENT_SECRET not in repr(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *(({name: ""}, f"{name} is missing") for name in OIDC if name != "LORA_ACCESS"),
        ({"LORA_URL": "http://gpu.example"}, "LORA_URL must begin with https://"),
        ({"LORA_OIDC_METADATA_URL": "http://id.example"}, "LORA_OIDC_METADATA_URL must begin with https://"),
        ({"LORA_URL": "gpu.example"}, "LORA_URL is not a web address"),
        ({"LORA_COOKIE_SECRET": COOKIE_SECRET[1:]}, "LORA_COOKIE_SECRET is shorter than 32 characters"),
        ({"LORA_COOKIE_SECRET": "abcabc" * 8}, "LORA_COOKIE_SECRET is not random"),
        ({"LORA_SESSION_HOURS": "0"}, "LORA_SESSION_HOURS is wrong"),
        ({"LORA_SESSION_HOURS": "nan"}, "LORA_SESSION_HOURS is wrong"),
        ({"LORA_SESSION_HOURS": "inf"}, "LORA_SESSION_HOURS is wrong"),
        ({"LORA_ACCESS": "none"}, "LORA_OPERATORS is set (read from the environment), but LORA_ACCESS is not"),
    ],
)
def test_a_provider_that_is_not_complete_or_not_safe(no_file: Path, change: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(OIDC | change, no_file)
    assert words in str(caught.value)
    assert COOKIE_SECRET[1:] not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("name", ["LORA_ACCESS", "LORA_OPERATORS", "LORA_VIEWERS", "LORA_PROXY_SECRET"])
def test_any_of_these_says_that_people_should_sign_in(tmp_path: Path, name: str) -> None:
    nothing = {"LORA_SETTINGS_FILE": str(tmp_path / "none.toml")}
    assert not is_sign_in_wanted(nothing | {"LORA_OPEN": "1", "LORA_SOURCE": "?"})
    assert is_sign_in_wanted(nothing | {name: "?"})


def test_a_file_that_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("LORA_ACCESS = ")
    assert is_sign_in_wanted({"LORA_SETTINGS_FILE": str(broken)})


def test_the_file_of_settings_can_be_another_one(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.toml"
    file.write_text("LORA_MAX_PARALLEL = 7")
    assert settings_file({"LORA_SETTINGS_FILE": str(file)}) == file
    assert load_settings({"LORA_SETTINGS_FILE": str(file)}).max_parallel == 7
