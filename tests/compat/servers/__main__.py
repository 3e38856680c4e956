"""``make receivers``: deliveries to real servers that are reloaded and restarted, and the books after each.

Nginx, HAProxy, Caddy and Go are Debian's packages. Those that are missing are installed if this runs as root with
``--install``, and passed over otherwise. It ends with status 1 if a delivery was lost, or doubled without a reason in
the record.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from broker.store.postgres.database import Database
from tests.compat.servers.experiment import Load, deliver, running
from tests.compat.servers.kinds import KINDS, Kind
from tests.compat.servers.report import REPORT, Row, write
from tests.compat.servers.server import version_of
from tests.support.postgres import PostgresServer, fresh_database, postgres_server
from tests.support.product import Process, client_of

SETTINGS = {"LOG_LEVEL": "warning"}


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="make receivers", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=Load.deliveries, help="to each (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=Load.rate, help="deliveries per second (default: %(default)s)")
    parser.add_argument("--size", type=int, default=Load.size, help="of each payload, in bytes (default: %(default)s)")
    parser.add_argument("--only", action="append", metavar="NAME", help="servers whose names contain this, instead")
    parser.add_argument("--list", action="store_true", help="print the names of all servers, and end")
    parser.add_argument(
        "--install",
        action="store_true",
        help="install what is missing by apt-get; needs root (apt-get may also start their services)",
    )
    parser.add_argument(
        "--report", action="store_true", help=f"write the table into docs/{REPORT.name}, of these servers alone"
    )
    return parser.parse_args()


def available(kinds: Sequence[Kind], *, install: bool) -> list[Kind]:
    """Return those of *kinds* whose programs are here; say which are not."""
    missing = [kind for kind in kinds if shutil.which(kind.version[0]) is None]
    if missing and install and os.geteuid() == 0:
        packages = [kind.package for kind in missing]
        subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", *packages], check=True)
        missing = [kind for kind in missing if shutil.which(kind.version[0]) is None]
    for kind in missing:
        print(f"{kind.name}: passed over, this machine has no {kind.version[0]} (Debian's package {kind.package})")
    return [kind for kind in kinds if kind not in missing]


async def try_out(kind: Kind, postgres: PostgresServer, directory: Path, load: Load) -> Row:
    """Deliver to a server of *kind*, with the logs in *directory*, and return what came of it."""
    async with (
        fresh_database(postgres) as url,
        Database(url) as database,
        running(kind, directory) as server,
        Process("run", environment={"STORE_URL": url, **SETTINGS, **server.trust}, log=directory / "log") as product,
        client_of(product.url) as client,
    ):
        books = await deliver(client, database, server, load)
        return Row.of(kind, await version_of(kind), server, books)


def main() -> int:
    """Try the servers one after the other, and write the report."""
    options = read_options()
    kinds = [kind for kind in KINDS if not options.only or any(name in kind.name for name in options.only)]
    if options.list:
        print("\n".join(kind.name for kind in kinds))
        return 0
    load = Load(deliveries=options.deliveries, rate=options.rate, size=options.size)
    directory = Path(tempfile.mkdtemp(prefix="signal-broker-receivers-"))
    directory.chmod(0o755)  # for workers of servers that run as nobody
    print(f"the logs are in {directory}", flush=True)
    rows = []
    with postgres_server(directory / "pg", durable=False) as postgres:
        for number, kind in enumerate(available(kinds, install=options.install), 1):
            of_server = directory / str(number)
            of_server.mkdir()
            row = asyncio.run(try_out(kind, postgres, of_server, load))
            print(row, flush=True)
            rows.append(row)
    if options.report:
        write(rows)
    return int(any(row.sentences for row in rows))


if __name__ == "__main__":
    sys.exit(main())
