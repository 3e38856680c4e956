"""What policies do to a queue: they override some of its arguments, so that it can lose what it was declared to keep.

RabbitMQ takes the lower value of a policy and an argument for times, lengths and the delivery limit, and the policy's
word for what happens to a full queue. So no argument protects a queue from a policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker.topology import Queue
from broker.transport import Hazard

_REJECT = "reject-publish"
_LENGTHS = {"max-length": "messages", "max-length-bytes": "bytes"}


def find_hazards(queue: Queue, source: str, definition: Mapping[str, object]) -> Iterator[Hazard]:
    """Yield what the policy *definition*, which is in effect on *queue*, takes from it.

    Args:
        queue: The queue as it was declared.
        source: Where the definition comes from.
        definition: The keys and values of the policy and the operator policy, as RabbitMQ has merged them.
    """
    consumed = queue.dead_letter_exchange is not None
    go = "go to the dead queue" if consumed else "are deleted"
    overflow = definition.get("overflow") or queue.arguments.get("x-overflow")

    def hazard(key: str, effect: str, *, loses: bool = True) -> Hazard:
        return Hazard(queue=queue.name, source=source, key=f"{key} = {definition[key]}", effect=effect, loses=loses)

    if "message-ttl" in definition:
        yield hazard("message-ttl", f"messages that wait longer than {definition['message-ttl']} ms {go}")
    if "expires" in definition:
        yield hazard(
            "expires",
            f"the queue and its messages are deleted after {definition['expires']} ms without a consumer",
        )
    for key, unit in _LENGTHS.items():
        if key not in definition:
            continue
        if overflow == _REJECT:
            yield hazard(key, f"it refuses messages while it has {definition[key]} {unit}", loses=False)
        else:
            yield hazard(key, f"beyond {definition[key]} {unit}, its oldest messages {go}")
    if consumed and "overflow" in definition and overflow != _REJECT:
        yield hazard("overflow", "messages can be lost on their way to the dead queue")
    if consumed and definition.get("dead-letter-strategy") == "at-most-once":
        yield hazard("dead-letter-strategy", "messages can be lost on their way to the dead queue")
    limit = definition.get("delivery-limit")
    if isinstance(limit, int) and 0 <= limit < queue.delivery_limit:
        yield hazard(
            "delivery-limit", f"messages {go} after {limit} lost links or restarts of their consumers", loses=False
        )
