"""Artifacts in an S3-compatible store: sign, measure, list, upload, delete. The only user of boto3."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from lib.artifacts.presigned import LONGEST_LIFE, content_disposition
from lib.artifacts.ranges import whole_size
from lib.errors import ArtifactError
from lib.jobs.job import PresignedUrl
from lib.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LINK_LIFE = timedelta(minutes=10)
CHECK_TIMEOUT_S = 2.5
MOST_LISTED = 10_000
RANGE_DEADLINE_S = 60
SETTINGS_HINT = "Check S3_ENDPOINT, S3_KEY, S3_SECRET, S3_BUCKET and AWS_REGION."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patience:
    """How long the store may be silent, in seconds, and how often it is tried."""

    connect_s: float = 3
    read_s: float = 15
    tries: int = 2


USUAL = _Patience()
# While a page is waiting.
LOOKING = _Patience(read_s=6, tries=1)
# Some stores compute a checksum of the whole object before they answer for the first time.
RANGES = _Patience(tries=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object of the store."""

    key: str
    size_bytes: int
    modified_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRange:
    """Some bytes of an object, and what they are a part of."""

    data: bytes
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCheck:
    """Whether the store answers with these settings, in words, and how fast."""

    ok: bool
    message: str
    latency_ms: float


class ObjectStore:
    """One bucket. Safe to use from several threads; opens its connections at the first call."""

    def __init__(
        self,
        settings: S3Settings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        most_listed: int = MOST_LISTED,
    ) -> None:
        self._settings = settings
        self._most_listed = most_listed
        self._now = now
        self._lock = threading.Lock()
        self._opened: dict[_Patience, S3Client] = {}

    def __repr__(self) -> str:
        return f"ObjectStore({self.address})"

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self._settings.bucket

    @property
    def address(self) -> str:
        """Where the files are, in words."""
        return f"{self._settings.endpoint or 'AWS S3'}, bucket {self.bucket}"

    def sign(self, key: str, filename: str, expires_in: timedelta = LINK_LIFE) -> PresignedUrl:
        """A fresh link that downloads the object under ``filename``. Raises ArtifactError over 7 days."""
        if not timedelta(0) < expires_in <= LONGEST_LIFE:
            raise ArtifactError(f"A link cannot live for {expires_in}: the limit is 7 days.")
        with self._explained():
            signed_at = self._now()
            url = self._client().generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.bucket,
                    "Key": key,
                    "ResponseContentDisposition": content_disposition(filename),
                },
                ExpiresIn=int(expires_in.total_seconds()),
            )
        return PresignedUrl(url=url, expires_at=signed_at + expires_in)

    def sign_upload(self, key: str, expires_in: timedelta) -> str:
        """A link to write one object with a PUT: a bearer secret. Raises ArtifactError over 7 days."""
        if not timedelta(0) < expires_in <= LONGEST_LIFE:
            raise ArtifactError(f"A link cannot live for {expires_in}: the limit is 7 days.")
        with self._explained():
            return self._client().generate_presigned_url(
                "put_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=int(expires_in.total_seconds())
            )

    def head(self, key: str) -> int:
        """The object's size in bytes. Raises ArtifactError when it is not there."""
        with self._explained():
            return int(self._client(LOOKING).head_object(Bucket=self.bucket, Key=key)["ContentLength"])

    def read_range(
        self, key: str, offset: int, size: int, *, etag: str = "", deadline_s: float = RANGE_DEADLINE_S
    ) -> ObjectRange:
        """At most ``size`` bytes from ``offset``, fewer at the object's end; never more, whatever the store sends.

        Args:
            key: The object.
            offset: Count of bytes before the range.
            size: Most bytes to read; at least 1.
            etag: The version that must still be there; empty for any.
            deadline_s: Longest time for the whole range, in seconds.

        Raises:
            ArtifactError: It is gone, has changed, or the store ignores ranges.
        """
        until = time.monotonic() + deadline_s
        with self._explained():
            try:
                answer = self._client(RANGES).get_object(
                    Bucket=self.bucket, Key=key, Range=f"bytes={offset}-{offset + size - 1}", IfMatch=etag or "*"
                )
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416:
                    return ObjectRange(data=b"", size_bytes=0, etag=etag)  # an empty object has no ranges
                raise
            with closing(answer["Body"]) as body:
                if offset and "ContentRange" not in answer:
                    raise ArtifactError("The store ignores ranged reads, so the file can only be read whole.")
                data = b""
                while len(data) < size and (more := body.read(min(size - len(data), 1 << 20))):
                    data += more
                    if time.monotonic() > until:
                        raise ArtifactError("The store is too slow.", hint="Try again later.")
        total = whole_size(answer.get("ContentRange"), answer.get("ContentLength"))
        return ObjectRange(data=data, size_bytes=total or offset + len(data), etag=answer.get("ETag", ""))

    def list(self, prefix: str) -> list[StoredObject]:
        """The objects whose keys begin with ``prefix``, by key; at most 10,000."""
        found: list[StoredObject] = []
        with self._explained():
            pages = self._client(LOOKING).get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                found += [
                    StoredObject(key=row["Key"], size_bytes=int(row["Size"]), modified_at=_utc(row.get("LastModified")))
                    for row in page.get("Contents", ())
                    if not row["Key"].endswith("/")
                ]
                if len(found) >= self._most_listed:
                    break
        return sorted(found[: self._most_listed], key=lambda each: each.key)

    def upload(self, path: Path, key: str) -> None:
        """Copy a file into the store; an object of the same key is replaced."""
        with self._explained():
            self._client().upload_file(str(path), self.bucket, key, Config=TransferConfig(use_threads=False))

    def delete_prefix(self, prefix: str) -> int:
        """Delete every object whose key begins with ``prefix``; how many there were. Refuses an empty prefix."""
        if not prefix.strip("/"):
            raise ArtifactError("Deleting the whole bucket was refused: the prefix is empty.")
        deleted: set[str] = set()
        while keys := [each.key for each in self.list(prefix)]:  # one list is not always all
            if not deleted.isdisjoint(keys):
                raise ArtifactError("The store still lists files that it said it had deleted.", hint="Try again later.")
            self._delete(keys)
            deleted.update(keys)
        return len(deleted)

    def _delete(self, keys: Sequence[str]) -> None:
        with self._explained():
            for start in range(0, len(keys), 1000):
                answer = self._client().delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": key} for key in keys[start : start + 1000]], "Quiet": True},
                )
                if kept := answer.get("Errors"):
                    raise ArtifactError(f"The store kept {len(kept)} of {len(keys)} files: {kept[0].get('Code')}.")

    def check(self, *, timeout_s: float = CHECK_TIMEOUT_S) -> StoreCheck:
        """Whether the bucket answers, tried once and briefly: a page is waiting. Never raises."""
        started = time.perf_counter()
        brief = _Patience(connect_s=timeout_s, read_s=timeout_s, tries=1)
        try:
            with self._explained():
                self._client(brief).list_objects_v2(Bucket=self.bucket, MaxKeys=1)
            ok, message = True, self.address
        except ArtifactError as error:
            ok, message = False, str(error)
        return StoreCheck(ok=ok, message=message, latency_ms=(time.perf_counter() - started) * 1000)

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1].close()

    def _client(self, patience: _Patience = USUAL) -> "S3Client":
        with self._lock:
            if patience not in self._opened:
                self._opened[patience] = _open(self._settings, patience)
            return self._opened[patience]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of boto3 as plain words."""
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise ArtifactError(
                "There are no credentials for the store of the artifacts.",
                hint="Set S3_KEY and S3_SECRET, or give the machine AWS credentials.",
            ) from error
        except ClientError as error:
            raise _refused(error, self.address) from error
        except (BotoCoreError, Boto3Error, ValueError) as error:
            raise ArtifactError(
                f"The store of the artifacts does not answer ({self.address}).",
                hint=f"Trying again may help. {SETTINGS_HINT}",
            ) from error
        except OSError as error:
            raise ArtifactError(f"The file cannot be read: {error.strerror}.") from error


def _open(settings: S3Settings, patience: _Patience) -> "S3Client":
    # A session of its own: boto3's default session is shared and not safe to use from several threads.
    client: S3Client = boto3.session.Session().client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region or None,
        aws_access_key_id=settings.key or None,
        aws_secret_access_key=settings.secret or None,
        config=Config(
            signature_version="s3v4",
            connect_timeout=patience.connect_s,
            read_timeout=patience.read_s,
            retries={"total_max_attempts": patience.tries, "mode": "standard"},
            s3={"addressing_style": "path" if settings.endpoint else "auto"},
            # Stores other than AWS refuse the checksums that newer boto3 versions add by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    return client


def _refused(error: ClientError, address: str) -> ArtifactError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code == "NoSuchBucket":
        return ArtifactError(f"There is no such bucket ({address}).", hint=SETTINGS_HINT)
    if code in ("404", "NoSuchKey", "NotFound") or status == 404:
        return ArtifactError(
            "The file is not in the store.", hint="It may have been deleted, or not been uploaded yet."
        )
    if status == 412:
        return ArtifactError("The file changed while it was read.", hint="Read it again.")
    if status in (400, 401, 403):
        return ArtifactError(f"The store refused the credentials ({address}: {code or status}).", hint=SETTINGS_HINT)
    return ArtifactError(
        f"The store of the artifacts failed ({address}: {code or status}).", hint="Trying again may help."
    )


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None
