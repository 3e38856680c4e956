"""How the receivers in Python note a request before they answer it."""

from __future__ import annotations

import json
import os
import random

_FILE = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(webhook_id: str, body: bytes) -> float:
    """Note the webhook with its attempt; return how long the work on it takes, in seconds."""
    os.write(_FILE, f"{webhook_id} {json.loads(body)['attempt']}\n".encode())
    return random.uniform(0, 0.01)
