import type { paths } from './generated/api.js'

type Throw = paths['/v1/signals']['post']
type Body = NonNullable<Throw['requestBody']>['content']['application/json']
type Signal = Throw['responses'][202]['content']['application/json']

declare const process: { argv: string[] }
const [url, token, name] = process.argv.slice(2)
const body: Body = { name: name!, payload: { order: 7 } }
const answer = await fetch(`${url}/v1/signals`, {
  method: 'POST',
  headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
})
const signal = (await answer.json()) as Signal
console.log(signal.id)
