import { Client } from '@signal-broker/client'

const [url, token, name] = process.argv.slice(2)
const signal = await new Client(url, token).throw(name, { order: 7 })
console.log(signal.id)
