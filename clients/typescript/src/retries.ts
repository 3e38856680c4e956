/** When a request is sent again, and when the client gives up. */
import { Unavailable, type Unreadable } from './errors.js'

const AGAIN = new Set([429, 500, 502, 503, 504])
/** The statuses 4xx that say nothing of the request itself. */
const PASSING = new Set([408, 425, 429])
const FIRST_PAUSE = 0.2
const LONGEST_PAUSE = 10
/** How often it is said that a persistent request has no answer, and the longest pause before it is sent again. */
const WARNING_SECONDS = 30

/**
 * The attempts at one request, which take `patience` seconds at most, pauses included. The server's `Retry-After` is
 * obeyed; if it asks for no pause, pauses double, each shortened at random.
 * With `warn`, which is told why there is no answer, they do not end before a success or a refusal of the request itself.
 */
export class Retries {
  #pause = FIRST_PAUSE
  readonly #end: number
  #warnedAt = -Infinity

  constructor(
    private readonly patience: number,
    private readonly repeatable: boolean,
    private readonly warn?: (told: string) => void,
  ) {
    this.#end = warn ? Infinity : Date.now() / 1000 + patience
  }

  get remaining(): number {
    return this.#end - Date.now() / 1000
  }

  /** Return how many seconds to wait before the next attempt; undefined if the answer is final. */
  afterStatus(status: number, retryAfter: string | null): number | undefined {
    const isFinal = this.warn
      ? (status >= 200 && status < 300) || (status >= 400 && status < 500 && !PASSING.has(status))
      : !AGAIN.has(status) || !(this.repeatable || status === 429)
    if (isFinal) return undefined
    return this.#next(seconds(retryAfter), `the server answered ${status}`)
  }

  /** Return how many seconds to wait before the next attempt. */
  afterError(error: unknown): number {
    const told = describe(error)
    if (!this.repeatable) throw new Unavailable(`${told}; the request may have been carried out`, { cause: error })
    return this.#next(undefined, told, error)
  }

  /** Return how many seconds to wait after an answer that says nothing. Throws the error where the answer is final. */
  afterUnreadable(error: Unreadable): number {
    if (!this.warn) throw error
    return this.#next(undefined, error.message)
  }

  #next(wanted: number | undefined, told: string, cause?: unknown): number {
    const pause = wanted ?? this.#pause * (0.5 + Math.random() / 2)
    if (wanted === undefined) this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE)
    if (this.warn) {
      const now = Date.now() / 1000
      if (now - this.#warnedAt >= WARNING_SECONDS) {
        this.#warnedAt = now
        this.warn(told)
      }
      return Math.min(pause, WARNING_SECONDS)
    }
    if (pause >= this.remaining) throw new Unavailable(`gave up after ${this.patience} s: ${told}`, { cause })
    return pause
  }
}

/** Wait for so many seconds, or until *signal* is aborted. */
export function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, seconds * 1000)
    signal?.addEventListener('abort', abort, { once: true })
    if (signal?.aborted) abort()
  })
}

/** Return the seconds of a header `Retry-After`; undefined if it says none, or no time to come. */
function seconds(retryAfter: string | null): number | undefined {
  if (retryAfter === null) return undefined
  const wanted = /^[0-9]{1,9}$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000
  return wanted > 0 ? wanted : undefined
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : ''
  return `${error.name}: ${error.message}${cause}`
}
