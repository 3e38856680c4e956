"""What is thrown: a payload of about a kilobyte, by the ways that there are to throw it."""

from __future__ import annotations

import json

from tests.bench.load import DUE

NAME = "bench"
TEXT = "x" * 900
SIGNAL = {"name": NAME, "payload": {"policy": 42, "text": TEXT}}
NATIVE = json.dumps(SIGNAL)
CAMUNDA = json.dumps({"name": NAME, "variables": {"policy": {"value": 42}, "text": {"value": TEXT}}})
BATCH_SIZE = 100
BATCH = json.dumps({"signals": [SIGNAL] * BATCH_SIZE})
TIMED = json.dumps({"name": NAME, "payload": {"due": 0, "text": TEXT}}).replace('"due": 0', f'"due": {DUE.decode()}')
"""Tells its receivers when it was due."""
