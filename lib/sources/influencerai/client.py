"""HTTP client for the InfluencerAI API: pooled, limited in time and size, signs in by itself."""

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError
from urllib3.util import Retry

from lib.embedded.header_deadline import BoundedAdapter
from lib.errors import AccessDenied, BadPayload, SourceError, SourceUnavailable
from lib.jobs.words import size_text
from lib.settings import InfluencerSettings
from lib.sources.influencerai.api_errors import AnswerTooLarge, NotFound, NotSent, TooSlow, parse_json, refusal

MIB = 1 << 20
CHUNK_BYTES = 1 << 16
PAGE_ROWS = 100
MOST_PAGES = 100
CERTIFICATE_HINT = (
    "Let the deployment use a certificate that this machine trusts, or name its CA in REQUESTS_CA_BUNDLE."
)
LONGEST_ID = 100  # the API answers "Cannot GET …" for longer path parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on the duration and size of a response.

    Attributes:
        connect_s, read_s: Silence after which a call fails.
        total_s: The most that the headers, and the whole response, may take however steadily bytes arrive.
        list_bytes, one_bytes: The largest response with many rows, and with one.
        retries: Extra attempts for calls that change nothing.
        rejected_s: How long a rejected sign-in is not repeated.
    """

    connect_s: float = 3.0
    read_s: float = 8.0
    total_s: float = 20.0
    list_bytes: int = 24 * MIB
    one_bytes: int = 16 * MIB
    retries: int = 1
    rejected_s: float = 10.0


class _Bearer(AuthBase):
    """Sets the Authorization header, so that a .netrc file on this machine cannot."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful response: its JSON, and the ``x-total-count`` header if present."""

    data: Any
    total: int | None = None


