/** The client. */
import { type Members, checkStream, pieces, readAnswer, readBody } from './answers.js'
import type { BatchResult, Match, Signal, Subscription, SubscriptionRequest, Throw, ThrowOptions } from './documents.js'
import { Unreadable } from './errors.js'
import { EventReader, readSignal } from './events.js'
import { encode } from './json.js'
import { Retries, pause } from './retries.js'

/** The server sends a comment every 15 seconds to those who follow signals. */
const SILENCE_SECONDS = 60
const WITH_ID = { id: 'number' } as const
const RESULTS = { results: 'array' } as const
const MATCHES = { matches: 'array' } as const
const KEY = /^[ -~]{1,255}$/
const HALF = /\p{Surrogate}/u

export interface ClientOptions {
  /** How many seconds a call takes at most, with all its attempts; 60 by default. */
  patience?: number
  /** How many seconds one attempt may take; 30 by default. */
  timeout?: number
}

export interface TailOptions {
  name?: string
  tenantId?: string
  /** Begin with what was recorded after this signal; without it, with what is recorded from now on. */
  afterId?: number
  signal?: AbortSignal
}

/** A request. One that is not repeatable is sent again only if it was certainly not carried out. */
export interface ApiRequest {
  method: string
  path: string
  body?: unknown
  headers?: Record<string, string>
  repeatable?: boolean
  /** Sends it until there is an answer, whatever the client's patience, and is told every so often why there is none. */
  persistent?: (warning: string) => void
  /** How many seconds the server may wait before it begins to answer. */
  wait?: number
  /** What the object that is the answer has at least. */
  members?: Members
  signal?: AbortSignal | undefined
}

/**
 * Calls a signal-broker. A request is repeated if the connection fails, and if the server says 429, 500, 502, 503 or
 * 504, when it asks for it. A throw has an idempotency key, so that a repeat is never a second signal.
 */
export class Client {
  readonly #url: string
  readonly #host: string
  readonly #headers: Record<string, string>
  readonly #patience: number
  readonly #timeout: number

