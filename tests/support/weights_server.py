"""A web server on this machine that plays the origin of weight files, with the faults that origins have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file: its content and validator, and how it is served.

    `status` other than 200 is answered with a page. `cut_at`: bytes of a response after which the connection ends.
    `ranges`: whether ranges are known. `if_range`: whether `If-Range` is obeyed. `moved_to`: a path to redirect to.
    `stated`: whether the length is stated. `before_end` is called before the second half of a response is sent.
    """

    data: bytes
    etag: str = ""
    kind: str = "application/octet-stream"
    status: int = 200
    cut_at: int | None = None
    ranges: bool = True
    if_range: bool = True
    moved_to: str = ""
    stated: bool = True
    before_end: Callable[[], object] | None = None


@dataclass
class Server:
    """The files by path, and the requests received: (path, Range, If-Range)."""

    url: str
    files: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def ranges(self) -> list[str | None]:
        """The `Range` of every request."""
        return [wanted for _, wanted, _ in self.asked]


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server on a free port of this machine."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
            server.asked.append((self.path, wanted, condition))
            file = server.files.get(self.path, Served(b"<html>no such file</html>", kind="text/html", status=404))
            if file.moved_to:
                self.send_response(302)
                self.send_header("Location", server.url + file.moved_to)
                self.end_headers()
                return
            changed = file.if_range and condition is not None and condition != file.etag
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and file.ranges and not changed else 0
            if start > len(file.data):
                self.send_error(416)
                return
            rest = file.data[start:]
            self.send_response(206 if start else file.status)
            self.send_header("Content-Type", file.kind)
            if file.stated:
                self.send_header("Content-Length", str(len(rest)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(file.data) - 1}/{len(file.data)}")
            if file.etag:
                self.send_header("ETag", file.etag)
            self.end_headers()
            shown = rest if file.cut_at is None else rest[: file.cut_at]
            half = len(shown) // 2 if file.before_end else 0
            self.wfile.write(shown[:half])
            self.wfile.flush()
            if file.before_end:
                file.before_end()
            self.wfile.write(shown[half:])

        def log_message(self, format: str, *args: object) -> None:
            return

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    listener.daemon_threads = True
    server = Server(f"http://127.0.0.1:{listener.server_port}")
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