class InfluencerClient:
    """One deployment. Safe to use from several threads."""

    def __init__(
        self,
        settings: InfluencerSettings,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._limits = limits or Limits()
        self._clock = clock
        parts = urlsplit(settings.api_url)
        self.host = f"{parts.hostname}:{parts.port}" if parts.port else f"{parts.hostname}"
        self._token = settings.token
        self._sign_in_lock = threading.Lock()
        self._rejected: tuple[float, SourceError] | None = None
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            retry = _retry(self._limits.retries)
            self._session.mount(scheme, BoundedAdapter(self._limits.total_s, pool_maxsize=16, max_retries=retry))

    def __repr__(self) -> str:
        return f"InfluencerClient({self.host})"

    @property
    def tenant(self) -> str | None:
        """Whose jobs are shown, as the token says; None for everybody's, and before the first call."""
        return None if self._settings.all_tenants else _tenant_of(self._token)

    def is_ours(self, tenant: str | None) -> bool:
        """Whether a row of this tenant is shown: the API itself gives away the jobs of all."""
        return tenant is None or self.tenant in (None, tenant)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get_list(self, path: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """GET many rows. Raises AnswerTooLarge when asking for fewer may help."""
        return self._call("GET", path, params=params, most_bytes=self._limits.list_bytes)

    def get_all(self, path: str) -> list[Mapping[str, Any]]:
        """Every row of a list, each id once."""
        rows: dict[str, Mapping[str, Any]] = {}
        skip = 0
        for _ in range(MOST_PAGES):
            answer = self.get_list(path, {"take": PAGE_ROWS, "skip": skip})
            found = answer.data.get("data") if isinstance(answer.data, Mapping) else answer.data
            if not isinstance(found, list):
                raise BadPayload(f"The InfluencerAI API at {self.host} sent something other than a list.")
            rows.update({str(row.get("id")): row for row in found if isinstance(row, Mapping)})
            skip += len(found)
            if not found or (len(found) < PAGE_ROWS if answer.total is None else skip >= answer.total):
                break
        return list(rows.values())

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """GET one object."""
        return self._call("GET", path, params=params, most_bytes=self._limits.one_bytes).data

    def get_public(self, path: str) -> Any:
        """GET without a token."""
        return self._answer(*self._exchange("GET", path, "", MIB, None, None)).data

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST, PATCH or DELETE, sent at most once. Raises NotSent when it certainly had no effect."""
        return self._call(method, path, body=body, most_bytes=self._limits.one_bytes).data

    def _call(
        self,
        method: str,
        path: str,
        *,
        most_bytes: int,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        token = self._token or self._sign_in(known="")
        status, headers, content = self._exchange(method, path, token, most_bytes, params, body)
        if status == 401:
            token = self._sign_in(known=token)
            status, headers, content = self._exchange(method, path, token, most_bytes, params, body)
        return self._answer(status, headers, content)

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes) -> Answer:
        kind = headers.get("content-type", "")
        if not 200 <= status < 300:
            raise refusal(status, content, kind, host=self.host)
        total = headers.get("x-total-count", "")
        return Answer(parse_json(content, kind, host=self.host), int(total) if total.isdecimal() else None)

    def _sign_in(self, *, known: str) -> str:
        """A token other than ``known``, which was refused. Threads that need one at the same time share one sign-in."""
        with self._sign_in_lock:
            if self._token == known:
                try:
                    self._token = self._fresh_token()
                except SourceUnavailable as error:
                    raise NotSent(str(error), hint=error.hint) from error
            return self._token

    def _fresh_token(self) -> str:
        if self._rejected and self._clock() < self._rejected[0]:
            raise self._rejected[1].with_traceback(None)
        if not (self._settings.email and self._settings.password):
            raise AccessDenied(
                f"The InfluencerAI API at {self.host} does not accept INFLUENCERAI_TOKEN.",
                hint="It lasts 12 hours. With INFLUENCERAI_EMAIL and INFLUENCERAI_PASSWORD no token is needed.",
            )
        credentials = {"email": self._settings.email, "password": self._settings.password}
        status, headers, content = self._exchange("POST", "/auth/login", "", MIB, None, credentials)
        kind = headers.get("content-type", "")
        if not 200 <= status < 300:
            error = refusal(status, content, kind, host=self.host)
            if isinstance(error, NotFound):  # of the sign-in, not of what was asked for
                error = BadPayload(str(error), hint=error.hint)
            self._rejected = (self._clock() + self._limits.rejected_s, error)
            raise error
        answer = parse_json(content, kind, host=self.host)
        token = answer.get("access_token") if isinstance(answer, Mapping) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise BadPayload(f"The InfluencerAI API at {self.host} returned no token at sign-in.")
        return token

    def _exchange(
        self,
        method: str,
        path: str,
        token: str,
        most_bytes: int,
        params: Mapping[str, str | int] | None,
        body: Mapping[str, Any] | None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        deadline = self._clock() + self._limits.total_s
        try:
            with self._session.request(
                method,
                self._settings.api_url + path,
                params=params,
                json=body,
                auth=_Bearer(token),
                headers={"Accept": "application/json"},
                timeout=(self._limits.connect_s, self._limits.read_s),
                stream=True,
                allow_redirects=False,
            ) as response:
                return response.status_code, response.headers, self._read(response, deadline, most_bytes)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _read(self, response: requests.Response, deadline: float, most_bytes: int) -> bytes:
        """Read the body piece by piece, so that one that is too slow or too large is noticed."""
        content = bytearray()
        while piece := response.raw.read1(CHUNK_BYTES, decode_content=True):
            content += piece
            if len(content) > most_bytes:
                raise AnswerTooLarge(
                    f"The InfluencerAI API at {self.host} sent more than {size_text(most_bytes)} in one answer."
                )
            if self._clock() > deadline:
                raise requests.ReadTimeout("the response arrives too slowly")
        expected = response.headers.get("content-length", "")
        if "content-encoding" not in response.headers and expected.isdecimal() and len(content) < int(expected):
            raise requests.ConnectionError("the answer was cut off")
        return bytes(content)

    def _unreachable(self, error: Exception) -> SourceUnavailable:
        kind: type[SourceUnavailable] = SourceUnavailable
        hint = "Is the deployment running, and is INFLUENCERAI_API_URL right? The dashboard keeps trying."
        if isinstance(error, requests.ConnectTimeout):
            what = "does not answer"
        elif isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
            kind, what = TooSlow, "takes too long to answer"
        elif isinstance(error, requests.exceptions.SSLError):
            is_certificate = "certificate" in str(error).lower()
            what = "has a certificate that is not trusted" if is_certificate else "does not speak https"
            hint = CERTIFICATE_HINT if is_certificate else "Does INFLUENCERAI_API_URL have to begin with http://?"
        elif "refused" in str(error).lower():
            what = "cannot be reached: the connection was refused"
        elif "resolve" in str(error).lower():
            what = "cannot be reached: its name is not known"
        else:
            what = "broke the connection"
        if _never_connected(error):
            kind = NotSent
        return kind(f"The InfluencerAI API at {self.host} {what}.", hint=hint)


def path_of(*parts: str) -> str:
    """Join quoted parts: ``/jobs/a%2Fb``. Raises NotFound for an id that would lead to another path."""
    if any(part in ("", ".", "..") for part in parts):
        raise NotFound("Nothing has this id.")
    return "".join(f"/{quote(part, safe='', errors='replace')}" for part in parts)


def _tenant_of(token: str) -> str | None:
    """The tenant in a JWT. It is not verified: that is the API's business, and nothing but a filter depends on it."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):
        return None
    tenant = claims.get("tenantId") if isinstance(claims, Mapping) else None
    return tenant if isinstance(tenant, str) and tenant else None


def _never_connected(error: Exception) -> bool:
    """Whether no connection was made, so nothing was sent. After any other error something may have been."""
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _retry(count: int) -> Retry:
    return Retry(
        total=count,
        backoff_factor=0.2,
        status_forcelist={500, 502, 503, 504},
        allowed_methods={"GET", "HEAD"},
        raise_on_status=False,
        respect_retry_after_header=False,
    )
