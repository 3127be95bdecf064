"""The settings of who may come in and do what: checked with the others, kept apart because they are many."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, TypeGuard
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from lib.errors import SettingsError

MIN_SECRET_BYTES = 32
MIN_DIFFERENT_CHARACTERS = 10
DEFAULT_SESSION_HOURS = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who has which role: folded names, ``@domain`` for all of a domain, ``group:name`` for all of a group."""

    operators: frozenset[str] = frozenset()
    viewers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """A proxy that signs people in: the headers it sets, and how its requests are told from anybody else's.

    Attributes:
        secret: What the proxy sends in ``X-Lora-Proxy-Secret``; empty when its address is enough.
        addresses: Where the proxy's connections may come from; empty when its secret is enough.
    """

    user_header: str
    groups_header: str = ""
    secret: str = field(default="", repr=False)
    addresses: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """An OpenID Connect provider.

    Attributes:
        url: Where people open the dashboard, with the base path if there is one.
        metadata_url: The provider's ``…/.well-known/openid-configuration``.
        groups_claim: What the provider calls a person's groups.
        cookie_secret: Signs the cookies that keep people signed in.
        session_s: Seconds after which people sign in again.
    """

    url: str
    metadata_url: str
    client_id: str
    client_secret: str = field(repr=False)
    cookie_secret: str = field(repr=False)
    groups_claim: str = "groups"
    session_s: float = 3600 * DEFAULT_SESSION_HOURS

    @property
    def origin(self) -> str:
        """Scheme and host of the address."""
        return urlunsplit(urlsplit(self.url)._replace(path=""))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInSettings:
    """The way in.

    Attributes:
        way: ``none``, ``proxy`` or ``oidc``.
        is_open: Whether other machines may connect although nobody signs in.
    """

    way: str = "none"
    is_open: bool = False
    roles: Roles = field(default_factory=Roles)
    proxy: ProxySettings | None = None
    oidc: OidcSettings | None = None


def one_line(text: str) -> str:
    """The text if a header may carry it. Raises ValueError."""
    if not text.isprintable() or not text.isascii() or " " in text:
        raise ValueError("contains spaces, line breaks or characters that no header may carry")
    return text


def http_address(text: str) -> str:
    """The address without a slash at its end. Raises ValueError."""
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("is not a web address; it should look like https://host:port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise ValueError("is not a web address; it should look like https://host:port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("contains a user name or password; set those with their own settings")
    if parts.query or parts.fragment:
        raise ValueError("has a query or fragment (? or #); leave it out")
    return text.rstrip("/")


def _safe_address(text: str) -> str:
    """An address that nobody on the way can read or change: https, or this machine."""
    parts = urlsplit(http_address(text))
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("must begin with https://, or cookies and tokens could be read on their way")
    return urlunsplit(parts._replace(netloc=parts.netloc.lower()))


def lowered(text: object) -> object:
    """The word as it is compared."""
    return text.strip().lower() if isinstance(text, str) else text


def folded(name: str) -> str:
    """A name as it is compared: case counts for nothing in ASCII. Beyond it, folding makes different names the same."""
    return name.lower() if name.isascii() else name


def _entries(given: object) -> object:
    """A TOML list, or one text with commas or spaces between the entries."""
    entries = re.split(r"[\s,]+", given) if isinstance(given, str) else given
    return [folded(entry) for entry in entries if entry] if _are_texts(entries) else given


def _are_texts(entries: object) -> TypeGuard[list[str]]:
    return isinstance(entries, list) and all(isinstance(entry, str) for entry in entries)


def _network(text: str) -> str:
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError("has something that is not an IP address or network") from None
    if network.overlaps(ip_network("127.0.0.0/8" if network.version == 4 else "::1/128")):
        raise ValueError("includes this machine, where every program could pose as the proxy; set LORA_PROXY_SECRET")
    return text


def _random_secret(text: str) -> str:
    if text and len(set(text)) < MIN_DIFFERENT_CHARACTERS:
        raise ValueError("is not random; make one with `openssl rand -base64 32`")
    return _long_secret(text)


def _long_secret(text: str) -> str:
    if text and len(text) < MIN_SECRET_BYTES:
        raise ValueError(f"is shorter than {MIN_SECRET_BYTES} characters; make one with `openssl rand -base64 32`")
    return text


def _header_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{0,80}", text):
        raise ValueError("is not the name of a header (letters, digits and hyphens)")
    return text


Names = Annotated[list[str], BeforeValidator(_entries)]
Networks = Annotated[list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_entries)]
Secret = Annotated[str, AfterValidator(one_line), AfterValidator(_long_secret)]
SafeAddress = Annotated[str, AfterValidator(_safe_address)]
HeaderName = Annotated[str, AfterValidator(_header_name)]


