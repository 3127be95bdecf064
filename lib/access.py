"""Who may do what: the way in that the settings name, and what follows from it. Knows neither Streamlit nor HTTP."""

import ipaddress

from lib.errors import SettingsError
from lib.settings import Settings

OPEN_NOTICE = "Nobody signs in here: everyone who can reach this address can read, change and delete everything."


class Access:
    """The rules of one running dashboard.

    Args:
        settings: As they were at the start: which way in is used never changes while the dashboard runs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def notice(self) -> str:
        """What every page must say about who may come in; empty when there is nothing to say."""
        return OPEN_NOTICE if self._settings.is_open else ""

    def may_listen_on(self, address: str) -> bool:
        """Whether it is safe, or meant, that the dashboard answers under this address of the machine."""
        return self._settings.is_open or is_this_machine(address)

    def require_safe_address(self, address: str) -> None:
        """Raise SettingsError when the dashboard would listen to other machines though nobody signs in."""
        if not self.may_listen_on(address):
            where = f"the address {address}" if address else "every address of this machine"
            raise SettingsError(
                f"The dashboard would listen on {where}, and whoever reaches it could change and delete everything.",
                hint="Set server.address to localhost, or set LORA_OPEN=1 if this is meant.",
            )


def is_this_machine(address: str) -> bool:
    """Whether nobody but programs of this machine can connect to ``address``: a name, an IP address or a socket."""
    if address == "localhost" or address.startswith(("unix:", "/")):
        return True
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
