"""``make profile``: where the CPU time of a gateway, a recorder and a deliverer under load goes, by package and module.

py-spy samples the stack of each role's process 200 times a second while it is as busy as it can be. A sample counts for
the package that was running, or that called what Python's own library was running, and for the module of the product
that had called that. The shares are shown as parts of the process's CPU time for one signal, which is measured before.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.bench.bodies import NATIVE
from tests.bench.load import Order, post
from tests.bench.progress import reach
from tests.bench.receiving import receiving
from tests.bench.results import ROOT, describe
from tests.bench.rows import Bench
from tests.bench.stack import await_owed, await_recorded, recorded, running, subscribe, throw_backlog
from tests.bench.usage import measuring
from tests.support.postgres import postgres_server
from tests.support.product import ADMIN_TOKEN
from tests.support.rabbitmq import rabbitmq_server

KEPT = ROOT / "docs" / "profile.txt"
_SAMPLES = 200
"""A second."""
_OURS = ("broker", "gateway", "workers", "deploy")
_RUNNER = "asyncio/runners.py"
_LOOP = "uvloop, with the system calls on sockets"
_PYTHON = "Python's library"
_IDLE = ("pycares",)
"""Whose threads seem to run while they wait."""
_SHOWN = 14
_RECORDED, _DELIVERED = 8000, 1500
"""How large a backlog is, for each second."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where the CPU time of one process went.

    Args:
        role: Of the process.
        load: What it was doing.
        cpu: Microseconds of CPU for each signal.
        stacks: How many samples each stack had, the outermost frame first, a frame as ``function (file:line)``.
    """

    role: str
    load: str
    cpu: float
    stacks: Counter[tuple[str, ...]]

    def show(self) -> str:
        """Return it as text."""
        lines = [f"{self.role}: {self.load}: {self.cpu:.0f} us of CPU for each", ""]
        for title, key in (("by package", package_of), ("by module of the product, with what it calls", module_of)):
            lines += [f"  {title}", *self._rows(key), ""]
        return "\n".join(lines)

    def _rows(self, key: Callable[[tuple[str, ...]], str]) -> Iterator[str]:
        counts: Counter[str] = Counter()
        for stack, samples in self.stacks.items():
            counts[key(stack)] += samples
        shown = counts.most_common(_SHOWN)
        rest = counts.total() - sum(samples for _, samples in shown)
        for name, samples in [*shown, ("others", rest)]:
            share = samples / counts.total()
            yield f"    {self.cpu * share:6.1f} us {share:6.1%}  {name}"


def package_of(stack: tuple[str, ...]) -> str:
    """Return the package that was running: what Python's own library does counts for who called it."""
    if _file_of(stack[-1]) == _RUNNER:
        return _LOOP
    for frame in reversed(stack):
        top = _file_of(frame).partition("/")[0]
        if top in _OURS:
            return "signal-broker"
        if top and top not in sys.stdlib_module_names and not top.startswith("<") and not top.endswith(".py"):
            return top
    return _PYTHON


def module_of(stack: tuple[str, ...]) -> str:
    """Return the product's module that was running, or that called what was; if none did, the package."""
    for frame in reversed(stack):
        file = _file_of(frame)
        if file.startswith(tuple(f"{name}/" for name in _OURS)) and not file.startswith("deploy/"):
            return file
    return package_of(stack)


def _file_of(frame: str) -> str:
    return frame.rpartition("(")[2].rpartition(":")[0]


