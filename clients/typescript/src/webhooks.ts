/** Webhooks: whether a request is one, by Standard Webhooks' signatures: v1 with a secret, v1a with a public key. */
import type { Webhook } from './documents.js'
import { InvalidWebhook } from './errors.js'

export interface VerifyOptions {
  /** How many seconds the clocks may be apart, in either direction; 300 by default. */
  tolerance?: number
  /** The time in seconds since 1970, if it is not the present. */
  now?: number
}

/** What signatures of a version are verified with. */
interface Key {
  version: string
  algorithm: string
  key: CryptoKey
}

type HeaderSource = Headers | Record<string, string | string[] | undefined>

/**
 * Return what a webhook says, if it is signed with a secret (`whsec_...`) or public key (`whpk_...`) and is not too old.
 *
 * @param body The request's body, byte for byte.
 */
export async function verify(
  body: string | Uint8Array,
  headers: HeaderSource,
  secret: string | string[],
  { tolerance = 300, now = Date.now() / 1000 }: VerifyOptions = {},
): Promise<Webhook> {
  if (Number.isNaN(tolerance) || Number.isNaN(now)) {
    throw new TypeError('tolerance and now must be numbers of seconds, not NaN')
  }
  const lower = lowerCased(headers)
  const header = (name: string) => {
    const value = lower.get(name)
    if (!value) throw new InvalidWebhook(`there is no header ${name}`)
    return value
  }
  const id = header('webhook-id')
  const timestamp = header('webhook-timestamp')
  const signatures = header('webhook-signature')
  if (!/^[0-9]{1,15}$/.test(timestamp)) throw new InvalidWebhook('webhook-timestamp is not a number of seconds since 1970')
  const apart = now - Number(timestamp)
  if (Math.abs(apart) > tolerance) {
    throw new InvalidWebhook(`webhook-timestamp is ${Math.abs(apart).toFixed()} s ${apart > 0 ? 'ago' : 'ahead'}`)
  }
  const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body
  const start = new TextEncoder().encode(`${id}.${timestamp}.`)
  const signed = new Uint8Array(start.length + bytes.length)
  signed.set(start)
  signed.set(bytes, start.length)
  const given = signatures.split(' ').map((part) => part.split(/,(.*)/s))
  const keys = await Promise.all([secret].flat().map(readKey))
  const checks = keys.flatMap(({ version, algorithm, key }) =>
    given.filter((one) => one[0] === version).map(([, text = '']) => isSignature(algorithm, key, text, signed)),
  )
  if (!(await Promise.all(checks)).includes(true)) {
    throw new InvalidWebhook('webhook-signature has no signature by this secret or public key')
  }
  let document: unknown
  try {
    document = JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    throw new InvalidWebhook('the body is not JSON')
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw new InvalidWebhook('the body is not a JSON object')
  }
  return document as Webhook
}

async function isSignature(
  algorithm: string,
  key: CryptoKey,
  text: string,
  signed: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const signature = fromBase64(text)
  return signature !== undefined && crypto.subtle.verify(algorithm, key, signature, signed)
}

async function readKey(text: string): Promise<Key> {
  if (text.startsWith('whpk_')) return { version: 'v1a', algorithm: 'Ed25519', key: await readPublicKey(text) }
  const bytes = fromBase64(text.replace(/^whsec_/, ''))
  if (!bytes?.length) {
    throw new TypeError('secret must be a webhook secret, whsec_ and base64, or a public key, whpk_ and base64')
  }
  const hmac = { name: 'HMAC', hash: 'SHA-256' }
  return { version: 'v1', algorithm: 'HMAC', key: await crypto.subtle.importKey('raw', bytes, hmac, false, ['verify']) }
}

async function readPublicKey(text: string): Promise<CryptoKey> {
  const bytes = fromBase64(text.slice('whpk_'.length))
  if (bytes?.length !== 32) throw new TypeError('a public key must be whpk_ and 32 bytes in base64')
  try {
    return await crypto.subtle.importKey('raw', bytes, 'Ed25519', false, ['verify'])
  } catch (cause) {
    throw new Error('a public key (v1a) takes a runtime that has Ed25519 in WebCrypto', { cause })
  }
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  } catch {
    return undefined
  }
}

function lowerCased(headers: HeaderSource): Map<string, string> {
  const entries = headers instanceof Headers ? [...headers] : Object.entries(headers)
  return new Map(entries.map(([name, value]) => [name.toLowerCase(), [value ?? ''].flat().join(' ')]))
}
