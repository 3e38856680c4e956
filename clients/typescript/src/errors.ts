/** Every error that the client throws on purpose. */
import type { Problem } from './documents.js'

/** The server refused a request: repeating it changes nothing. The message names the field and what is allowed. */
export class Refused extends Error {
  override readonly name = 'Refused'

  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
  ) {
    const wrong = (problem.errors ?? []).map((one) => `${one.pointer || 'the document'}: ${one.detail}`)
    super(`${status}: ${wrong.join('; ') || (problem.detail ?? problem.title ?? '')}`)
  }
}

/** No answer came in time. A throw may have been accepted; repeat it under the same key. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}

/** A request has no valid signature, is too old, or is from the future. */
export class InvalidWebhook extends Error {
  override readonly name = 'InvalidWebhook'
}
