"""Which addresses are safe while nobody signs in."""

import pytest

from lib.access import OPEN_NOTICE, Access, is_this_machine
from lib.errors import SettingsError
from lib.settings import Settings


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
    Access(Settings(is_open=True)).require_safe_address(address)


def test_only_an_open_dashboard_says_so() -> None:
    assert (Access(Settings()).notice, Access(Settings(is_open=True)).notice) == ("", OPEN_NOTICE)
