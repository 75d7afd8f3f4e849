"""Traffic for the profile demo: a web server, and clients that ask it, between two containers.

traffic.py serve | ask | check
"""

import http.server
import itertools
import sys
import threading
import urllib.error
import urllib.request

_PORT = 8000
_PAUSE = 0.05  # seconds between two requests: about 200 packets a second
_PAGES = ("/", "/cart", "/search?q=tea", "/img/logo.png", "/missing")


class Shop(http.server.BaseHTTPRequestHandler):
    """Answers with pages of different lengths; some do not exist."""

    def do_GET(self) -> None:
        """Answer."""
        known = not self.path.startswith("/missing")
        body = self.path.encode() * (1 + 40 * len(self.path)) if known else b"no such page\n"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:  # type: ignore[override]
        """Say nothing."""


def ask(host: str, rounds: int | None = None) -> None:
    """Ask for the pages in turn, for ever or some times."""
    pause = threading.Event()
    for page in itertools.islice(itertools.cycle(_PAGES), rounds):
        try:
            with urllib.request.urlopen(f"http://{host}:{_PORT}{page}", timeout=3) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            error.close()
        pause.wait(_PAUSE)


def main() -> None:
    """Do one of the three."""
    match sys.argv[1:]:
        case ["serve"]:
            # Reached by the clients' network only, which has no way out.
            http.server.ThreadingHTTPServer(("0.0.0.0", _PORT), Shop).serve_forever()  # noqa: S104
        case ["ask"]:
            ask("traffic-server")
        case ["check"]:
            ask("traffic-server", 1)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
