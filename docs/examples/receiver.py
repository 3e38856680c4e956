"""Prints the webhooks it receives: python3 docs/examples/receiver.py [port]."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(BaseHTTPRequestHandler):
    """Takes every delivery; any answer but a 2xx would make the broker try again."""

    def do_POST(self) -> None:
        """Print the delivery's id and the signal, and answer 204."""
        body = self.rfile.read(int(self.headers["content-length"]))
        print(self.headers["webhook-id"], body.decode(), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the standard library's own line out of the way."""


HTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9000), Receiver).serve_forever()
