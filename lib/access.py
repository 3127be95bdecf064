"""Who may do what: the way in that the settings name, and roles. Knows neither Streamlit nor HTTP."""

import ipaddress
import logging
import math
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lib.errors import NotAllowed, SettingsError
from lib.settings import Settings, load_settings, settings_file
from lib.sign_in_settings import OidcSettings, ProxySettings, Roles, folded

log = logging.getLogger(__name__)

GROUP = "group:"
OPEN_NOTICE = "Nobody signs in here: everyone who can reach this address can read, change and delete everything."
NO_ACCESS = "You have no access to this dashboard, or no longer."
ONLY_LOOKING = "You may look at everything here, but change nothing: your role is viewer."


# Who acts while a change is made; empty where nobody signs in, and for what no person does.
acting_as: ContextVar[str] = ContextVar("acting_as", default="")


class Role(StrEnum):
    """What somebody may do: a viewer sees everything and changes nothing."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody whom the sign-in vouches for.

    Attributes:
        name: An e-mail address, or what else the sign-in calls a person.
        groups: The groups that the sign-in puts the person in.
        session: Distinguishes this sign-in from others; empty where sessions are not ours.
        expires_at: Unix seconds when the person must sign in again; None: not for us to say.
    """

    name: str
    groups: tuple[str, ...] = ()
    session: str = ""
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody with a role; the name is empty where nobody signs in."""

    name: str
    role: Role

    @property
    def refusal(self) -> str:
        """Why this visitor may change nothing; empty for an operator."""
        return "" if self.role is Role.OPERATOR else ONLY_LOOKING


class Access:
    """The rules of one running dashboard.

    Args:
        settings: As they were at the start: which way in is used never changes while the dashboard runs.
        file: Where roles may change meanwhile.
        reload: Reads the settings again when that file has changed.
        clock: Unix seconds.
    """

    def __init__(
        self,
        settings: Settings,
        file: Path | None = None,
        reload: Callable[[], Settings] = load_settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings.sign_in
        self._roles = settings.sign_in.roles
        self._file = file or settings_file()
        self._reload = reload
        self._state = self._file_state()
        self._reloading = threading.Lock()
        self._clock = clock
        self._signed_out: dict[str, float] = {}

    @property
    def proxy(self) -> ProxySettings | None:
        """The proxy that signs in, where that is the way in."""
        return self._settings.proxy

    @property
    def oidc(self) -> OidcSettings | None:
        """The provider that signs in, where that is the way in."""
        return self._settings.oidc

    @property
    def signs_in(self) -> bool:
        """Whether people sign in."""
        return self._settings.way != "none"

    @property
    def notice(self) -> str:
        """What every page must say about who may come in; empty when there is nothing to say."""
        return OPEN_NOTICE if self._settings.is_open and not self.signs_in else ""

    def may_listen_on(self, address: str) -> bool:
        """Whether it is safe, or meant, that the dashboard answers under this address of the machine."""
        return self.signs_in or self._settings.is_open or is_this_machine(address)

    def require_safe_address(self, address: str) -> None:
        """Raise SettingsError when the dashboard would listen to other machines though nobody signs in."""
        if not self.may_listen_on(address):
            where = f"the address {address}" if address else "every address of this machine"
            raise SettingsError(
                f"The dashboard would listen on {where}, and whoever reaches it could change and delete everything.",
                hint="Set server.address to localhost, set up a sign-in, or set LORA_OPEN=1 if this is meant.",
            )

    def visitor(self, identity: Identity | None) -> Visitor | None:
        """Who this is by the roles of this moment; None without a role. Where nobody signs in all are operators."""
        if not self.signs_in:
            return Visitor(name="", role=Role.OPERATOR)
        if identity is None or not self.is_signed_in(identity):
            return None
        role = role_of(identity, self._current_roles())
        return Visitor(name=identity.name, role=role) if role else None

    def is_signed_in(self, identity: Identity) -> bool:
        """Whether the session goes on: it is neither too old nor signed out."""
        is_over = identity.expires_at is not None and self._clock() >= identity.expires_at
        return not is_over and identity.session not in self._signed_out

    def sign_out(self, identity: Identity) -> None:
        """End a session for good: a copy of its cookie, or a page left open, is worth nothing from now on."""
        now = self._clock()
        self._signed_out = {each: until for each, until in self._signed_out.items() if until > now}
        self._signed_out[identity.session] = identity.expires_at or math.inf

    def _current_roles(self) -> Roles:
        """The roles; read again when the file has changed, and given to nobody while it cannot be used."""
        if (state := self._file_state()) != self._state:
            with self._reloading:
                try:
                    self._roles = self._reload().sign_in.roles
                except SettingsError as error:
                    log.error("Nobody has access until the settings are right again: %s", error)
                    self._roles = Roles()
                self._state = state
        return self._roles

    def _file_state(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def role_of(identity: Identity, roles: Roles) -> Role | None:
    """The highest role that the settings give; None when they name neither the person, the domain nor a group."""
    name = folded(identity.name)
    if name.startswith(("@", GROUP)):  # it would pass for a whole domain or group
        return None
    names = {name, *(folded(f"{GROUP}{group}") for group in identity.groups)}
    if "@" in name:
        names.add(f"@{name.rpartition('@')[2]}")
    if names & roles.operators:
        return Role.OPERATOR
    return Role.VIEWER if names & roles.viewers else None


def require_operator(visitor: Visitor | None) -> None:
    """Raise NotAllowed for everybody else."""
    if visitor is None:
        raise NotAllowed(NO_ACCESS, hint="Reload the page to sign in again.")
    if visitor.refusal:
        raise NotAllowed(visitor.refusal, hint="Ask whoever runs the dashboard to make you an operator.")


def is_this_machine(address: str) -> bool:
    """Whether nobody but programs of this machine can connect to ``address``: a name, an IP address or a socket."""
    if address == "localhost" or address.startswith(("unix:", "/")):
        return True
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
