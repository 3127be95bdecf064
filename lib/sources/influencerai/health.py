"""Health of a deployment, as the API reports it."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from lib.artifacts.object_store import ObjectStore
from lib.errors import BadPayload, SourceError
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.protocol import HealthCheck

CHECK_NAMES = {"db": "API database", "redis": "API queue (Redis)", "minio": "API store"}
QUEUE_FLAW = "(the API always reports 0 waiting)"


def health_checks(
    client: InfluencerClient, files: ObjectStore | None, now: Callable[[], datetime]
) -> list[HealthCheck]:
    """Check the API, its parts, its queues and the artifact store. Never raises."""
    return [*_api(client, now), _queues(client, now), _store(files, now)]


def _api(client: InfluencerClient, now: Callable[[], datetime]) -> list[HealthCheck]:
    started = time.perf_counter()
    try:
        answer = client.get_public("/healthz")
        latency_ms = (time.perf_counter() - started) * 1000
        if not isinstance(answer, Mapping):
            raise BadPayload(f"The InfluencerAI API at {client.host} sent something other than its health.")
    except SourceError as error:
        return [HealthCheck(name="InfluencerAI API", ok=False, message=str(error), checked_at=now())]
    ok = answer.get("status") == "ok"  # the HTTP status is 200 either way
    message = client.host if ok else f"{client.host} says of itself: {str(answer.get('status'))[:40]}"
    checks = answer.get("checks")
    parts = checks.items() if isinstance(checks, Mapping) else ()
    return [
        HealthCheck(name="InfluencerAI API", ok=ok, message=message, checked_at=now(), latency_ms=latency_ms),
        *(_part(str(name), part, now) for name, part in parts),
    ]


def _part(name: str, part: Any, now: Callable[[], datetime]) -> HealthCheck:
    facts = part if isinstance(part, Mapping) else {}
    latency = facts.get("latency_ms")
    said = facts.get("error") or facts.get("status") or "says nothing"
    return HealthCheck(
        name=CHECK_NAMES.get(name, f"API {name[:40]}"),
        ok=facts.get("status") == "ok" if facts else None,
        message=str(said)[:200],
        checked_at=now(),
        latency_ms=float(latency) if isinstance(latency, int | float) else None,
    )


def _queues(client: InfluencerClient, now: Callable[[], datetime]) -> HealthCheck:
    try:
        answer = client.get("/queues/summary")
    except SourceError as error:
        return HealthCheck(name="Queues", ok=False, message=str(error), checked_at=now())
    counts = answer if isinstance(answer, Mapping) else {}
    words = [f"{counts[name]} {name}" for name in ("active", "waiting", "failed") if isinstance(counts.get(name), int)]
    message = f"{', '.join(words)} over all kinds of jobs {QUEUE_FLAW}" if words else "the API reports no counts"
    return HealthCheck(name="Queues", ok=True if words else None, message=message, checked_at=now())


def _store(files: ObjectStore | None, now: Callable[[], datetime]) -> HealthCheck:
    if files is None:
        return HealthCheck(
            name="Artifact store",
            ok=None,
            message="not configured: downloads use the links stored in the jobs, which expire after 7 days",
            checked_at=now(),
        )
    found = files.check()
    return HealthCheck(
        name="Artifact store", ok=found.ok, message=found.message, checked_at=now(), latency_ms=found.latency_ms
    )
