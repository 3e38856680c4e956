// Prints what is wrong with an OpenAPI and an AsyncAPI document, one finding a line; nothing if all is well.
import { readFileSync } from 'node:fs'
import { Parser } from '@asyncapi/parser'
import spectral from '@stoplight/spectral-core'
import rulesets from '@stoplight/spectral-rulesets'

const [openapi, asyncapi] = process.argv.slice(2).map(path => readFileSync(path, 'utf8'))
const rules = {
  'info-contact': 'off', // the product is nobody's service
  'contact-properties': 'off',
  'openapi-tags-alphabetical': 'off', // what is used first comes first
  'oas3-operation-security-defined': 'off', // it forbids what OpenAPI 3.1 allows: roles beside schemes of HTTP
}
const linter = new spectral.Spectral()
linter.setRuleset({ extends: [[rulesets.oas, 'all']], rules })
const parser = new Parser({ ruleset: { rules: { 'asyncapi-latest-version': 'off' } } }) // 3.0 is what tools know
const { diagnostics } = await parser.parse(asyncapi)
const isRight = ({ code, path }) => code === 'operation-success-response' && path[1].endsWith('/bpmnError') // it never succeeds
const found = [...await linter.run(openapi), ...diagnostics].filter(one => !isRight(one))
for (const { code, message, path } of found) console.log(`${code} ${path.join('.')}: ${message}`)
