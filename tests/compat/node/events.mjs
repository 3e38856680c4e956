// Reads {received: [{headers, body}], throw: [event]} as JSON from the standard input. Prints how the official SDK reads
// each of `received`, and what it makes of each event of `throw` in binary and structured mode, as JSON.
import { readFileSync } from 'node:fs'
import { CloudEvent, HTTP } from 'cloudevents'

const { received, thrown } = JSON.parse(readFileSync(0, 'utf8'))
const read = received.map((message) => {
  const event = HTTP.toEvent(message)
  event.validate()
  return event.toJSON()
})
const written = thrown.flatMap((attributes) => {
  const event = new CloudEvent(attributes)
  return [HTTP.binary(event), HTTP.structured(event)].map(({ headers, body }) => ({ headers, body }))
})
console.log(JSON.stringify({ read, written }))
