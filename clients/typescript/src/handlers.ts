/** Handlers: functions that the deliveries of pull subscriptions are leased for. */
import type { Members } from './answers.js'
import type { Client } from './client.js'
import type { LeasedDelivery, Signal, Subscription, SubscriptionRequest } from './documents.js'
import { encode } from './json.js'
import { Reports, type Result } from './reports.js'
import { pause } from './retries.js'

/** How long a request for leases waits for a delivery. */
const WAIT_SECONDS = 20
/** How much longer than a call a lease is: the result may take that long to be reported. */
const TO_REPORT_SECONDS = 15
/** How long it waits where leases bring nothing to call, though they should have waited for it. */
const FIRST_PAUSE_SECONDS = 0.5
const LONGEST_PAUSE_SECONDS = 10
const MOST_ERROR_CHARACTERS = 1000

/** Throw it in a handler to delay the next attempt by so many seconds, at most a day. This attempt counts as failed. */
export class TryLater extends Error {
  override readonly name = 'TryLater'

  constructor(
    readonly afterSeconds: number,
    why = '',
  ) {
    super(why)
  }
}

/** Throw it in a handler if another attempt would be useless: the delivery is dead at once. */
export class GiveUp extends Error {
  override readonly name = 'GiveUp'
}

/** The signal that a handler is called for. */
export interface Received<Payload = unknown> extends Signal {
  payload: Payload
  /** The same on every attempt: drop repeats by it. */
  deliveryId: string
  attempt: number
  /** The headers of a throw in the handler: they continue the trace, and let a loop of throws come to an end. */
  headers: Record<string, string>
  /** Aborted when the call has taken too long. */
  cancelled: AbortSignal
}

/** A function that signals are delivered to. Nothing checks that payloads have the type. */
export type Handler<Payload = unknown> = (payload: Payload, signal: Received<Payload>) => unknown

/** What is wanted of a handler's subscription, whose target is `{kind: "pull"}`. */
export type HandlerSubscription = Omit<SubscriptionRequest, 'target' | 'steps'>

/** Where `handle` says what it does and what goes wrong; `console` is one. */
export interface Log {
  /** The handler is subscribed. */
  info(told: string): void
  /** A call has failed, its result was not taken, or the server does not answer. */
  warn(told: string): void
  /** A handler has thrown this. */
  error(told: string, thrown: unknown): void
}

export interface HandleOptions {
  /** The maximum number of concurrent calls; 10 by default. */
  concurrency?: number
  /** The maximum duration of a call in seconds; 30 by default. */
  timeout?: number
  /** What the attempts call this process; in Node its host and number by default. */
  worker?: string
  /** Ends it: no more deliveries are leased, and running calls may end. */
  signal?: AbortSignal
  /** The console by default. */
  log?: Log
}

/**
 * Lease the deliveries of a subscription with the target `{kind: "pull"}` and call `handler` with each, until
 * `options.signal` is aborted. `subscription` is its id, or what is wanted of it: then it is made if it is absent.
 *
 * A handler that throws has failed, and is called again by the subscription's schedule. A server that does not answer is
 * waited for. Throws `Refused` if the server refuses the token, the subscription, or to lease its deliveries, and
 * `RangeError` if `concurrency` is less than 1.
 */
export async function handle<Payload = unknown>(
  client: Client,
  subscription: number | HandlerSubscription,
  handler: Handler<Payload>,
  { concurrency = 10, timeout = 30, worker = workerName(), signal, log = console }: HandleOptions = {},
): Promise<void> {
  if (!(concurrency >= 1)) throw new RangeError('concurrency must be at least 1')
  const running = new Set<Promise<void>>()
  const reports = new Reports(client)
  const insist = (path: string, body: unknown, members: Members, wait = 0) =>
    client.send({ method: 'POST', path, body, members, wait, signal, persistent: (warning) => log.warn(warning) })
  let idle = FIRST_PAUSE_SECONDS
  try {
    const description = typeof subscription === 'number' ? '' : subscription.description
    const name = oneLine(description || handler.name || 'the handler')
    const id = typeof subscription === 'number' ? subscription : await subscribe(insist, subscription, name, log)
    while (!signal?.aborted) {
      const free = Math.min(concurrency - running.size, 100)
      if (free <= 0) {
        await Promise.race(running)
        continue
      }
      const wanted = { max: free, waitSeconds: WAIT_SECONDS, leaseSeconds: timeout + TO_REPORT_SECONDS, worker }
      const path = `/v1/subscriptions/${id}/lease`
      const askedAt = Date.now()
      const answer = await insist(path, wanted, { deliveries: 'array' }, WAIT_SECONDS)
      const { deliveries } = answer as { deliveries: unknown[] }
      const leased = deliveries.filter(isLeased)
      // What is malformed comes again when its lease ends.
      if (leased.length < deliveries.length) {
        log.warn(`${path}: malformed deliveries: ${deliveries.length - leased.length}`)
      }
      for (const delivery of leased) {
        reports.expect()
        const attempted = attempt(reports, delivery, handler, { name, timeout, log })
        running.add(attempted)
        void attempted.finally(() => running.delete(attempted))
      }
      const hasWaited = Date.now() - askedAt >= (WAIT_SECONDS / 2) * 1000
      if (leased.length || (!deliveries.length && hasWaited)) {
        idle = FIRST_PAUSE_SECONDS
      } else {
        await pause(idle * (0.5 + Math.random() / 2), signal)
        idle = Math.min(2 * idle, LONGEST_PAUSE_SECONDS)
      }
    }
  } catch (error) {
    if (!signal?.aborted) throw error
  } finally {
    await Promise.all(running)
  }
}

