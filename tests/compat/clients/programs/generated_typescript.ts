import { createClient } from './generated/client/index.js'
import { throwSignal } from './generated/sdk.gen.js'

declare const process: { argv: string[] }
const [url, token, name] = process.argv.slice(2)
const client = createClient({ baseUrl: url!, auth: ({ scheme }) => (scheme === 'bearer' ? token : undefined) })
const { data } = await throwSignal({ client, throwOnError: true, body: { name: name!, payload: { order: 7 } } })
console.log(data.id)
