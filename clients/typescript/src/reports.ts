/** Reporting: the server is told how calls ended, those of many calls in one request. */
import type { Client } from './client.js'

/** How long a result waits for those of other calls. */
const GATHER_MILLISECONDS = 5
/** The most results that wait. */
const MOST = 100
const MOST_RETRY_AFTER_SECONDS = 86_400

/** What became of a call. */
export interface Result {
  outcome: 'succeeded' | 'refused' | 'throttled' | 'given_up' | 'timed_out'
  /** One line for people, where it did not succeed. */
  error?: string
  /** How long the handler wants no further attempt. */
  retryAfterSeconds?: number
  /** What the handler threw, if that was neither a `TryLater` nor a `GiveUp`. */
  thrown?: unknown
}

/** What the server is told of calls. */
interface End {
  path: string
  body: { error?: string; giveUp?: true; retryAfterSeconds?: number; outcome?: 'timed_out' }
}

/** The attempts that ended in the same way, by their lease tokens, and those who wait for what the server says of each. */
interface Batch {
  end: End
  waiting: Map<string, (error: string | null) => void>
}

/**
 * Reports the results of calls. A result waits a few milliseconds for others, unless no other call is under way. What is
 * the same of several calls goes into one request.
 */
export class Reports {
  #expected = 0
  #gathered = new Map<string, Batch>()
  #count = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(private readonly client: Client) {}

  /** Note that a call begins. */
  expect(): void {
    this.#expected += 1
  }

  /** Report how a call ended, and return why the server does not take that; null if it does. */
  report(leaseToken: string, result: Result): Promise<string | null> {
    const end = endOf(result)
    this.#expected -= 1
    this.#count += 1
    const key = JSON.stringify(end)
    const batch = this.#gathered.get(key) ?? { end, waiting: new Map() }
    this.#gathered.set(key, batch)
    const answered = new Promise<string | null>((resolve) => batch.waiting.set(leaseToken, resolve))
    if (this.#expected === 0 || this.#count >= MOST) this.#send()
    else this.#timer ??= setTimeout(() => this.#send(), GATHER_MILLISECONDS)
    return answered
  }

  #send(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const batch of this.#gathered.values()) void this.#tell(batch)
    this.#gathered = new Map()
    this.#count = 0
  }

  async #tell({ end, waiting }: Batch): Promise<void> {
    try {
      const body = { leaseTokens: [...waiting.keys()], ...end.body }
      const answer = (await this.client.send({ method: 'POST', path: end.path, body, members: { results: 'array' } })) as {
        results: { leaseToken: string; error: string | null }[]
      }
      for (const { leaseToken, error } of answer.results) waiting.get(leaseToken)?.(error)
      for (const resolve of waiting.values()) resolve('the answer does not say')
    } catch (error) {
      for (const resolve of waiting.values()) resolve(error instanceof Error ? error.message : String(error))
    }
  }
}

function endOf({ outcome, error = outcome, retryAfterSeconds = 0 }: Result): End {
  if (outcome === 'succeeded') return { path: '/v1/leases/ack', body: {} }
  const path = '/v1/leases/fail'
  if (outcome === 'given_up') return { path, body: { giveUp: true, error } }
  if (outcome === 'timed_out') return { path, body: { outcome, error } }
  if (outcome === 'refused') return { path, body: { error } }
  return { path, body: { retryAfterSeconds: Math.min(retryAfterSeconds, MOST_RETRY_AFTER_SECONDS), error } }
}
