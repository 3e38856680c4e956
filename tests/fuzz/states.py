"""The API in any order: objects are made, changed, paused, redriven, replayed and deleted, and the books balance."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.fuzz.callers import Caller

_NAMES = st.sampled_from(["a", "a.b", "a.b.c", "b", "é.ü"])
_PATTERNS = st.sampled_from(["a", "a.#", "*.b", "#", "b"])
_MAYBE_TENANT = st.sampled_from([None, None, "acme", "beta"])
_MAYBE_EXECUTION = st.sampled_from([None, None, None, "e1", "e2"])
_PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_FILTERS = st.sampled_from(
    [None, {"v": {"operator": "NUM_GT", "value": 1}}, {"v": {"operator": "IN", "values": ["x"], "inverted": True}}]
)
_NOW = st.sampled_from(["2000-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2100-01-01T00:00:00Z"])
_IDS = itertools.count(1)


def _given(**members: object) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}


class Api(RuleBasedStateMachine):
    """One caller, and everything that it may do to what it made, also after it deleted it.

    `caller` is set by who runs it; the receiver of the webhooks is a port that refuses.
    """

    caller: Caller
    receiver = "http://127.0.0.1:9/"

    subscriptions = Bundle("subscriptions")
    signals = Bundle("signals")
    deliveries = Bundle("deliveries")
    tokens = Bundle("tokens")
    endpoints = Bundle("endpoints")

    def _do(self, method: str, path: str, document: object = None, *, expect: set[int], **headers: str) -> Any:
        answer = self.caller.do(method, path, document, **headers)
        assert answer.status in expect, (method, path, document, answer)
        return answer.document if answer.status < 300 else None

    @rule(
        target=subscriptions,
        name=_PATTERNS,
        tenant=_MAYBE_TENANT,
        execution=_MAYBE_EXECUTION,
        flags=st.sampled_from([{}, {"once": True}, {"ordered": True}, {"ordered": True, "headOfLine": "skip"}]),
        is_queue=st.booleans(),
        one_filter=_FILTERS,
        attempts=st.sampled_from([1, 2]),
    )
    def subscribe(self, name, tenant, execution, flags, is_queue, one_filter, attempts):
        queue = {"kind": "queue", "queue": "nowhere"}
        target = queue if is_queue else {"kind": "webhook", "url": self.receiver}
        options = _given(tenantId=tenant, executionId=execution, filter=one_filter)
        document = {
            "name": name,
            "target": target,
            "retry": {"maxAttempts": attempts, "schedule": [0.1]},
            **flags,
            **options,
        }
        made = self._do("POST", "/v1/subscriptions", document, expect={201, 403, 409})
        return made["id"] if made else next(_IDS)

    @rule(
        one=subscriptions, change=st.sampled_from(["filter", "target", "maxInFlight", "maxPerSecond", "steps", "retry"])
    )
    def change(self, one, change):
        changes = {
            "filter": {"filter": None},
            "target": {"target": {"kind": "queue", "queue": "elsewhere"}},
            "maxInFlight": {"maxInFlight": 1},
            "maxPerSecond": {"maxPerSecond": 50},
            "retry": {"retry": {"maxAttempts": 1}},
            "steps": {"steps": [{"target": {"kind": "webhook", "url": self.receiver}}] * 2},
        }
        self._do("PATCH", f"/v1/subscriptions/{one}", changes[change], expect={200, 404})

    @rule(one=subscriptions, what=st.sampled_from(["pause", "resume", "rotate-secret", "replay"]))
    def manage(self, one, what):
        self._do("POST", f"/v1/subscriptions/{one}/{what}", expect={200, 404, 409})

    @rule(one=subscriptions, since=_NOW, until=_NOW, dry=st.booleans())
    def replay(self, one, since, until, dry):
        document = {"since": since, "until": until, "dryRun": dry}
        self._do("POST", f"/v1/subscriptions/{one}/replay", document, expect={200, 404, 409})

    @rule(one=subscriptions)
    def show(self, one):
        self._do("GET", f"/v1/subscriptions/{one}", expect={200, 404})
        self._do("GET", f"/v1/ledger?subscriptionId={one}", expect={200, 404})

    @rule(one=consumes(subscriptions))
    def unsubscribe(self, one):
        self._do("DELETE", f"/v1/subscriptions/{one}", expect={204, 404})

    @rule(
        target=signals,
        name=_NAMES,
        payload=_PAYLOADS,
        tenant=_MAYBE_TENANT,
        key=st.sampled_from([None, "k1", "k2"]),
        when=st.sampled_from([{}, {"deliverAt": "2000-01-01T00:00:00Z"}, {"orderingKey": "o"}]),
        scheduled=st.booleans(),
    )
    def throw(self, name, payload, tenant, key, when, scheduled):
        later = {"deliverAt": _in(3600), "expiresAt": _in(7200)} if scheduled else when
        document = {"name": name, "payload": payload, **_given(tenantId=tenant), **later}
        headers = {"Idempotency_Key": key} if key else {}
        made = self._do("POST", "/v1/signals", document, expect={202, 409}, **headers)
        return made["id"] if made else next(_IDS)

    @rule(name=_NAMES, execution=st.sampled_from(["e1", "e2"]))
    def throw_to_an_execution(self, name, execution):
        self._do("POST", "/v1/signals", {"name": name, "executionId": execution}, expect={202, 409})
        self._do("POST", "/v1/signals/explain", {"name": name, "executionId": execution}, expect={200, 409})

    @rule(names=st.lists(_NAMES, min_size=1, max_size=4))
    def throw_a_batch(self, names):
        self._do("POST", "/v1/signals/batch", {"signals": [*({"name": name} for name in names), 1]}, expect={200})

    @rule(target=deliveries, one=signals)
    def look(self, one):
        self._do("GET", f"/v1/signals/{one}", expect={200, 404})
        page = self._do("GET", f"/v1/signals/{one}/deliveries", expect={200, 404})
        return page["items"][0]["id"] if page and page["items"] else f"{one}-1"

    @rule(one=signals)
    def cancel(self, one):
        self._do("DELETE", f"/v1/signals/{one}", expect={204, 404, 409})

    @rule(one=deliveries, what=st.sampled_from(["redrive", "cancel"]))
    def manage_delivery(self, one, what):
        self._do("POST", f"/v1/deliveries/{one}/{what}", expect={200, 404, 409})
        self._do("GET", f"/v1/deliveries/{one}", expect={200, 404})

    @rule(name=_PATTERNS, dry=st.booleans())
    def redrive(self, name, dry):
        self._do("POST", "/v1/deliveries/redrive", {"name": name, "dryRun": dry}, expect={200})

    @rule(target=tokens, names=st.none() | st.lists(_PATTERNS, min_size=1, max_size=2), tenant=_MAYBE_TENANT)
    def make_token(self, names, tenant):
        limits = _given(names=names, tenants=tenant and [tenant])
        document = {"name": "t", "permissions": ["signals:throw", "signals:read", "subscriptions:manage"], **limits}
        return self._do("POST", "/v1/tokens", document, expect={201})["id"]

    @rule(one=consumes(tokens))
    def revoke(self, one):
        self._do("GET", f"/v1/tokens/{one}", expect={200})
        self._do("DELETE", f"/v1/tokens/{one}", expect={204})
        self._do("DELETE", f"/v1/tokens/{one}", expect={404})

    @rule(target=endpoints, enabled=st.booleans())
    def make_endpoint(self, enabled):
        name = f"f{os.getpid()}-{next(_IDS)}"
        made = self._do("POST", "/api/admin/signal-endpoints", {"name": name, "enabled": enabled}, expect={201})
        path = f"/api/admin/signal-endpoints/{made['id']}"
        token = self._do("POST", f"{path}/tokens", {"name": "t"}, expect={201})["token"]
        return path, name, token

    @rule(one=endpoints, what=st.sampled_from(["/on", "/off", "/tokens", "/signals"]))
    def manage_endpoint(self, one, what):
        self._do("GET" if what in {"/tokens", "/signals"} else "POST", f"{one[0]}{what}", expect={200})

    @rule(one=endpoints, payload=_PAYLOADS)
    def call(self, one, payload):
        path, headers = f"/api/signal-endpoint/{one[1]}", {"Authorization": f"Bearer {one[2]}"}
        self._do("POST", path, payload, expect={200, 400, 401, 404}, **headers)

    @rule(one=consumes(endpoints))
    def delete_endpoint(self, one):
        self._do("DELETE", one[0], expect={200})
        self._do("DELETE", one[0], expect={404})

    @invariant()
    def nothing_is_lost(self):
        books = self._do("GET", "/v1/ledger", expect={200})
        assert (books["lost"], books["poisonedSignals"]) == (0, 0), books

    def teardown(self):
        """Delete everything, and wait for the books to balance."""
        for name in ("subscriptions", "endpoints", "tokens"):
            for one in self.bundles.get(name, ()):
                value = self.names_to_values[one.name]
                path = value[0] if name == "endpoints" else f"/v1/{name}/{value}"
                self.caller.do("DELETE", path)
        books: Any = {}
        end = time.monotonic() + 30
        while books.get("awaitingRecord") != 0 or books["unaccounted"] != 0:
            assert time.monotonic() < end, books
            books = self._do("GET", "/v1/ledger", expect={200})


def _in(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
