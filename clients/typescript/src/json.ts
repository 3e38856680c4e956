/** JSON of what the caller gives: it is sent as it is, or not at all. */

/** Objects that JSON would write as empty ones. */
const LOSSY = [Map, Set, WeakMap, WeakSet, Promise, ArrayBuffer]

/**
 * Return *value* as JSON. Throws `TypeError`, which names the member, for what JSON cannot hold: functions, symbols,
 * bigints, NaN and infinite numbers, invalid dates, maps, sets, promises and buffers.
 */
export function encode(value: unknown): string {
  return JSON.stringify(value, function (this: Record<string, unknown>, name: string, one: unknown) {
    const given = this[name] // before its `toJSON`, which makes null of an invalid date
    const isNoDate = given instanceof Date && Number.isNaN(given.getTime())
    const lost = isNoDate ? 'an invalid date' : lostOf(one)
    if (lost !== undefined) throw new TypeError(`${name || 'the value'}: JSON cannot hold ${lost}`)
    return one
  })
}

/** Return what *value* is, if JSON cannot hold it. */
function lostOf(value: unknown): string | undefined {
  if (typeof value === 'function' || typeof value === 'symbol' || typeof value === 'bigint') return `a ${typeof value}`
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : String(value)
  const kind = LOSSY.find((one) => value instanceof one)
  return kind && `a ${kind.name}`
}
