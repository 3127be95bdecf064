"""Which addresses are safe while nobody signs in, who has which role, and roles that change meanwhile."""

from pathlib import Path

import pytest

from lib.access import NO_ACCESS, ONLY_LOOKING, OPEN_NOTICE, Access, Identity, Role, is_this_machine, require_operator
from lib.errors import NotAllowed, SettingsError
from lib.settings import Settings, load_settings
from lib.sign_in_settings import Roles, SignInSettings
from tests.test_sign_in_settings import PROXY

OPEN = Settings(sign_in=SignInSettings(is_open=True))
ROLES = Roles(operators=frozenset({"ann@corp.example", "group:trainers"}), viewers=frozenset({"@corp.example", "vera"}))
SIGNED_IN = Settings(sign_in=SignInSettings(way="proxy", is_open=True, roles=ROLES))


@pytest.mark.parametrize(
    "address", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "::ffff:127.0.0.1", "unix:///a"]
)
def test_addresses_of_this_machine(address: str) -> None:
    assert is_this_machine(address)
    Access(Settings()).require_safe_address(address)


@pytest.mark.parametrize("address", ["", "0.0.0.0", "::", "10.0.0.7", "gpu.lan", "localhost.evil.example", "fe80::1"])
def test_listening_to_other_machines_must_be_meant(address: str) -> None:
    assert not is_this_machine(address)
    with pytest.raises(SettingsError, match="The dashboard would listen on") as error:
        Access(Settings()).require_safe_address(address)
    assert "LORA_OPEN=1" in error.value.hint
    Access(OPEN).require_safe_address(address)
    Access(SIGNED_IN).require_safe_address(address)


def test_only_an_open_dashboard_without_sign_in_says_so() -> None:
    assert [Access(each).notice for each in (Settings(), OPEN, SIGNED_IN)] == ["", OPEN_NOTICE, ""]


def test_where_nobody_signs_in_everybody_is_an_operator() -> None:
    visitor = Access(Settings()).visitor(None)
    assert visitor is not None
    assert (visitor.name, visitor.role, visitor.refusal) == ("", Role.OPERATOR, "")


@pytest.mark.parametrize(
    ("name", "groups", "role"),
    [
        ("ann@corp.example", (), Role.OPERATOR),
        ("ANN@Corp.Example", (), Role.OPERATOR),
        ("bob@corp.example", (), Role.VIEWER),
        ("bob@corp.example", ("Trainers",), Role.OPERATOR),
        ("vera", (), Role.VIEWER),
        ("eve@evil.example", (), None),
        ("eve@evil.example", ("guests", "trainers "), None),
        ("eve@sub.corp.example", (), None),
        ("eve@corp.example.evil.example", (), None),
        ("ann@corp.example@evil.example", (), None),
        ("@corp.example", (), None),
        ("group:trainers", (), None),
        ("trainers", (), None),
        # U+017F and U+212A fold to "s" and "k": two people, not one.
        ("ann@corp.exa\u017fmple", (), None),
        ("\u0041nn@corp.example\u200b", (), None),
    ],
)
def test_roles(name: str, groups: tuple[str, ...], role: Role | None) -> None:
    visitor = Access(SIGNED_IN).visitor(Identity(name=name, groups=groups))
    assert (visitor.role if visitor else None) == role


def test_only_an_operator_may_act() -> None:
    rules = Access(SIGNED_IN)
    require_operator(rules.visitor(Identity(name="ann@corp.example")))
    with pytest.raises(NotAllowed, match=ONLY_LOOKING):
        require_operator(rules.visitor(Identity(name="vera")))
    with pytest.raises(NotAllowed, match=NO_ACCESS):
        require_operator(rules.visitor(Identity(name="eve")))
    with pytest.raises(NotAllowed, match=NO_ACCESS):
        require_operator(rules.visitor(None))


def test_roles_change_with_the_file_and_a_broken_file_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    for name, value in {**PROXY, "LORA_OPERATORS": "", "LORA_SETTINGS_FILE": str(file)}.items():
        monkeypatch.setenv(name, value)
    file.write_text('LORA_OPERATORS = "ann@corp.example"')
    rules = Access(load_settings())

    def role_now(text: str | None = None) -> Role | None:
        if text is not None:
            (file.parent / "new").write_text(text)
            (file.parent / "new").replace(file)
        visitor = rules.visitor(Identity(name="ann@corp.example"))
        return visitor.role if visitor else None

    assert role_now() is Role.OPERATOR
    assert role_now('LORA_OPERATORS = "x"\nLORA_VIEWERS = "ann@corp.example"') is Role.VIEWER
    assert role_now("LORA_OPERATORS = ") is None
    assert role_now('LORA_OPERATORS = "@corp.example"') is Role.OPERATOR
    file.unlink()
    assert role_now() is None
    # Taking the sign-in away needs a restart: the running dashboard goes on asking.
    monkeypatch.setenv("LORA_ACCESS", "none")
    assert role_now('LORA_SOURCE = "embedded"') is None
    assert rules.signs_in
