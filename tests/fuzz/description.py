"""The gateway against its own OpenAPI document, by schemathesis: every check, as ``schemathesis.toml`` says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.callers import Caller

_CONFIG = Path(__file__).with_name("schemathesis.toml")
_REPLACED = "positive_data_acceptance,not_a_server_error,missing_required_header"
"""Hooks have stricter checks than the first two; and the third one's cases send the header of ``schemathesis.toml`` all the
same: `ignored_auth` leaves it out for real."""


class Verdict(NamedTuple):
    """What schemathesis found: how many cases it tried, whether all is well, and its report."""

    cases: int
    passed: bool
    report: str


def compare(url: str, token: str, folder: Path, *options: str, seconds: float = 3600) -> Verdict:
    """Compare the gateway at *url* with its document; what schemathesis keeps is in *folder*, and goes with it."""
    name = f"fuzz-{uuid.uuid4().hex[:8]}"
    with Caller(url, token) as caller:
        made = caller.do("POST", "/api/admin/signal-endpoints", {"name": name}).document
        opened = caller.do("POST", f"/api/admin/signal-endpoints/{made['id']}/tokens", {"name": name}).document
    named = {"FUZZ_TOKEN": token, "FUZZ_ENDPOINT": name, "FUZZ_ENDPOINT_TOKEN": opened["token"]}
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(_CONFIG), "run"]
    command += [f"{url}/openapi.json", "--checks", "all", "--exclude-checks", _REPLACED, "--no-color", *options]
    run = subprocess.run(
        command,
        env={**os.environ, **named, "PYTHONPATH": str(Path.cwd())},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    report = run.stdout + run.stderr
    found = re.search(r"(\d+) generated", report)
    return Verdict(int(found[1]) if found else 0, run.returncode == 0, report)
