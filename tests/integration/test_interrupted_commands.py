"""Commands that do many things, and are interrupted or refused on the way: they say what is known, and how to go on."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.support.commands import Command
from tests.support.eventually import eventually
from tests.support.remote import other_server
from tests.support.throwing import subscribe, throw

pytestmark = pytest.mark.timeout(180)
INTERRUPTS = [
    (signal.SIGINT, signal.SIGINT),
    (signal.SIGINT, signal.SIGTERM),
    (signal.SIGTERM, signal.SIGINT),
    (signal.SIGTERM, signal.SIGTERM),
]
PACE = "its --per-second is added to the pace of those that wait already"


class Server:
    """Answers each request with the next of *answers*, and one beyond them when it is `let_go`."""

    def __init__(self, *answers):
        self.asked, self.hanging, self._ended = [], asyncio.Event(), asyncio.Event()
        self._answers = list(answers)

    async def answer(self, request):
        self.asked.append(await request.json())
        if len(self.asked) < len(self._answers):
            return web.json_response(self._answers[len(self.asked) - 1])
        self.hanging.set()
        await self._ended.wait()
        return web.json_response(self._answers[-1])

    def let_go(self):
        self._ended.set()


@pytest.fixture
def run(stranger, tmp_path):
    """Call it to run a command against a `Server`; it yields the command, and what it says on standard error."""

    @asynccontextmanager
    async def run(server, *arguments):
        with (tmp_path / "out").open("wb+") as out, (tmp_path / "err").open("wb+") as err:
            async with other_server(server.answer) as url:
                command = Command(
                    *("--url", url, "--token", "sb_x", *arguments),
                    environment=stranger.environment,
                    stdout=out.fileno(),
                    stderr=err.fileno(),
                )
                await server.hanging.wait()
                yield command, (tmp_path / "err").read_text
                server.let_go()

    return run


def accepted(first, count):
    return {"results": [{"status": 202, "id": one} for one in range(first, first + count)]}


def lines(path, count):
    path.write_text('{"name": "a"}\n' * count)
    return str(path)


# throw --batch


@pytest.mark.slow
@pytest.mark.parametrize("interrupts", INTERRUPTS, ids=lambda pair: "-".join(one.name for one in pair))
async def test_a_batch_that_is_interrupted_twice_says_what_is_not_known(run, tmp_path, interrupts):
    file = lines(tmp_path / "signals", 1200)
    async with run(Server(accepted(1, 500), accepted(501, 500)), "throw", "--batch", file) as (command, told):
        command.send_signal(interrupts[0])
        await eventually(lambda: "waiting for the answer to lines 501 to 1000" in told())
        command.send_signal(interrupts[1])
        assert await command.wait() != 0
    assert "interrupted: between 500 and 1000 signals were accepted: those of lines 501 to 1000 may be\n" in told()
    assert "throw the file from line 1001 on if so (tail -n +1001 FILE), else from line 501 on" in told()


@pytest.mark.slow
@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
async def test_a_batch_that_is_interrupted_once_waits_for_its_answer(run, tmp_path, interrupt):
    file = lines(tmp_path / "signals", 1200)
    server = Server(accepted(1, 500), accepted(501, 500))
    async with run(server, "throw", "--batch", file) as (command, told):
        command.send_signal(interrupt)
        await eventually(lambda: "waiting for the answer to lines 501 to 1000" in told())
        server.let_go()
        assert await command.wait() != 0
    assert "interrupted: 1000 signals were accepted, up to line 1000\nto go on, throw the file from line 1001" in told()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (503, "between 500 and 1000 signals were accepted: those of lines 501 to 1000 may be"),
        (403, "500 signals were accepted, up to line 500"),
    ],
)
async def test_a_batch_whose_request_fails_says_what_is_known(stranger, tmp_path, status, expected):
    asked = []

    async def answer(_):
        asked.append(status)
        if len(asked) == 1:
            return web.json_response(accepted(1, 500))
        return web.json_response({"title": "No", "status": status, "detail": "It may not be."}, status=status)

    async with other_server(answer) as url:
        file = lines(tmp_path / "signals", 1200)
        done = await stranger.call("throw", "--batch", file, "--url", url, "--token", "sb_x")
    assert f"interrupted: {expected}\n" in done.stderr


# redrive and replay


@pytest.mark.slow
@pytest.mark.parametrize("which", [("redrive", "--all"), ("replay", "3")], ids=lambda which: which[0])
@pytest.mark.parametrize("interrupts", INTERRUPTS, ids=lambda pair: "-".join(one.name for one in pair))
async def test_a_bulk_command_without_a_first_answer_says_that_much_may_be_done(run, which, interrupts):
    server = Server({"count": 9000, "next": "9-1"})
    async with run(server, *which, "--per-second", "50") as (command, told):
        command.send_signal(interrupts[0])
        await eventually(lambda: "waiting for the answer" in told())
        command.send_signal(interrupts[1])
        assert await command.wait() != 0
    assert "interrupted: 0 so far, and perhaps more: " in told()
    assert f"\nto go on, repeat the command; {PACE}\n" in told()


async def test_a_bulk_command_that_is_interrupted_once_waits_and_says_where_to_go_on(run):
    server = Server({"count": 9000, "next": "9-1@2026-11-22T10:00:00.000Z"})
    async with run(server, "redrive", "--all", "--per-second", "50") as (command, told):
        command.send_signal(signal.SIGINT)
        await eventually(lambda: "waiting for the answer" in told())
        server.let_go()
        assert await command.wait() == 1
    assert len(server.asked) == 1
    further = "repeat the command with --after 9-1@2026-11-22T10:00:00.000Z"
    assert f"interrupted: 9000 so far; to go on, {further}\n" in told()


async def test_a_bulk_command_whose_last_answer_came_says_that_all_is_done(run):
    server = Server({"count": 9, "next": None})
    async with run(server, "redrive", "--all") as (command, told):
        command.send_signal(signal.SIGINT)
        await eventually(lambda: "waiting for the answer" in told())
        server.let_go()
        assert await command.wait() == 1
    assert "interrupted, when all was done: 9\n" in told()


async def test_a_bulk_command_that_is_refused_at_once_did_nothing(stranger):
    async def answer(_):
        return web.json_response({"title": "No", "status": 403, "detail": "It may not be."}, status=403)

    async with other_server(answer) as url:
        done = await stranger.call("redrive", "--all", "--url", url, "--token", "sb_x")
    assert (done.returncode, done.stderr) == (1, "Error: it may not be\n")


# Deliveries by their ids


@pytest.mark.slow
@pytest.mark.parametrize("action", ["cancel", "redrive"])
async def test_a_delivery_that_is_refused_holds_up_no_other(laptop, client, name, action):
    made = await subscribe(client, name, retry={"schedule": [600]})
    ids = [f"{(await throw(client, name))['id']}-{made['id']}" for _ in range(2)]

    async def parked():
        listed = await laptop.call("deliveries", "list", "--name", name, "--state", "parked")
        return listed.stdout.count("parked") == 2

    await eventually(parked)
    done = await laptop.call("deliveries", action, ids[0], "999999-1", "x", ids[1])
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ids
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "999999-1: there is no delivery '999999-1'",
        "x: there is no delivery 'x'",
        "Error: 2 of 4 deliveries were not changed",
    ]
    alone = await laptop.call("deliveries", action, "999999-1")
    assert (alone.returncode, alone.stderr) == (1, "Error: there is no delivery '999999-1'\n")


@pytest.mark.slow
async def test_a_product_that_is_gone_ends_a_command_that_says_where_to_go_on(stranger):
    asked = []

    async def answer(request):
        asked.append(request.path)
        if len(asked) > 1:
            return web.json_response({"title": "Busy", "status": 503, "detail": "It is busy."}, status=503)
        return web.json_response({"id": "1-1", "state": "parked", "attemptCount": 1, "dueAt": None})

    async with other_server(answer) as url:
        done = await stranger.call("deliveries", "redrive", "1-1", "2-1", "3-1", "--url", url, "--token", "sb_x")
    assert len(asked) == 2
    assert done.stderr.startswith("interrupted: 1 of 3 so far; to go on, repeat the command from 2-1 on")
    assert done.stdout.splitlines()[1].startswith("1-1 ")


@pytest.mark.slow
async def test_ctrl_c_says_how_many_signals_were_accepted_and_how_to_go_on(laptop, client, name, tmp_path):
    (tmp_path / "signals").write_text(f'{{"name": "{name}"}}\n' * 100_000)
    with (tmp_path / "out").open("wb+") as out, (tmp_path / "err").open("wb+") as err:
        running = Command(
            *("throw", "--batch", str(tmp_path / "signals")),
            environment=laptop.environment,
            stdout=out.fileno(),
            stderr=err.fileno(),
        )
        await eventually(lambda: anything(client, name))
        running.send_signal(signal.SIGINT)
        assert await running.wait() == 1
    told = (tmp_path / "err").read_text()
    found = re.search(r"interrupted: (\d+) signals were accepted, up to line (\d+)\n", told)
    assert found is not None
    assert 0 < int(found[1]) == int(found[2]) < 100_000
    assert f"from line {int(found[2]) + 1} on" in told
    assert len(await recorded_ids_of_many(laptop, name, int(found[1]))) == int(found[1])


async def recorded_ids_of_many(laptop, name, count):
    async def get():
        items = await laptop.ask("signals", "list", "--name", name, "--all")
        return [item["id"] for item in items] if len(items) == count else None

    return await eventually(get)


async def anything(client, name):
    return (await client.get(f"/v1/signals?name={name}&limit=1"))["items"]


@pytest.mark.slow
async def test_a_long_redrive_goes_on_and_one_that_is_interrupted_says_where(stranger):
    asked = []

    async def answer(request):
        if request.method == "GET":
            return web.json_response({"items": [{"id": 20}], "next": "20"})
        asked.append(await request.json())
        match asked[-1]["after"]:
            case None:
                return web.json_response({"count": 2, "next": "5-1@2026-11-22T10:00:00.000Z"})
            case "5-1@2026-11-22T10:00:00.000Z":
                return web.json_response({"count": 3, "next": "9-1"})
            case "9-1":
                problem = {"title": "Busy", "status": 503, "detail": "The broker cannot take this now."}
                return web.json_response(problem, status=503, headers={"Retry-After": "7"})
            case _:
                return web.json_response({"count": 4, "next": None})

    async with other_server(answer) as url:
        which = ("redrive", "--all", "--per-second", "50", "--url", url, "--token", "sb_x")
        done = await stranger.call(*which)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "interrupted: 5 so far, and perhaps more: the last request got no answer that says how many;"
            " `signal-broker deliveries list --state parked` shows what became of them\n"
            "to go on, repeat the command with --after 9-1;"
            " its --per-second is added to the pace of those that wait already\n"
            "Error: the broker cannot take this now; try again in 7 s\n"
        )
        assert await stranger.ask(*which, "--after", "9-2") == {"count": 4, "dryRun": False}
        assert "Redriving" in await stranger.show(*which)
    assert all(one["perSecond"] == 50 for one in asked)


@pytest.mark.slow
async def test_ctrl_c_says_how_many_deliveries_were_redriven_and_how_to_go_on(stranger, tmp_path):
    asked, hanging, ended = [], asyncio.Event(), asyncio.Event()

    async def answer(request):
        asked.append(request.path)
        if len(asked) > 1:
            hanging.set()
            await ended.wait()
        return web.json_response({"id": "1-1", "state": "parked", "attemptCount": 1, "dueAt": None})

    with (tmp_path / "out").open("wb+") as out, (tmp_path / "err").open("wb+") as err:
        async with other_server(answer) as url:
            running = Command(
                *("--url", url, "--token", "sb_x", "deliveries", "redrive", "1-1", "2-1", "3-1"),
                environment=stranger.environment,
                stdout=out.fileno(),
                stderr=err.fileno(),
            )
            await hanging.wait()
            running.send_signal(signal.SIGINT)
            assert await running.wait() == 1
            ended.set()
    assert "interrupted: 1 of 3 so far; to go on, repeat the command from 2-1 on" in (tmp_path / "err").read_text()
    assert (tmp_path / "out").read_text().splitlines()[1].startswith("1-1 ")
