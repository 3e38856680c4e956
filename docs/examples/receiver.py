"""Prints the webhooks it receives: python3 docs/examples/receiver.py [port]."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(BaseHTTPRequestHandler):
    """Accepts every delivery; the broker would retry after any answer other than a 2xx."""

    def do_POST(self) -> None:
        """Print the delivery's id and the signal, and answer 204."""
        body = self.rfile.read(int(self.headers["content-length"]))
        print(self.headers["webhook-id"], body.decode(), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Suppress the standard library's log line."""


HTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9000), Receiver).serve_forever()
