/** Every error that the client throws on purpose. */
import type { Problem } from './documents.js'

/** The server refused a request: repeating it changes nothing. The message names the field and what is allowed. */
export class Refused extends Error {
  override readonly name = 'Refused'
  /** The problem document of the server; members that do not have their type are left out. */
  readonly problem: Partial<Problem>

  constructor(
    readonly status: number,
    problem: object,
  ) {
    const read = readable(problem)
    const wrong = (read.errors ?? []).map((one) => `${one.pointer || 'the document'}: ${one.detail}`)
    super(`${status}: ${wrong.join('; ') || read.detail || read.title || 'the answer does not say why'}`)
    this.problem = read
  }
}

/** Return the members of *document* that a problem has, if they have their type. */
function readable(document: object): Partial<Problem> {
  const kinds = { type: 'string', title: 'string', status: 'number', detail: 'string' }
  const found = document as Record<string, unknown>
  const kept = Object.entries(kinds).filter(([name, kind]) => typeof found[name] === kind)
  const problem = Object.fromEntries(kept.map(([name]) => [name, found[name]]))
  const fields = Array.isArray(found.errors) ? found.errors.filter(isFieldProblem) : []
  return fields.length ? { ...problem, errors: fields } : problem
}

function isFieldProblem(one: unknown): boolean {
  const { pointer, detail } = (one ?? {}) as { pointer?: unknown; detail?: unknown }
  return typeof pointer === 'string' && typeof detail === 'string'
}

/** No answer came in time. A throw may have been accepted; repeat it under the same key. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}

/** An answer is none that a signal-broker gives; what was asked for may have been done. */
export class Unreadable extends Error {
  override readonly name = 'Unreadable'
}

/** A request has no valid signature, is too old, or is from the future. */
export class InvalidWebhook extends Error {
  override readonly name = 'InvalidWebhook'
}