class SignInGiven(BaseModel):
    """The settings by the names that people write; all but the first two mean nothing where nobody signs in."""

    LORA_ACCESS: Annotated[Literal["none", "proxy", "oidc"], BeforeValidator(lowered)] = "none"
    LORA_OPEN: bool = False
    LORA_OPERATORS: Names = Field(default=[])
    LORA_VIEWERS: Names = Field(default=[])
    LORA_PROXY_USER_HEADER: HeaderName = ""
    LORA_PROXY_GROUPS_HEADER: HeaderName = ""
    LORA_PROXY_SECRET: Secret = ""
    LORA_PROXY_ADDRESSES: Networks = Field(default=[])
    LORA_URL: SafeAddress = ""
    LORA_OIDC_METADATA_URL: SafeAddress = ""
    LORA_OIDC_CLIENT_ID: str = ""
    LORA_OIDC_CLIENT_SECRET: str = ""
    LORA_OIDC_GROUPS_CLAIM: str = "groups"
    LORA_COOKIE_SECRET: Annotated[str, AfterValidator(one_line), AfterValidator(_random_secret)] = ""
    LORA_SESSION_HOURS: float = Field(default=DEFAULT_SESSION_HOURS, gt=0, le=24 * 30)


def sign_in_settings(given: SignInGiven, origins: Mapping[str, str]) -> SignInSettings:
    """The way in that was asked for. Raises SettingsError when it is not complete, or would let nobody act."""
    if given.LORA_ACCESS == "none":
        _refuse_leftovers(origins)
    elif not given.LORA_OPERATORS:
        raise SettingsError(
            "LORA_OPERATORS is missing, so nobody could change anything.",
            hint="Name at least one e-mail address, @domain or group:name.",
        )
    return SignInSettings(
        way=given.LORA_ACCESS,
        is_open=given.LORA_OPEN,
        roles=Roles(operators=frozenset(given.LORA_OPERATORS), viewers=frozenset(given.LORA_VIEWERS)),
        proxy=_proxy(given) if given.LORA_ACCESS == "proxy" else None,
        oidc=_oidc(given) if given.LORA_ACCESS == "oidc" else None,
    )


def wants_sign_in(names: Mapping[str, object]) -> bool:
    """Whether these settings, right or wrong, are an attempt to let people sign in."""
    return any(name in names for name in SignInGiven.model_fields if name != "LORA_OPEN")


def _refuse_leftovers(origins: Mapping[str, str]) -> None:
    """Whoever names roles or a proxy believes that people must sign in."""
    for name in SignInGiven.model_fields:
        is_for_notifications = name == "LORA_URL" and "LORA_NOTIFY_URLS" in origins
        if name in origins and name not in ("LORA_ACCESS", "LORA_OPEN") and not is_for_notifications:
            raise SettingsError(
                f"{name} is set (read from {origins[name]}), but LORA_ACCESS is not, so nobody would have to sign in.",
                hint='Set LORA_ACCESS to "proxy" or "oidc", or remove the setting.',
            )


def _proxy(given: SignInGiven) -> ProxySettings:
    if not given.LORA_PROXY_USER_HEADER:
        raise SettingsError(
            "LORA_PROXY_USER_HEADER is missing, so the dashboard cannot tell who is signed in.",
            hint="Set it to the header in which the proxy says so, such as X-Forwarded-Email.",
        )
    if not given.LORA_PROXY_SECRET and not given.LORA_PROXY_ADDRESSES:
        raise SettingsError(
            "LORA_PROXY_SECRET is missing, so anyone who reaches the dashboard could pose as the proxy.",
            hint="Let the proxy send it in X-Lora-Proxy-Secret, or name the proxy's LORA_PROXY_ADDRESSES.",
        )
    return ProxySettings(
        user_header=given.LORA_PROXY_USER_HEADER,
        groups_header=given.LORA_PROXY_GROUPS_HEADER,
        secret=given.LORA_PROXY_SECRET,
        addresses=tuple(map(ip_network, given.LORA_PROXY_ADDRESSES)),
    )


def _oidc(given: SignInGiven) -> OidcSettings:
    for name, what in (
        ("LORA_URL", "the address under which people open the dashboard"),
        ("LORA_OIDC_METADATA_URL", "the provider's …/.well-known/openid-configuration"),
        ("LORA_OIDC_CLIENT_ID", "what the provider calls this dashboard"),
        ("LORA_OIDC_CLIENT_SECRET", "what the provider gave for it"),
        ("LORA_COOKIE_SECRET", "the output of `openssl rand -base64 32`"),
    ):
        if not getattr(given, name):
            raise SettingsError(f"{name} is missing, so nobody could sign in.", hint=f"Set it to {what}.")
    if find_spec("authlib") is None:
        raise SettingsError(
            'LORA_ACCESS is "oidc", but the package Authlib is not installed.',
            hint="Start the dashboard with `uv run --no-dev --extra oidc streamlit run Home.py`.",
        )
    return OidcSettings(
        url=given.LORA_URL,
        metadata_url=given.LORA_OIDC_METADATA_URL,
        client_id=given.LORA_OIDC_CLIENT_ID,
        client_secret=given.LORA_OIDC_CLIENT_SECRET,
        cookie_secret=given.LORA_COOKIE_SECRET,
        groups_claim=given.LORA_OIDC_GROUPS_CLAIM,
        session_s=3600 * given.LORA_SESSION_HOURS,
    )
