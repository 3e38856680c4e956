/** Server-sent events, as the tail of signals has them. */
import { MAX_ANSWER_BYTES } from './answers.js'
import type { Signal } from './documents.js'
import { Unreadable } from './errors.js'

export interface ServerEvent {
  kind: string
  id: string | undefined
  data: string
}

/** Reads events from the pieces of a stream. Comments only show that it lives. */
export class EventReader {
  readonly #decoder = new TextDecoder()
  #rest = ''

  read(piece: Uint8Array): ServerEvent[] {
    const blocks = (this.#rest + this.#decoder.decode(piece, { stream: true })).split('\n\n')
    this.#rest = blocks.pop() ?? ''
    if (this.#rest.length > MAX_ANSWER_BYTES) throw new Unreadable(`an event is longer than ${MAX_ANSWER_BYTES} characters`)
    return blocks.map(readEvent).filter((event) => event !== undefined)
  }
}

/** Return the signal that the data of an event is. */
export function readSignal(data: string): Signal {
  try {
    return JSON.parse(data) as Signal
  } catch {
    throw new Unreadable('an event is no signal: is the URL that of a signal-broker?')
  }
}

function readEvent(block: string): ServerEvent | undefined {
  const event: ServerEvent = { kind: 'message', id: undefined, data: '' }
  const data: string[] = []
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':')
    const value = line.slice(colon + 1).replace(/^ /, '')
    if (line.startsWith('data:')) data.push(value)
    if (line.startsWith('id:')) event.id = value
    if (line.startsWith('event:')) event.kind = value
  }
  event.data = data.join('\n')
  return data.length ? event : undefined
}