  /** What is undefined, as a variable of the environment may be, is refused like any other wrong value. */
  constructor(url: string | undefined, token: string | undefined, { patience = 60, timeout = 30 }: ClientOptions = {}) {
    if (url === undefined || !/^https?:\/\//.test(url)) throw new TypeError(`url must begin with http:// or https://, not ${url}`)
    if (token === undefined || !/^[!-~]+$/.test(token)) throw new TypeError('token must be 1 or more printable ASCII characters')
    this.#url = url.replace(/\/+$/, '')
    this.#host = new URL(url).host
    this.#headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }
    this.#patience = patience
    this.#timeout = timeout
  }

  /** Throw a signal and return it, once it is safe. `headers` are those of the signal that led to it, if one did. */
  async throw(name: string, payload?: unknown, options: ThrowOptions & { headers?: Record<string, string> } = {}) {
    const { idempotencyKey = crypto.randomUUID(), headers, ...rest } = options
    if (!KEY.test(idempotencyKey)) throw new TypeError('idempotencyKey must be 1 to 255 printable characters of ASCII')
    const body = { name, payload, ...rest }
    const sent = { ...headers, 'Idempotency-Key': idempotencyKey }
    return (await this.send({ method: 'POST', path: '/v1/signals', body, headers: sent, members: WITH_ID })) as Signal
  }

  /** Throw 1 to 1,000 signals and return the results in their order; a refused one does not affect the others. */
  async throwBatch(signals: Throw[]): Promise<BatchResult[]> {
    const headers = { 'Idempotency-Key': crypto.randomUUID() }
    const answer = await this.send({ method: 'POST', path: '/v1/signals/batch', body: { signals }, headers, members: RESULTS })
    return (answer as { results: BatchResult[] }).results
  }

  /**
   * Subscribe a target to a name or a pattern; the answer has the `secret` that signs webhooks, and only it.
   *
   * With `ifAbsent`, for targets whose kind is `pull` or `queue`: if there is such a subscription already, return that
   * one, as it is. The description tells apart what is else the same.
   */
  async subscribe(wanted: SubscriptionRequest, { ifAbsent = false }: { ifAbsent?: boolean } = {}): Promise<Subscription> {
    const path = `/v1/subscriptions${ifAbsent ? '?ifAbsent=true' : ''}`
    const request = { method: 'POST', path, body: wanted, repeatable: ifAbsent, members: WITH_ID }
    return (await this.send(request)) as Subscription
  }

  /** Yield for each subscription whether it would get such a signal, and why; nothing is thrown. */
  async *explain(name: string, payload?: unknown, options: ThrowOptions = {}): AsyncGenerator<Match> {
    let after = ''
    for (;;) {
      const path = `/v1/signals/explain${after}`
      const page = await this.send({ method: 'POST', path, body: { name, payload, ...options }, members: MATCHES })
      const { matches, next = null } = page as { matches: Match[]; next?: string | null }
      yield* matches
      if (next === null) return
      after = `?afterId=${next}`
    }
  }

  /**
   * Yield each signal that is recorded, until the caller stops. A connection that ends is made again, and goes on after
   * the last signal. Some may then come twice.
   */
  async *tail({ name, tenantId, afterId, signal }: TailOptions = {}): AsyncGenerator<Signal> {
    const wanted = Object.entries({ name, tenantId }).filter((entry): entry is [string, string] => entry[1] !== undefined)
    for (const [field, text] of wanted) if (HALF.test(text)) throw new TypeError(`${field} has half of a surrogate pair`)
    const path = `/v1/signals/tail?${new URLSearchParams(wanted)}`
    let lastId = afterId?.toString()
    let retries = new Retries(this.#patience, true)
    for (;;) {
      const silence = new Alarm(SILENCE_SECONDS, signal)
      let wait: number | undefined
      try {
        const headers = { Accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'Last-Event-ID': lastId }) }
        const answer = await this.#fetch('GET', path, this.#headed(headers), null, silence.signal)
        wait = retries.afterStatus(answer.status, answer.headers.get('Retry-After'))
        const text = answer.ok ? '' : await readBody(answer)
        if (answer.ok) checkStream(answer)
        else if (wait === undefined) readAnswer(answer, text)
        const reader = new EventReader()
        for await (const piece of answer.ok ? pieces(answer) : []) {
          silence.reset()
          retries = new Retries(this.#patience, true)
          for (const event of reader.read(piece)) {
            if (event.kind !== 'message') continue
            lastId = event.id
            yield readSignal(event.data)
          }
        }
        wait ??= retries.afterError(new Error('the connection ended'))
      } catch (error) {
        if (signal?.aborted || !isLost(error)) throw error
        wait = retries.afterError(error)
      } finally {
        silence.clear()
      }
      await pause(wait, signal)
    }
  }

  /** Send a request until there is an answer, and return its document. */
  async send(request: ApiRequest): Promise<unknown> {
    const { method, path, repeatable = true, persistent, wait: serverWait = 0, members } = request
    const warn = persistent && ((told: string) => persistent(`${this.#host}${path}: no answer, trying again: ${told}`))
    const retries = new Retries(this.#patience, repeatable, warn)
    const body = request.body === undefined ? null : encode(request.body)
    const headers = this.#headed(request.headers)
    for (;;) {
      let wait: number | undefined
      const deadline = new Alarm(Math.min(this.#timeout + serverWait, retries.remaining), request.signal)
      try {
        const answer = await this.#fetch(method, path, headers, body, deadline.signal)
        const text = await readBody(answer)
        wait = retries.afterStatus(answer.status, answer.headers.get('Retry-After'))
        if (wait === undefined) return readAnswer(answer, text, { members, persists: persistent !== undefined })
      } catch (error) {
        if (request.signal?.aborted) throw error
        if (error instanceof Unreadable) wait = retries.afterUnreadable(error)
        else if (isLost(error)) wait = retries.afterError(error)
        else throw error
      } finally {
        deadline.clear()
      }
      await pause(wait, request.signal)
    }
  }

  /** Return the headers of a request. Throws `TypeError` for one that cannot be sent. */
  #headed(headers: Record<string, string> = {}): Headers {
    return new Headers({ ...this.#headers, ...headers })
  }

  #fetch(method: string, path: string, headers: Headers, body: string | null, signal: AbortSignal): Promise<Response> {
    return fetch(this.#url + path, {
      method,
      headers,
      body,
      redirect: 'manual',
      cache: 'no-store',
      signal,
    })
  }
}

/** Aborts after some seconds, unless it is reset, or with another signal. */
class Alarm {
  readonly #controller = new AbortController()
  #timer: ReturnType<typeof setTimeout> | undefined
  readonly #abort = () => this.#controller.abort(this.outer?.reason)

  constructor(
    private readonly seconds: number,
    private readonly outer?: AbortSignal,
  ) {
    outer?.addEventListener('abort', this.#abort, { once: true })
    if (outer?.aborted) this.#abort()
    this.reset()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  reset(): void {
    clearTimeout(this.#timer)
    const late = () => this.#controller.abort(new DOMException('no answer came in time', 'TimeoutError'))
    this.#timer = setTimeout(late, Math.max(this.seconds, 0) * 1000)
  }

  clear(): void {
    clearTimeout(this.#timer)
    this.outer?.removeEventListener('abort', this.#abort)
  }
}

/** Whether an error of `fetch` says that there is no connection, or that it was too slow. */
function isLost(error: unknown): boolean {
  return error instanceof TypeError || (error instanceof DOMException && error.name === 'TimeoutError')
}
