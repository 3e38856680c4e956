"""A tap in plain pika: prints every signal that it gets as one line of JSON.

python3 docs/examples/tap.py amqp://localhost billing 'signals.by-name=policy.#' 'signals.routed=tenant.acme.policy.#'
"""

import json
import sys

import pika

url, queue, *bindings = sys.argv[1:]
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
limits = {"x-max-length": 100_000, "x-overflow": "drop-head", "x-delivery-limit": 20}
channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum", **limits})
for binding in bindings:
    exchange, _, key = binding.partition("=")
    channel.queue_bind(queue, exchange, key)
channel.basic_qos(prefetch_count=50)
print(f"{queue} is bound", file=sys.stderr, flush=True)

seen: dict[str, None] = {}  # in production: a unique key, in the transaction that does the work
for method, properties, body in channel.consume(queue):
    signal_id = properties.headers["ce-id"]
    if signal_id not in seen:
        print(json.dumps({"body": body.decode(), **vars(properties)}), flush=True)  # here: your work
        seen[signal_id] = None
        if len(seen) > 10_000:
            del seen[next(iter(seen))]
    channel.basic_ack(method.delivery_tag)
