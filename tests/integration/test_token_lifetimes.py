"""Tokens that expire, that are rotated, and that show when they were last used: API tokens, and those of endpoints."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from broker.access import ADMINISTRATOR, Permission, Principal
from broker.moments import show_moment
from broker.store.administration.endpoints import EndpointStore
from broker.store.administration.tokens import AccessStore
from broker.store.administration.uses import TokenUses
from tests.support import commands
from tests.support.clock import Clock
from tests.support.eventually import eventually
from tests.support.product import client_of
from tests.support.throwing import endpoint, fresh_id

ROOT = "/api/admin/signal-endpoints"


def moment(**ahead):
    return show_moment(datetime.now(UTC) + timedelta(**ahead))


class ApiToken:
    """A new API token, and how it is used."""

    @classmethod
    async def make(cls, client, **spec):
        document = {"name": fresh_id("token"), "permissions": ["admin"], **spec}
        made = await client.post("/v1/tokens", document, expect=201)
        return cls(client, made, f"/v1/tokens/{made['id']}")

    def __init__(self, client, made, path):
        self.client, self.made, self.path, self.value = client, made, path, made["token"]

    async def status(self, value=None, client=None):
        caller = (client or self.client).caller(value or self.value)
        return (await caller.request("GET", "/v1/tokens?limit=1"))[0]

    async def answer(self, value):
        return await self.client.caller(value).request("GET", "/v1/tokens?limit=1")

    async def shown(self):
        return await self.client.get(self.path)


class EndpointToken:
    """A new token of a new endpoint, and how it is used."""

    @classmethod
    async def make(cls, client, **spec):
        where, _ = await endpoint(client)
        made = await client.post(f"{ROOT}/{where['id']}/tokens", {"name": "second", **spec}, expect=201)
        return cls(client, where, made)

    def __init__(self, client, where, made):
        self.client, self.where, self.made, self.value = client, where, made, made["token"]
        self.path = f"{ROOT}/{where['id']}/tokens/{made['id']}"

    async def status(self, value=None, client=None):
        return (await self._call(value or self.value, client))[0]

    async def answer(self, value):
        return await self._call(value)

    async def _call(self, value, client=None):
        path = f"/api/signal-endpoint/{self.where['name']}"
        return await (client or self.client).caller(value).request("POST", path, json={})

    async def shown(self):
        listed = await self.client.get(self.path.rpartition("/")[0])
        return next(one for one in listed["signalEndpointTokens"] if one["id"] == self.made["id"])


@pytest.fixture(params=[ApiToken, EndpointToken])
def kind(request):
    return request.param


def without_chance(answer):
    """Return an answer without what is another each time: the moment, and the id of an error."""
    status, headers, body = answer
    if isinstance(body, dict):
        body.pop("id", None)
    return status, headers.getall("WWW-Authenticate"), body


async def used_before_its_end(kind, client):
    """Return a token that was used and expires soon: as soon as this machine, which may be busy, lets it be used."""
    for seconds in (1, 3, 9, 27):
        token = await kind.make(client, expiresAt=moment(seconds=seconds))
        if await token.status() == 200:
            return token
    raise AssertionError("not used within half a minute")


@pytest.mark.slow
async def test_a_token_that_expired_is_refused_as_an_unknown_one_although_it_was_just_used(client, kind):
    token = await used_before_its_end(kind, client)
    end = datetime.fromisoformat(token.made["expiresAt"])

    statuses = []

    async def is_refused():
        before = datetime.now(UTC)
        statuses.append((before, await token.status(), datetime.now(UTC)))
        return statuses[-1][1] == 401

    await eventually(is_refused, every=0.01)
    assert all(status == 200 for _, status, after in statuses if after < end)
    assert all(status == 401 for before, status, _ in statuses if before >= end)
    unknown = {ApiToken: "sb_", EndpointToken: "signal_"}[kind] + 43 * "x"
    assert without_chance(await token.answer(token.value)) == without_chance(await token.answer(unknown))
    shown = await token.shown()
    assert shown["expiresAt"] == token.made["expiresAt"], "it stays listed"
    assert shown.get("expired") in {True, None}
    assert (await client.request("POST", token.path + "/rotate", json={}))[0] == 409
    assert (await client.request("DELETE", token.path))[0] in {200, 204}


@pytest.mark.parametrize("wrong", ["2020-01-01T00:00:00Z", "tomorrow", "2027-01-01", 12])
async def test_a_token_expires_at_a_moment_to_come(client, wrong):
    made, _ = await endpoint(client)
    for path in ("/v1/tokens", f"{ROOT}/{made['id']}/tokens"):
        document = {"name": fresh_id("token"), "permissions": ["admin"], "expiresAt": wrong}
        status, _, body = await client.request("POST", path, json=document)
        assert status == 400, (path, body)


@pytest.mark.slow
async def test_after_a_rotation_both_values_are_good_until_the_overlap_is_over(client, kind):
    for seconds in (1, 3, 9, 27):
        token = await kind.make(client)
        status, _, rotated = await client.request("POST", token.path + "/rotate", json={"overlapSeconds": seconds})
        assert status == 200
        assert rotated["token"] not in {None, token.value}
        assert {**rotated, "token": None} == {**token.made, "token": None}
        assert await token.status(rotated["token"]) == 200
        if await token.status() == 200:  # else this machine is busy
            break

    async def is_over():
        return await token.status() == 401

    await eventually(is_over)
    assert await token.status(rotated["token"]) == 200
    assert seconds < 27


@pytest.mark.slow
async def test_a_rotation_without_overlap_ends_all_earlier_values(client, kind):
    token = await kind.make(client)
    rotated = [await client.post(token.path + "/rotate", document) for document in ({}, {"overlapSeconds": 3600})]
    values = [token.value, *(one["token"] for one in rotated)]
    assert [await token.status(value) for value in values] == [200] * 3

    values.append((await client.post(token.path + "/rotate", {"overlapSeconds": 0}))["token"])

    async def are_over():
        return [await token.status(value) for value in values] == [401, 401, 401, 200]

    await eventually(are_over)


@pytest.mark.parametrize("wrong", [-1, 604_801, 1.5, "1", None])
async def test_an_overlap_is_at_most_a_week(client, kind, wrong):
    token = await kind.make(client)
    assert (await client.request("POST", token.path + "/rotate", json={"overlapSeconds": wrong}))[0] == 400
    assert await token.status() == 200


async def test_a_rotation_is_audited_without_secrets(client, kind):
    token = await kind.make(client, expiresAt=moment(hours=1))
    await client.post(token.path + "/rotate", {"overlapSeconds": 5})

    types = {ApiToken: "api-token-rotated", EndpointToken: "signal-endpoint-token-rotated"}
    page = await client.get(f"/v1/audit?type={types[kind]}&limit=1000")
    event = next(one for one in page["items"] if one["subjectId"] == token.made["id"])
    assert event["after"] == {**event["before"], "overlapSeconds": 5}
    assert event["before"]["expiresAt"] == token.made["expiresAt"]
    assert "signal_" not in json.dumps(event)
    assert "sb_" not in json.dumps(event)


async def test_who_expires_makes_no_credentials_that_outlast_it(client):
    """Else whoever finds a token that is good for an hour would make one that is good for ever."""
    made, _ = await endpoint(client)
    lasting = await ApiToken.make(client)
    user = await client.post("/v1/users", {"name": fresh_id("user"), "password": "correct horse"})
    token = await ApiToken.make(client, expiresAt=moment(hours=1))
    caller, tokens = client.caller(token.value), f"{ROOT}/{made['id']}/tokens"

    async def status(method, path, document):
        return (await caller.request(method, path, json=document))[0]

    for expiry in ({}, {"expiresAt": None}, {"expiresAt": moment(hours=2)}):
        assert await status("POST", "/v1/tokens", {"name": "t", "permissions": ["admin"], **expiry}) == 403
        assert await status("POST", tokens, {"name": fresh_id("t"), **expiry}) == 403
    assert await status("POST", lasting.path + "/rotate", {}) == 403
    assert await status("POST", "/v1/users", {"name": fresh_id("user"), "password": "correct horse"}) == 403
    assert await status("PATCH", f"/v1/users/{user['id']}", {"password": "other horse"}) == 403
    for more in ({"permissions": ["admin"]}, {"names": ["*"]}, {"groups": ["camunda-admin"]}):
        assert await status("PATCH", f"/v1/users/{user['id']}", more) == 403
    assert await status("PATCH", f"/v1/users/{user['id']}", {"permissions": []}) == 200
    same = {"expiresAt": token.made["expiresAt"]}
    assert await status("POST", "/v1/tokens", {"name": "t", "permissions": ["admin"], **same}) == 201
    assert await status("POST", tokens, {"name": fresh_id("t"), **same}) == 201
    assert await status("POST", token.path + "/rotate", {}) == 200


@pytest.mark.slow
async def test_a_use_is_shown_once_the_gateway_has_written_it(client, product):
    tokens = [await kind.make(client) for kind in (ApiToken, EndpointToken)]
    assert [(await token.shown()).get("lastUsedAt") for token in tokens] == [None, None]
    before = moment()

    async with product.sibling("gateway") as process:
        async with client_of(process.url) as other:
            assert [await token.status(client=other) for token in tokens] == [200, 200]
        assert await process.stop() == 0

    for token in tokens:
        assert before <= (await token.shown())["lastUsedAt"] <= moment()


# In the store


@pytest.fixture
async def token(database):
    made, _ = await AccessStore(database).create_token(name="t", permissions=[Permission.ADMIN], by=ADMINISTRATOR)
    return made


@pytest.fixture
async def caller(token):
    return Principal(name="t", permissions=frozenset(), token_id=token.id)


async def last_use(database, token):
    """Return how many seconds ago the token was last used."""
    used_at = (await AccessStore(database).token(token.id)).last_used_at
    return None if used_at is None else (datetime.now(UTC) - used_at).total_seconds()


async def test_of_several_gateways_the_latest_use_counts(database, token, caller):
    clock = Clock()
    first, second = TokenUses(database, clock=clock), TokenUses(database, clock=clock)
    first.note(caller)
    clock.now = 300
    second.note(caller)
    clock.now = 400
    await second.write()
    assert await last_use(database, token) == pytest.approx(100, abs=30)
    await first.write()
    assert await last_use(database, token) == pytest.approx(100, abs=30)


async def test_many_uses_are_one_statement_and_empty_no_cache(database, token, caller):
    changes = await AccessStore(database).count_changes()
    uses = TokenUses(database)
    for _ in range(1000):
        uses.note(caller)
    assert await last_use(database, token) is None

    await uses.write()
    assert await last_use(database, token) < 30
    version = "SELECT xmin::text FROM token_uses"
    written = await database.fetchval(version)
    await uses.write()
    assert await database.fetchval(version) == written, "nothing was used since"
    assert await AccessStore(database).count_changes() == changes


async def test_a_use_of_a_token_that_is_gone_spoils_no_other(database, token, caller):
    endpoints = EndpointStore(database)
    made = await endpoints.create(name="e", by=ADMINISTRATOR, most=9)
    tokens = [(await endpoints.create_token(made.id, name=name, by=ADMINISTRATOR, most=9))[0] for name in "ab"]
    uses = TokenUses(database)
    for one in tokens:
        uses.note(Principal(name="e", permissions=frozenset(), token_id=one.id, endpoint_id=made.id))
    await endpoints.delete_token(made.id, tokens[0].id, by=ADMINISTRATOR)

    await uses.write()

    (left,) = await endpoints.tokens([made.id])
    assert left.last_used_at is not None


async def test_values_that_ended_are_not_kept(database, token):
    access = AccessStore(database)
    for overlap in (timedelta(hours=1), timedelta(hours=2), timedelta(0)):
        await access.rotate_token(token.id, overlap=overlap, by=ADMINISTRATOR)
    assert await database.fetchval("SELECT count(*) FROM former_digests") == 0


# On the command line


def signal_broker(product, *arguments):
    environment = {f"SIGNAL_BROKER_{key}": value for key, value in product.environment.items()}
    return commands.run(*arguments, environment=environment)


@pytest.mark.slow
async def test_the_command_line_makes_tokens_that_expire_and_rotates_them(client, product):
    def ask(*arguments):
        done = signal_broker(product, *arguments, "--json")
        assert (done.returncode, done.stderr) == (0, ""), done
        return json.loads(done.stdout)

    made = ask("token", "create", "t", "--permission", "admin", "--expires-in", "90d")
    ahead = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < ahead < timedelta(days=90)
    at = moment(days=1)
    assert ask("token", "create", "t", "--permission", "admin", "--expires-at", at)["expiresAt"] == at
    rotated = ask("token", "rotate", str(made["id"]), "--overlap", "2h")
    token = ApiToken(client, made, f"/v1/tokens/{made['id']}")
    assert [await token.status(), await token.status(rotated["token"])] == [200, 200]

    where, _ = await endpoint(client)
    opener = ask("endpoint", "token", "create", where["name"], "ci", "--expires-in", "1h")
    assert opener["expiresAt"] < moment(hours=1)
    again = ask("endpoint", "token", "rotate", where["name"], "ci", "--overlap", "0s")
    of_endpoint = EndpointToken(client, where, opener)
    assert [await of_endpoint.status(), await of_endpoint.status(again["token"])] == [401, 200]
    for arguments in (("token", "list"), ("endpoint", "token", "list", where["name"])):
        done = signal_broker(product, *arguments)
        assert "LAST USED AT" in done.stdout, done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--expires-in", "soon"), "90d, 12h, 30m or 45s"),
        (("--expires-in", "1d", "--expires-at", "2030-01-01T00:00:00Z"), "not both"),
        (("--expires-at", "2020-01-01T00:00:00Z"), "is past already"),
    ],
)
async def test_the_command_line_says_what_is_wrong_with_an_expiry(product, options, said):
    done = signal_broker(product, "token", "create", "t", "--permission", "admin", *options)
    assert done.returncode != 0
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
