// Broadcasts a signal with each Camunda 8 client of the SDK, and prints what each said as one line of JSON.
// Usage: node broadcast.mjs <url> <user> <password> <token> <request as JSON>
import { Camunda8 } from '@camunda8/sdk'

const [url, user, password, token, request] = process.argv.slice(2)
const basic = { CAMUNDA_AUTH_STRATEGY: 'BASIC', CAMUNDA_BASIC_AUTH_USERNAME: user, CAMUNDA_BASIC_AUTH_PASSWORD: password }
const bearer = { CAMUNDA_AUTH_STRATEGY: 'BEARER', CAMUNDA_OAUTH_TOKEN: token }
const clients = {
  'rest, token': (camunda) => camunda.getCamundaRestClient(),
  'rest, user': (camunda) => camunda.getCamundaRestClient(),
  'cluster, user': (camunda) => camunda.getOrchestrationClusterApiClient(),
}

for (const [name, clientOf] of Object.entries(clients)) {
  const credentials = name.endsWith('user') ? basic : bearer
  const camunda = new Camunda8({ ZEEBE_REST_ADDRESS: url, CAMUNDA_SUPPORT_LOG_ENABLED: false, ...credentials })
  try {
    const { signalKey, tenantId } = await clientOf(camunda).broadcastSignal(JSON.parse(request))
    console.log(JSON.stringify({ name, signalKey, tenantId }))
  } catch (error) {
    console.log(JSON.stringify({ name, status: error.status ?? error.response?.statusCode, error: String(error) }))
  }
}
