"""A web server of the files of a folder, in ranges; what it is to do otherwise stands first in a path.

    /well/scene.tif      as it should be
    /moved/scene.tif     is elsewhere
    /secret/scene.tif    is refused
    /whole/scene.tif     knows no ranges
    /short/scene.tif     the connection breaks after the head of the file
    /silent/scene.tif    says nothing after the head of the file, but makes a file ``silent`` when it is asked
    /mute/scene.tif      says nothing at all, but makes a file ``mute``

``python file_server.py FOLDER`` prints its port. The file ``requests`` in the folder has a line per request.
"""

import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[-1])


class Answer(BaseHTTPRequestHandler):
    """An answer to one request."""

    def do_GET(self) -> None:
        """Send a range of a file, or an error."""
        _, manner, name = f"{self.path.partition('?')[0]}//".split("/")[:3]
        with (FOLDER / "requests").open("a", encoding="utf-8") as log:
            print(self.command, self.path, file=log)
        file = FOLDER / name
        if manner == "moved":
            self.send_response(302)
            self.send_header("Location", f"/well/{name}")
            self.end_headers()
        elif manner == "mute":
            self._say_nothing(manner)
        elif manner == "secret" or not file.is_file():
            self.send_error(403 if manner == "secret" else 404)
        else:
            self._send(file.read_bytes(), manner)

    do_HEAD = do_GET  # noqa: N815 (the name that the library calls)

    def _send(self, data: bytes, manner: str) -> None:
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if manner != "whole" else None
        first, last = (int(wanted[1]), int(wanted[2] or len(data))) if wanted else (0, len(data))
        if first and manner == "silent":
            self._say_nothing(manner)
        part = data[first : last + 1]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part[: len(part) // 2] if first and manner == "short" else part)

    def _say_nothing(self, manner: str) -> None:
        (FOLDER / manner).touch()
        time.sleep(60)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