def read_stacks(lines: Iterable[str]) -> Counter[tuple[str, ...]]:
    """Return the stacks of py-spy's raw format, without those of threads that only seem to run."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        text, _, samples = line.rpartition(" ")
        stack = tuple(text.split(";"))
        if not _file_of(stack[-1]).startswith(_IDLE):
            stacks[stack] += int(samples)
    return stacks


@asynccontextmanager
async def sampling(pid: int, directory: Path) -> AsyncIterator[Counter[tuple[str, ...]]]:
    """Sample the process until the block is left, and then add up its stacks."""
    stacks: Counter[tuple[str, ...]] = Counter()
    output = directory / f"{pid}.txt"
    options = ["--format", "raw", "--rate", str(_SAMPLES), "--output", str(output), "--pid", str(pid), "--nonblocking"]
    spy = await asyncio.create_subprocess_exec(
        "py-spy", "record", "--duration", "unlimited", *options, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield stacks
    finally:
        spy.send_signal(signal.SIGINT)
        await spy.wait()
    stacks.update(read_stacks(output.read_text().splitlines()))


async def profile_gateway(bench: Bench) -> Profile:
    """Throw singly over 64 connections."""
    async with running(bench, LOG_LEVEL="info") as stack:
        pid = stack.pids["gateway"]
        assert pid is not None
        order = Order(url=f"{stack.client.url}/v1/signals", body=NATIVE, token=ADMIN_TOKEN, seconds=bench.seconds)
        await post(order)
        with measuring({"gateway": pid}) as usage:
            answers = await post(order)
        async with sampling(pid, bench.directory) as stacks:
            await post(order)
    cpu = usage.per(answers.answered)["gateway"]
    return Profile(role="gateway", load="POST /v1/signals of 1 KB over 64 connections", cpu=cpu, stacks=stacks)


async def profile_recorder(bench: Bench) -> Profile:
    """Work a backlog off that one subscription matches: half of it is measured, and half sampled."""
    async with running(bench) as stack, receiving() as receiver:
        await subscribe(stack.client, receiver)
        count = await throw_backlog(stack.client, int(_RECORDED * bench.seconds))
        async with stack.worker("recorder"):
            pid = stack.pids["recorder"]
            assert pid is not None
            first = await recorded(stack.client)
            with measuring({"recorder": pid}) as usage:
                await await_recorded(stack.client, count // 2)
                measured = await recorded(stack.client) - first
            async with sampling(pid, bench.directory) as stacks:
                await await_recorded(stack.client, count)
    cpu = usage.per(measured)["recorder"]
    return Profile(role="recorder", load="a backlog, one subscription matches each", cpu=cpu, stacks=stacks)


async def profile_deliverer(bench: Bench) -> Profile:
    """Deliver a backlog to a webhook that answers at once: half of it is measured, and half sampled."""
    async with running(bench, "recorder", "scheduler", LOG_LEVEL="info") as stack, receiving() as receiver:
        await subscribe(stack.client, receiver)
        count = await throw_backlog(stack.client, int(_DELIVERED * bench.seconds))
        await await_owed(stack.client, count)
        async with stack.worker("deliverer"):
            pid = stack.pids["deliverer"]
            assert pid is not None
            first = receiver.requests
            with measuring({"deliverer": pid}) as usage:
                await reach(lambda: receiver.requests, count // 2, every=0.005)
            measured = receiver.requests - first
            async with sampling(pid, bench.directory) as stacks:
                await reach(lambda: len(receiver.taken), count)
    cpu = usage.per(measured)["deliverer"]
    return Profile(role="deliverer", load="a backlog of webhooks that are answered at once", cpu=cpu, stacks=stacks)


ROLES = {"gateway": profile_gateway, "recorder": profile_recorder, "deliverer": profile_deliverer}


def main() -> None:
    """Profile the roles that are asked for, and print or keep what was found."""
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    parser.add_argument("roles", nargs="*", choices=[*ROLES, []], help="which roles (default: all)")
    parser.add_argument("--seconds", type=float, default=8, help="about how long a load lasts (default: 8)")
    parser.add_argument("--keep", action="store_true", help=f"write {KEPT.relative_to(ROOT)}")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="signal-broker-profile-") as name, ExitStack() as servers:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "rmq").mkdir()
        bench = Bench(
            directory=directory,
            rounds=1,
            seconds=options.seconds,
            wanted=(),
            postgres=servers.enter_context(postgres_server(directory / "pg")),
            rabbit=servers.enter_context(rabbitmq_server(directory / "rmq")),
        )
        described = uvloop.run(describe(bench))
        texts = [uvloop.run(ROLES[role](bench)).show() for role in options.roles or ROLES]
    head = f"{described['date'][:10]}, commit {described['commit']}, {described['machine']}\n"
    text = "\n".join([head, *texts])
    print(text)
    if options.keep:
        KEPT.write_text(text)


if __name__ == "__main__":
    main()
