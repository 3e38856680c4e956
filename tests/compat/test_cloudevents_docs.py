"""docs/cloudevents.md: its commands work as pasted, one after the other."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

from tests.support.product import ADMIN_TOKEN

COMMANDS = re.findall(
    r"^```sh\n(.*?)^```",
    (Path(__file__).parents[2] / "docs" / "cloudevents.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


async def pasted(product, command):
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command.replace("http://127.0.0.1:8080", product.url)),
        env={"TOKEN": ADMIN_TOKEN, "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return json.loads(out)


async def test_the_documents_commands_work_as_pasted(product):
    binary, structured, batch, formatted, asking = [await pasted(product, command) for command in COMMANDS]
    assert [(one["name"], one["payload"], one["orderingKey"]) for one in (binary, structured)] == [
        ("order.paid", {"order": 7}, None),
        ("order.paid", {"order": 7}, "order-7"),
    ]
    assert [result["status"] for result in batch["results"]] == [202, 400]
    refused = [error["pointer"] for error in batch["results"][1]["problem"]["errors"]]
    assert refused == ["/1/id", "/1/source"]
    assert formatted["target"]["format"] == "cloudevents-binary"
    assert asking["target"]["requestOrigin"] == "broker.example.com"
