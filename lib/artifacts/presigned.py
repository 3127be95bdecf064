"""Links that carry their own permission: when they end, which object they mean, how a download is named."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, unquote, urlsplit

from lib.jobs.job import PresignedUrl

LONGEST_LIFE = timedelta(days=7)  # of a SigV4 link; boto3 silently signs longer ones


def frozen_link(url: object, expires_at: datetime | None = None) -> PresignedUrl | None:
    """The link a job carries, if it is one a browser can open; its end is read from it when not given."""
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return None
    except ValueError:
        return None
    return PresignedUrl(url=url, expires_at=expires_at or link_end(url))


def link_end(url: str) -> datetime | None:
    """X-Amz-Date + X-Amz-Expires of a SigV4 link; None when the link does not say."""
    fields = {name.lower(): values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    try:
        signed_at = datetime.strptime(fields["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return signed_at + timedelta(seconds=int(fields["x-amz-expires"]))
    except (KeyError, ValueError, OverflowError):
        return None


def key_in_bucket(url: str, bucket: str) -> str | None:
    """The key of the object a link means, when it lies in ``bucket`` (first part of the path, or of the host)."""
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    if path.startswith(f"{bucket}/"):
        return path.removeprefix(f"{bucket}/") or None
    if (parts.hostname or "").startswith(f"{bucket}.".lower()):
        return path or None
    return None


def content_disposition(filename: str) -> str:
    """``attachment`` with the file's name, whatever letters it has (RFC 6266, RFC 5987)."""
    name = re.sub(r"[\x00-\x1f\x7f/\\]", "_", filename).encode("utf-8", "replace").decode() or "download"
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
