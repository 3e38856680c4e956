/** Answers of the server, read within limits of bytes. */
import { Refused, Unreadable } from './errors.js'

/** An answer that is longer is given up: a page of the API ends long before. */
export const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/** What the object that is an answer has at least. */
export type Members = Record<string, 'array' | 'number'>

/** An answer is not in its `Content-Encoding`. */
class Undecodable extends Unreadable {}

/** Statuses that say something of what was asked for only in an answer that is the server's own. */
const OF_PROXIES = new Set([404, 405, 410])
const WRONG_URL = 'is the URL that of a signal-broker?'

/**
 * Return the document of an answer; undefined if it has no body. Throws `Refused` unless its status is 2xx, and
 * `Unreadable` if it is no JSON, or no object with these *members*; or, if the request *persists*, for a 404 or the like
 * by a proxy that does not find the server.
 */
export function readAnswer(
  answer: Response,
  body: string | undefined,
  { members = {}, persists = false }: { members?: Members | undefined; persists?: boolean } = {},
): unknown {
  let document: unknown
  let isJson = body !== undefined
  try {
    document = body ? JSON.parse(body) : undefined
  } catch {
    isJson = false
  }
  const found = typeof document === 'object' && document !== null && !Array.isArray(document) ? document : undefined
  if (persists && OF_PROXIES.has(answer.status) && !found) {
    throw new Unreadable(`the server answered ${answer.status} and no problem document: ${WRONG_URL}`)
  }
  if (!answer.ok) throw new Refused(answer.status, found ?? { title: titleOf(answer, body ?? '') })
  if (!isJson) throw new Unreadable(`the answer is not JSON: ${WRONG_URL}`)
  for (const [name, kind] of Object.entries(members)) {
    const value = (found as Record<string, unknown> | undefined)?.[name]
    if (kind === 'array' ? !Array.isArray(value) : typeof value !== kind) {
      throw new Unreadable(`the answer (${answer.status}) is no object with \`${name}\`: ${WRONG_URL}`)
    }
  }
  return document
}

/** Throw `Unreadable` if *answer* is no stream of events. */
export function checkStream(answer: Response): void {
  const type = answer.headers.get('Content-Type') ?? ''
  if (/^text\/event-stream *(;|$)/i.test(type)) return
  const shown = type ? `is '${type}'` : 'has no content type'
  throw new Unreadable(`the answer ${shown} and no stream of events: ${WRONG_URL}`)
}

/** Whether an answer is a redirect. Browsers show nothing of one but that. */
export function isRedirect(answer: Response): boolean {
  return answer.type === 'opaqueredirect' || (answer.status >= 300 && answer.status < 400)
}

/** Return what is said of a refusal without a problem document. */
function titleOf(answer: Response, body: string): string {
  if (!isRedirect(answer)) return body.slice(0, 200).replace(/\s+/g, ' ')
  const location = answer.headers.get('Location')
  return `it redirects${location === null ? '' : ` to ${location}`}, which is not followed: ${WRONG_URL}`
}

/** Return the body of *answer* as text; undefined if it is not in its `Content-Encoding`. */
export async function readBody(answer: Response): Promise<string | undefined> {
  try {
    return await readText(answer)
  } catch (error) {
    if (error instanceof Undecodable) return undefined
    throw error
  }
}

async function readText(answer: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let size = 0
  for await (const piece of pieces(answer)) {
    size += piece.length
    if (size > MAX_ANSWER_BYTES) throw new Unreadable(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`)
    text += decoder.decode(piece, { stream: true })
  }
  return text + decoder.decode()
}

/** Yield the pieces of a body as they come. Not every browser iterates over streams. */
export async function* pieces(answer: Response): AsyncGenerator<Uint8Array> {
  const reader = answer.body?.getReader()
  if (!reader) return
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        throw isCoded(error) ? new Undecodable('the answer cannot be decoded') : error
      })
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

/** Whether *error* says that an answer is not in its `Content-Encoding`. Browsers do not tell. */
function isCoded(error: unknown): boolean {
  const { code } = ((error as Error).cause ?? error) as { code?: unknown }
  return typeof code === 'string' && /^(Z_|ERR_BROTLI|ERR__ERROR_FORMAT|ZSTD_)/.test(code)
}
