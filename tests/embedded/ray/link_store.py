"""A store of links on this machine: what is put under an address is got from there; it can fail as stores do."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class LinkStore:
    """Answers GET and PUT.

    Attributes:
        kept: Path -> bytes.
        answer: What is answered to a path instead: a status, or a page of HTML for 200; None for as usual.
        on_put: Called before a PUT is kept.
    """

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.answer: Callable[[str], int | None] = lambda _: None
        self.on_put: Callable[[str], None] = lambda _: None
        self.puts: list[str] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status = store.answer(self.path)
                if status is not None:
                    self._send(status, b"<html>sign in</html>")
                elif self.command == "PUT":
                    store.on_put(self.path)
                    store.puts.append(self.path)
                    store.kept[self.path] = body
                    self._send(200, b"", etag='"x"')
                elif self.path in store.kept:
                    self._send(200, store.kept[self.path])
                else:
                    self._send(404, b"<Error/>")

            do_PUT = do_GET

            def _send(self, status: int, data: bytes, etag: str = "") -> None:
                self.send_response(status)
                if etag:
                    self.send_header("ETag", etag)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def link(self, path: str) -> str:
        """The address of an object."""
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
