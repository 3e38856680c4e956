// Works off the tasks of a topic with Camunda's client for external tasks until it has seen so many, and prints each.
// Usage: node work.mjs <url> <token> <topic> <how many>
import { Client, Variables } from 'camunda-external-task-client-js'

const [url, token, topic, count] = process.argv.slice(2)
const authenticate = (config) => ({ ...config, headers: { ...config.headers, Authorization: `Bearer ${token}` } })
const client = new Client({
  baseUrl: `${url}/engine-rest`, workerId: 'js', maxTasks: 2, asyncResponseTimeout: 5000, interceptors: authenticate,
})
let seen = 0
client.subscribe(topic, { lockDuration: 30000 }, async ({ task, taskService }) => {
  const variables = task.variables.getAll()
  console.log(JSON.stringify({ id: task.id, retries: task.retries, businessKey: task.businessKey, variables }))
  if (variables.fails && task.retries === null) {
    await taskService.extendLock(task, 60000)
    await taskService.handleFailure(task, { errorMessage: 'not yet', retries: 2, retryTimeout: 0 })
  } else {
    await taskService.complete(task, new Variables().set('done', true))
  }
  if (++seen === Number(count)) client.stop()
})
