/** Answers of the server, read within limits of bytes. */
import type { Problem } from './documents.js'
import { Refused } from './errors.js'

/** An answer that is longer is given up: a page of the API ends long before. */
export const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/** Return the document of an answer; undefined if it has no body. Throws `Refused` unless its status is 2xx. */
export function readAnswer(status: number, body: string): unknown {
  let document: unknown
  try {
    document = body ? JSON.parse(body) : undefined
  } catch {
    if (status < 300) throw new Error('the answer is not JSON: is the URL that of a signal-broker?')
  }
  if (status >= 200 && status < 300) return document
  const isObject = typeof document === 'object' && document !== null
  throw new Refused(status, isObject ? (document as Partial<Problem>) : { title: body.slice(0, 200).replace(/\s+/g, ' ') })
}

/** Return the body of *answer* as text. */
export async function readBody(answer: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let size = 0
  for await (const piece of pieces(answer)) {
    size += piece.length
    if (size > MAX_ANSWER_BYTES) throw new Error(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`)
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
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
