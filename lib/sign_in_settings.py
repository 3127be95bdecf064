"""The settings of who may come in and do what: checked with the others, kept apart because they are many."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, TypeGuard

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from lib.errors import SettingsError

MIN_SECRET_BYTES = 32


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
class SignInSettings:
    """The way in.

    Attributes:
        way: ``none`` or ``proxy``.
        is_open: Whether other machines may connect although nobody signs in.
    """

    way: str = "none"
    is_open: bool = False
    roles: Roles = field(default_factory=Roles)
    proxy: ProxySettings | None = None


def one_line(text: str) -> str:
    """The text if a header may carry it. Raises ValueError."""
    if not text.isprintable() or not text.isascii() or " " in text:
        raise ValueError("contains spaces, line breaks or characters that no header may carry")
    return text


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
HeaderName = Annotated[str, AfterValidator(_header_name)]


class SignInGiven(BaseModel):
    """The settings by the names that people write; all but the first two mean nothing where nobody signs in."""

    LORA_ACCESS: Annotated[Literal["none", "proxy"], BeforeValidator(lowered)] = "none"
    LORA_OPEN: bool = False
    LORA_OPERATORS: Names = Field(default=[])
    LORA_VIEWERS: Names = Field(default=[])
    LORA_PROXY_USER_HEADER: HeaderName = ""
    LORA_PROXY_GROUPS_HEADER: HeaderName = ""
    LORA_PROXY_SECRET: Secret = ""
    LORA_PROXY_ADDRESSES: Networks = Field(default=[])


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
    )


def wants_sign_in(names: Mapping[str, object]) -> bool:
    """Whether these settings, right or wrong, are an attempt to let people sign in."""
    return any(name in names for name in SignInGiven.model_fields if name != "LORA_OPEN")


def _refuse_leftovers(origins: Mapping[str, str]) -> None:
    """Whoever names roles or a proxy believes that people must sign in."""
    for name in SignInGiven.model_fields:
        if name in origins and name not in ("LORA_ACCESS", "LORA_OPEN"):
            raise SettingsError(
                f"{name} is set (read from {origins[name]}), but LORA_ACCESS is not, so nobody would have to sign in.",
                hint='Set LORA_ACCESS to "proxy", or remove the setting.',
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
