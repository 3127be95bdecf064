"""A server of one file in ranges, which can misbehave."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Shelf:
    """A web server, and an S3 server that checks no signatures, with one file; it can misbehave."""

    def __init__(self, data: bytes) -> None:
        self.data, self.etag, self.mode, self.ranges = data, '"1"', "", [""]
        shelf = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                shelf.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.ranges.clear()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.ranges.append(request.headers.get("Range", ""))
        begin, end = (int(each) for each in self.ranges[-1].removeprefix("bytes=").split("-"))
        if self.mode == "slow":
            time.sleep(1.5)
        if self.mode.isdigit():
            return self._send(request, int(self.mode), b"<Error><Code>Refused</Code></Error>")
        if begin >= len(self.data):
            return self._send(request, 416, b"")
        if self.mode == "whole":
            return self._send(request, 200, self.data)
        part = self.data[begin : end + 1]
        place = f"bytes {begin}-{begin + len(part) - 1}/{len(self.data)}"
        return self._send(request, 206, part, {"Content-Range": place})

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "ETag": self.etag, **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        try:
            request.wfile.write(body)
        except OSError:
            request.close_connection = True

    def close(self) -> None:
        """End the server."""
        self.server.shutdown()
        self.server.server_close()
