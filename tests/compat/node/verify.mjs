// Reads [{example, headers, body, keys}] as JSON, lets each example of docs/webhooks.md verify its webhook, and prints for
// each the signal's name, or null if it was refused.
import { readFileSync, rmSync, writeFileSync } from 'node:fs'

const verified = []
for (const [index, { example, headers, body, keys }] of JSON.parse(readFileSync(0, 'utf8')).entries()) {
  const module = new URL(`example-${process.pid}-${index}.mjs`, import.meta.url) // beside the packages that it imports
  writeFileSync(module, example)
  const { signalOf } = await import(module)
  rmSync(module)
  try {
    verified.push(signalOf(headers, body, keys).name)
  } catch {
    verified.push(null)
  }
}
console.log(JSON.stringify(verified))
