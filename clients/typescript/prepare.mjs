/** npm runs this where it installs or packs the client from its sources: they are no package until they are built. */
import { existsSync } from 'node:fs'

if (!existsSync(new URL('dist/index.js', import.meta.url))) {
  console.error(
    'The client is not built: its types are generated from the OpenAPI document of a running signal-broker.\n' +
      'Run `make clients` at the top of the checkout, and install build/clients/signal-broker-client-*.tgz.',
  )
  process.exit(1)
}
