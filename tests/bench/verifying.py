"""The last phase of a benchmark: whether everything that it had accepted is recorded, each signal once."""

from __future__ import annotations

from collections import Counter

from tests.bench.bodies import NATIVE
from tests.bench.load import Order, post
from tests.bench.progress import SignalsLostError
from tests.bench.stack import await_recorded
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN, Client

_SECONDS = 0.5


async def verify(client: Client, accepted: int = 0) -> None:
    """Throw a while longer, wait until nothing awaits its record, and compare the ids that were answered, one by one.

    Args:
        client: Talks to a gateway; a recorder is running.
        accepted: How many signals were accepted before, as the load counted. More may be recorded: wrk ends without
            waiting for its last answers.

    Raises:
        SignalsLostError: The books do not agree.
    """
    order = Order(url=f"{client.url}/v1/signals", body=NATIVE, token=ADMIN_TOKEN, seconds=_SECONDS, keep=True)
    answers = await post(order)
    answered = [_id_of(body) for body in answers.bodies]
    await await_recorded(client, accepted + len(answered))
    await eventually(lambda: _nothing_awaits_its_record(client), within=60, every=0.1)
    counts = Counter(await _recorded_ids(client))
    missing = [signal_id for signal_id in answered if not counts[signal_id]]
    repeated = [signal_id for signal_id, count in counts.items() if count > 1]
    if missing or repeated or len(set(answered)) < len(answered) or len(counts) < accepted + len(answered):
        raise SignalsLostError(
            f"{accepted + len(answered)} signals were accepted and {len(counts)} are recorded;"
            f" missing: {missing[:10]}, recorded twice: {repeated[:10]}"
        )


def _id_of(body: str) -> int:
    return int(body.partition('"id":')[2].partition(",")[0])


async def _nothing_awaits_its_record(client: Client) -> bool:
    ledger = await client.get("/v1/ledger")
    return not ledger["awaitingRecord"] and not ledger["lost"]


async def _recorded_ids(client: Client) -> list[int]:
    ids, after = list[int](), "0"
    while after is not None:
        page = await client.get(f"/v1/signals?limit=1000&afterId={after}")
        ids += [item["id"] for item in page["items"]]
        after = page["next"]
    return ids
