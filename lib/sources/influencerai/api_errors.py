"""Turns the API's error responses (six JSON shapes, plain text, HTML) into exceptions with a readable message."""

import json
import re
from collections.abc import Mapping
from typing import Any

from lib.errors import AccessDenied, BadPayload, InvalidRequest, SourceError, SourceUnavailable

LONGEST_SENTENCE = 300
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
TOKEN_LIKE = re.compile(r"eyJ[\w-]{8,}(\.[\w-]*)*|bearer\s+\S+", re.IGNORECASE)


class AnswerTooLarge(BadPayload):
    """The response is too large to keep in memory; asking for fewer rows may help."""


class NotFound(InvalidRequest):
    """It does not exist (404)."""


class Conflict(InvalidRequest):
    """It already exists (409)."""


class ServerFailed(SourceUnavailable):
    """The API itself said that it failed (500) or is overloaded (429).

    Any other 5xx or a 408 is inconclusive: a gateway sends it while the API may still be working on the request.
    """


class NotSent(SourceUnavailable):
    """The API was not reached, or sign-in failed, so nothing can have happened."""


class TooSlow(SourceUnavailable):
    """The response took too long; asking for fewer rows may help."""


def refusal(status: int, body: bytes, content_type: str, *, host: str) -> SourceError:
    """The error for a status of 300 or above."""
    said, fields = explain_body(body, content_type)
    quoted = f": {said}" if said else "."
    if status < 500 and _is_xml(body, content_type):
        return BadPayload(
            f"At {host} an object store answers, not the InfluencerAI API (status {status}){quoted}",
            hint="INFLUENCERAI_API_URL is most likely the address of the store, which belongs into S3_ENDPOINT.",
        )
    if status in (401, 403):
        return AccessDenied(
            f"The InfluencerAI API at {host} does not accept the credentials{quoted}",
            hint="Check INFLUENCERAI_EMAIL and INFLUENCERAI_PASSWORD, or INFLUENCERAI_TOKEN (it lasts 12 hours).",
        )
    if status >= 500 or status in (408, 429):
        failed = {429: ServerFailed, 500: ServerFailed, 408: TooSlow, 504: TooSlow}.get(status, SourceUnavailable)
        return failed(
            f"The InfluencerAI API at {host} failed with status {status}{quoted}", hint="Trying again may help."
        )
    if status < 400:
        return BadPayload(
            f"The InfluencerAI API at {host} answers with a redirect ({status}), which is not followed.",
            hint="Check INFLUENCERAI_API_URL: it should be the final address, http or https included.",
        )
    if fields and not said:
        said = " ".join(f"{name}: {text}." for name, text in fields.items())
    kind = {404: NotFound, 409: Conflict}.get(status, InvalidRequest)
    is_other_path = "html" in content_type.lower() or said.startswith("Cannot ") or status == 405
    return kind(
        f"The InfluencerAI API at {host} refused the request: {said or f'status {status}.'}",
        fields=fields,
        hint="Check INFLUENCERAI_API_URL: nothing of the API answers at this address." if is_other_path else "",
    )


def explain_body(body: bytes, content_type: str) -> tuple[str, dict[str, str]]:
    """The message of an error body (may be empty), and field -> what is wrong with it."""
    try:
        answer = _read_json(body)
    except (ValueError, RecursionError):
        return _plain_sentence(body, content_type), {}
    if not isinstance(answer, Mapping):
        return (_sentence(answer) if isinstance(answer, str) else ""), {}
    fields = _fields(answer.get("fieldErrors")) | _fields(answer.get("errors"))
    return _sentence(answer.get("message") or answer.get("formErrors") or answer.get("error") or ""), fields


def parse_json(body: bytes, content_type: str, *, host: str) -> Any:
    """The JSON of a successful response. Raises BadPayload that says what came instead."""
    try:
        return _read_json(body)
    except (ValueError, RecursionError) as error:
        looks_html = "html" in content_type.lower() or body.lstrip()[:1] == b"<"
        what = "a web page instead of data" if looks_html else "an answer that is cut off or garbled"
        hint = "Check INFLUENCERAI_API_URL: it may be the address of the web pages, or a proxy answers."
        raise BadPayload(
            f"The InfluencerAI API at {host} sent {what}.", hint=hint if looks_html else "Trying again may help."
        ) from error


def _read_json(body: bytes) -> Any:
    """The JSON with "?" for every lone surrogate, which is valid JSON but cannot be encoded as UTF-8."""
    text = body.decode(json.detect_encoding(body), "replace")
    answer = json.loads(text)
    if SURROGATE.search(text):  # may be half of a valid pair, which survives this unchanged
        return json.loads(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
    return answer


def _fields(errors: object) -> dict[str, str]:
    if not isinstance(errors, Mapping):
        return {}
    return {str(name): _sentence(texts).rstrip(".") for name, texts in errors.items()}


def _plain_sentence(body: bytes, content_type: str) -> str:
    text = body[:4096].decode("utf-8", "replace")
    if _is_xml(body, content_type):
        found = re.search(r"<Message>([^<]*)</Message>", text) or re.search(r"<Code>([^<]*)</Code>", text)
        return _sentence(found.group(1)) if found else ""
    return "" if "<" in text else _sentence(text)


def _is_xml(body: bytes, content_type: str) -> bool:
    """Whether it is what an object store says of an error."""
    return content_type.lower().split(";")[0].endswith("/xml") or body.lstrip().startswith(b"<?xml")


def _sentence(said: object) -> str:
    """One line of plain text ending in a full stop, with anything that looks like a token removed."""
    text = "; ".join(str(each) for each in said) if isinstance(said, list) else str(said)
    text = TOKEN_LIKE.sub("…", " ".join("".join(c if c.isprintable() else " " for c in text).split()))
    if len(text) > LONGEST_SENTENCE:
        text = text[:LONGEST_SENTENCE] + "…"
    return text if not text or text[-1] in ".!?…" else f"{text}."
