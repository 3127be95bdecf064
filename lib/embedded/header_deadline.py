"""A deadline for response headers: the read timeout of requests restarts with every byte."""

import contextlib
import socket
import threading
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse


class BoundedAdapter(HTTPAdapter):
    """Cuts a connection if the headers are not complete ``headers_s`` after the request; None: its own timeout."""

    def __init__(self, headers_s: float | None = None, **options: Any) -> None:
        self._headers_s = headers_s
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _bounded_pools(self._headers_s)


def _bounded_pools(headers_s: float | None) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(HTTPConnection):
        def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3
            return _in_time(self, super().getresponse, headers_s or self.timeout)

    class SecureConnection(HTTPSConnection):
        def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3
            return _in_time(self, super().getresponse, headers_s or self.timeout)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


def _in_time(connection: HTTPConnection, read: Callable[[], HTTPResponse], headers_s: float | None) -> HTTPResponse:
    """Return what ``read`` returns. Raises TimeoutError, as the socket does after a silence."""
    is_late = threading.Event()

    def cut(sock: socket.socket) -> None:
        is_late.set()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    if headers_s is None:
        return read()
    timer = threading.Timer(headers_s, cut, [connection.sock])
    timer.daemon = True
    timer.start()
    try:
        response = read()
    except (OSError, HTTPException) as error:
        if is_late.is_set():
            raise TimeoutError("the headers arrive too slowly: timed out") from error
        raise
    finally:
        timer.cancel()
    if is_late.is_set():  # cutting the connection looks like the end of the headers
        response.close()
        raise TimeoutError("the headers arrive too slowly: timed out")
    return response
