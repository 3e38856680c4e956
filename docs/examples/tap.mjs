// A tap with Node's amqplib: prints every signal that it gets as one line of JSON. In this folder:
//
// npm ci && node tap.mjs amqp://localhost billing 'signals.by-name=policy.#' 'signals.routed=tenant.acme.policy.#'
import { connect } from "amqplib";

const [url, queue, ...bindings] = process.argv.slice(2);
const connection = await connect(url);
connection.on("close", () => process.exit(1)); // a supervisor restarts this program
const channel = await connection.createChannel();
const limits = { "x-max-length": 100_000, "x-overflow": "drop-head", "x-delivery-limit": 20 };
await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum", ...limits } });
for (const binding of bindings) {
  const [exchange, ...key] = binding.split("=");
  await channel.bindQueue(queue, exchange, key.join("="));
}
await channel.prefetch(50);
console.error(`${queue} is bound`);

const seen = new Set(); // in production: a unique key, in the transaction that does the work
await channel.consume(queue, (message) => {
  if (message === null) process.exit(1); // the queue was deleted
  const { content, properties } = message;
  const signalId = properties.headers["ce-id"];
  if (!seen.has(signalId)) {
    console.log(JSON.stringify({ body: content.toString(), ...properties })); // here: your work
    seen.add(signalId);
    if (seen.size > 10_000) seen.delete(seen.values().next().value);
  }
  channel.ack(message);
});
