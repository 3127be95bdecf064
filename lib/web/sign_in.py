"""Signing in with an OpenID Connect provider: Streamlit's routes and cookies, and what we make of them.

The only module that knows them. They are no promise of Streamlit's: a test signs in with a real provider.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from streamlit.auth_util import encode_provider_token, get_cookie_with_chunks
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from lib.access import Identity
from lib.sign_in_settings import OidcSettings
from lib.ui.parts.links import own_path
from lib.web.routes import NO_STORE, small_page

LOGIN, LOGOUT, CALLBACK = "/auth/login", "/auth/logout", "/oauth2callback"
# The page that somebody wanted before signing in, or SIGNED_OUT.
WANTED_COOKIE = "_lora_wanted"
SIGNED_OUT = "-"
WANTED_S = 600
MAX_WANTED_LENGTH = 1_200  # three times as long in the cookie, which may have 4,096 bytes


def streamlit_secrets(oidc: OidcSettings) -> dict[str, Any]:
    """What Streamlit wants to know in ``[auth]``."""
    return {
        "auth": {
            "redirect_uri": f"{oidc.url}{CALLBACK}",
            "cookie_secret": oidc.cookie_secret,
            "client_id": oidc.client_id,
            "client_secret": oidc.client_secret,
            "server_metadata_url": oidc.metadata_url,
        }
    }


def signed_in(oidc: OidcSettings, cookies: Mapping[str, str]) -> Identity | None:
    """Whom the cookie names, if this dashboard has signed it for this address; the session may be over."""
    return _signed_in(oidc, tuple(each for each in cookies.items() if each[0].startswith(USER_COOKIE_NAME)))


# A page makes a hundred requests with the same cookie, and checking it is most of what the guard costs.
@lru_cache(maxsize=256)
def _signed_in(oidc: OidcSettings, cookies: tuple[tuple[str, str], ...]) -> Identity | None:
    def verified(name: str) -> bytes | None:
        value = dict(cookies).get(name, "")
        return decode_signed_value(oidc.cookie_secret, name, value.encode("latin-1", "replace")) if value else None

    content = get_cookie_with_chunks(verified, USER_COOKIE_NAME)
    try:
        claims = json.loads(content) if content else None
    except ValueError:
        return None
    if not isinstance(claims, dict) or claims.get("is_logged_in") is not True or claims.get("origin") != oidc.origin:
        return None
    return identity_from(oidc, claims)


def identity_from(oidc: OidcSettings, claims: Mapping[str, Any]) -> Identity | None:
    """Whom the claims of an ID token name; None for an address that the provider has not verified."""
    name, issued_at, groups = claims.get("email"), claims.get("iat"), claims.get(oidc.groups_claim)
    # Some providers send a text; not sent: the provider does not say.
    is_verified = claims.get("email_verified", True) in (True, "true")
    if not isinstance(name, str) or not name or not is_verified:
        return None
    if not isinstance(issued_at, int | float) or isinstance(issued_at, bool):
        return None
    key = json.dumps([claims.get("iss"), claims.get("sub"), issued_at, claims.get("nonce")])
    return Identity(
        name=name,
        groups=tuple(each for each in groups if isinstance(each, str)) if isinstance(groups, list) else (),
        session=hashlib.sha256(key.encode()).hexdigest(),
        expires_at=issued_at + oidc.session_s,
    )


def is_sign_in_path(path: str) -> bool:
    """Whether Streamlit signs in or out there."""
    return path in {own_path(each) for each in (LOGIN, LOGOUT, CALLBACK)}


def to_provider(request: HTTPConnection, oidc: OidcSettings) -> Response:
    """Where a page that was opened by nobody leads: to the provider, or to a word why not again."""
    wanted = request.cookies.get(WANTED_COOKIE)
    if wanted is not None and request.scope["path"] == own_path("/"):
        # Streamlit comes back here after a sign-out, and after a sign-in that failed: going on would go round in
        # circles, or sign in again at once.
        sentence = "You are signed out." if wanted == SIGNED_OUT else "The sign-in was not finished."
        response = small_page("Not signed in", sentence, "", 401, links={"Sign in": own_path("/")})
        response.delete_cookie(WANTED_COOKIE, path=own_path("/"))
        return response
    token = quote(encode_provider_token("default"))
    response = RedirectResponse(f"{own_path(LOGIN)}?provider={token}", status_code=302, headers=NO_STORE)
    keep_wanted(response, _address(request), oidc)
    return response


def keep_wanted(response: Response, wanted: str, oidc: OidcSettings) -> None:
    """Remember where to go once somebody has signed in."""
    response.set_cookie(
        WANTED_COOKIE,
        quote(wanted if len(wanted) <= MAX_WANTED_LENGTH else own_path("/"), safe=""),
        max_age=WANTED_S,
        path=own_path("/"),
        secure=oidc.origin.startswith("https:"),
        httponly=True,
        samesite="lax",
    )


def to_wanted(request: HTTPConnection) -> Response | None:
    """Back to the page that was wanted before the sign-in, once; None when there was none."""
    kept = request.cookies.get(WANTED_COOKIE)
    if kept is None or request.scope["path"] != own_path("/"):
        return None
    wanted = unquote(kept)
    # A path of this server and nothing that a browser takes for another one.
    is_ours = re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", wanted) and wanted != own_path("/")
    response: Response = RedirectResponse(wanted if is_ours else own_path("/"), status_code=302, headers=NO_STORE)
    response.delete_cookie(WANTED_COOKIE, path=own_path("/"))
    return response


def _address(request: HTTPConnection) -> str:
    path = request.scope.get("raw_path", b"").decode("latin-1") or quote(request.scope["path"])
    query = request.scope.get("query_string", b"").decode("latin-1")
    return f"{path}?{query}" if query else path
