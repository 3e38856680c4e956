"""A receiver for gunicorn."""

from __future__ import annotations

import time

from notes import note


def app(environ, start_response):
    """Take a webhook."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if body:
        time.sleep(note(environ["HTTP_WEBHOOK_ID"], body))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
