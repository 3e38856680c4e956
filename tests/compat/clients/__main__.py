"""``make clients``: builds our two packages, generates clients by generators, and throws a first signal with each.

The packages are in build/clients afterwards. It ends with status 1 if a client could not be made or did not throw. What
this machine cannot make, because a compiler or the network is missing, is left out, and it says why.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.compat.clients.kinds import KINDS
from tests.compat.clients.making import Kind, Skipped
from tests.support.product import ADMIN_TOKEN, Client, Process, client_of
from tests.support.throwing import recorded

_BUILT = Path(__file__).parents[3] / "build" / "clients"


async def main(directory: Path) -> int:
    """Make and try all clients in *directory*; return how many failed."""
    settings = {"DATA_DIR": str(directory / "data"), "LOG_LEVEL": "warning"}
    process = Process("run", environment=settings, log=directory / "log")
    async with process, client_of(process.url) as client:
        places = [Path(tempfile.mkdtemp(dir=directory)) for _ in KINDS]
        failed = [await fails(client, *kind, place) for kind, place in zip(KINDS.items(), places, strict=True)]
        await process.stop()
    return sum(failed)


async def fails(client: Client, name: str, kind: Kind, directory: Path) -> bool:
    """Make a client in the empty *directory*, throw a signal with it, and print how that went."""
    begun = time.monotonic()
    try:
        throw = await asyncio.to_thread(kind, directory, await client.get("/openapi.json"))
        made = time.monotonic() - begun
        signal = await recorded(client, await asyncio.to_thread(throw, client.url, ADMIN_TOKEN, "clients.tried"))
    except Skipped as why:
        print(f"{name}: left out: {why}")
        return False
    except (AssertionError, RuntimeError) as error:
        print(f"{name}: {error}")
        return True
    print(f"{name}: made in {made:.1f} s, threw signal {signal['id']}")
    return False


with tempfile.TemporaryDirectory() as temporary:
    failures = asyncio.run(main(Path(temporary)))
    _BUILT.mkdir(parents=True, exist_ok=True)
    for package in (*Path(temporary).glob("*/*.whl"), *Path(temporary).glob("*/*.tgz")):
        print(f"built {shutil.copy(package, _BUILT)}")
sys.exit(min(failures, 1))