/**
 * Call `handler` as for a signal with that payload, and return how that ends. For tests: there is no server and no
 * further attempt. `options` are what the signal is to have, and `timeout`, the maximum duration in seconds.
 */
export function tryOut<Payload>(
  handler: Handler<Payload>,
  payload: Payload,
  { timeout = 30, ...received }: Partial<Omit<Received, 'payload' | 'cancelled'>> & { timeout?: number } = {},
): Promise<Result> {
  const signal: Signal = {
    id: 1,
    name: 'signal',
    scope: 'broadcast',
    tenantId: null,
    executionId: null,
    payload: JSON.parse(encode(payload ?? null)),
    variables: {},
    businessKey: null,
    createdAt: new Date().toISOString(),
    orderingKey: null,
    deliverAt: null,
    expiresAt: null,
    source: 'native',
    sourceId: null,
    hops: 0,
    state: 'recorded',
  }
  return call(handler, { deliveryId: '1-1', attempt: 1, headers: {}, ...signal, ...received }, timeout)
}

async function subscribe(
  insist: (path: string, body: unknown, members: Members) => Promise<unknown>,
  wanted: HandlerSubscription,
  handler: string,
  log: Log,
): Promise<number> {
  const path = '/v1/subscriptions?ifAbsent=true'
  const { id, name } = (await insist(path, { ...wanted, target: { kind: 'pull' } }, { id: 'number' })) as Subscription
  log.info(`${handler} is subscribed to ${name}: subscription ${id}`)
  return id
}

/** Whether *one* has what a call takes of a delivery that was leased. */
function isLeased(one: unknown): one is LeasedDelivery {
  const { deliveryId, leaseToken, attempt: number, signal } = (one ?? {}) as Partial<LeasedDelivery>
  if (typeof deliveryId !== 'string' || typeof leaseToken !== 'string' || typeof number !== 'number') return false
  return typeof signal?.hops === 'number'
}

async function attempt<Payload>(
  reports: Reports,
  { deliveryId, leaseToken, attempt: number, traceparent, tracestate, signal }: LeasedDelivery,
  handler: Handler<Payload>,
  { name, timeout, log }: { name: string; timeout: number; log: Log },
): Promise<void> {
  const hops = String(signal.hops + 1)
  const headers = {
    'Signal-Broker-Hops': hops,
    baggage: `signal-broker-hops=${hops}`,
    ...(typeof traceparent === 'string' ? { traceparent } : {}),
    ...(typeof tracestate === 'string' ? { tracestate } : {}),
  }
  const result = await call(handler, { ...signal, deliveryId, attempt: number, headers }, timeout)
  const where = `${name}: delivery ${deliveryId} of ${oneLine(signal.name)}, attempt ${number}`
  const told = `${where}: ${result.outcome}: ${result.error}`
  if (result.outcome !== 'succeeded') {
    if ('thrown' in result) log.error(told, result.thrown)
    else log.warn(told)
  }
  const refusal = await reports.report(leaseToken, result)
  if (refusal !== null) log.warn(`${where}: the result was not taken: ${refusal}`)
}

async function call<Payload>(
  handler: Handler<Payload>,
  received: Omit<Received, 'cancelled'>,
  timeout: number,
): Promise<Result> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new DOMException('the call took too long', 'TimeoutError')), timeout * 1000)
  const timedOut = new Promise<Result>((resolve) => {
    late.signal.addEventListener('abort', () => resolve({ outcome: 'timed_out', error: `not done within ${timeout} s` }))
  })
  const ended = async (): Promise<Result> => {
    const payload = received.payload as Payload
    try {
      await handler(payload, { ...received, payload, cancelled: late.signal })
    } catch (error) {
      return failure(error)
    }
    return { outcome: 'succeeded' }
  }
  try {
    return await Promise.race([ended(), timedOut])
  } finally {
    clearTimeout(timer)
  }
}

function failure(thrown: unknown): Result {
  if (!(thrown instanceof Error)) return { outcome: 'refused', error: oneLine(shown(thrown)), thrown }
  const told = oneLine(shown(thrown.message) || shown(thrown.name))
  if (thrown instanceof GiveUp) return { outcome: 'given_up', error: told }
  if (thrown instanceof TryLater) {
    return { outcome: 'throttled', error: told, retryAfterSeconds: Math.max(thrown.afterSeconds, 0) || 0 }
  }
  return { outcome: 'refused', error: oneLine(`${shown(thrown.name)}: ${told}`), thrown }
}

function shown(value: unknown): string {
  try {
    return String(value)
  } catch {
    return 'something that is no text'
  }
}

/** Return *text* with a space for each character that no line can have. */
function oneLine(text: string): string {
  const characters = [...text].slice(0, MOST_ERROR_CHARACTERS)
  return characters.map((one) => (/[\p{C}\p{Zl}\p{Zp}]/u.test(one) ? ' ' : one)).join('')
}

/** Return the host and the number of this process; undefined in browsers. */
function workerName(): string | undefined {
  const { process } = globalThis as {
    process?: { pid?: number; getBuiltinModule?: (name: string) => { hostname(): string } | undefined }
  }
  if (process?.pid === undefined) return undefined
  const host = process.getBuiltinModule?.('node:os')?.hostname()
  return host === undefined ? String(process.pid) : `${host}:${process.pid}`
}
