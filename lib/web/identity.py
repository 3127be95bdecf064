"""Who asks: what a request's headers say about the person, and what of that may be believed."""

import hmac
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from ipaddress import ip_address

import streamlit as st
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope
from streamlit.runtime.scriptrunner import get_script_run_ctx

from lib import services
from lib.access import Access, Identity, Visitor
from lib.sign_in_settings import ProxySettings
from lib.web.sign_in import signed_in

PROXY_SECRET_HEADER = "X-Lora-Proxy-Secret"
MAX_NAME_LENGTH = 254
# All values of one header, in their order.
Values = Callable[[str], Sequence[str]]

# The visitor of the request that is being answered; the guard sets it.
asking: ContextVar[Visitor | None] = ContextVar("asking", default=None)


def current_visitor() -> Visitor | None:
    """Who is behind what runs now: a page's script, or one of our routes. The role is that of this moment."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return asking.get()
    rules = services.access()
    if rules.oidc:
        return rules.visitor(signed_in(rules.oidc, st.context.cookies))
    return rules.visitor(identify(rules, st.context.headers.get_all, st.context.ip_address or ""))


def identity_of(rules: Access, scope: Scope) -> Identity | None:
    """Whom a request comes from; None when nobody is signed in, or what it says cannot be believed."""
    if rules.oidc:
        return signed_in(rules.oidc, HTTPConnection(scope).cookies)
    client = scope.get("client")
    return identify(rules, Headers(scope=scope).getlist, str(client[0]) if client else "")


def identify(rules: Access, values: Values, peer: str) -> Identity | None:
    """Whom the headers of the proxy name.

    Args:
        peer: The address that the connection comes from.
    """
    proxy = rules.proxy
    if proxy is None or not comes_from_proxy(proxy, values, peer):
        return None
    names = values(proxy.user_header)
    groups = values(proxy.groups_header) if proxy.groups_header else ()
    # Twice is once too often: one of them is not the proxy's.
    if len(names) != 1 or len(groups) > 1 or not _is_name(names[0].strip()):
        return None
    return Identity(name=names[0].strip(), groups=_split(groups[0]) if groups else ())


def comes_from_proxy(proxy: ProxySettings, values: Values, peer: str) -> bool:
    """Whether the request went through the proxy: its secret and its address, as far as each is set, are right."""
    if proxy.secret:
        given = values(PROXY_SECRET_HEADER)
        if len(given) != 1 or not hmac.compare_digest(given[0].encode(), proxy.secret.encode()):
            return False
    return not proxy.addresses or _is_address_of(proxy, values, peer)


def _is_address_of(proxy: ProxySettings, values: Values, peer: str) -> bool:
    """Whether the connection itself comes from the proxy.

    The server believes X-Forwarded-For when it comes from this machine, and puts what it says in the peer's place: a
    peer that this header names may be made up.
    """
    if any(peer in value for value in values("X-Forwarded-For")):
        return False
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in proxy.addresses)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME_LENGTH and text.isprintable() and not any(char in " ,;\"'<>" for char in text)


def _split(text: str) -> tuple[str, ...]:
    return tuple(group for group in map(str.strip, text.split(",")) if group)
