/** A client of signal-broker: throw signals, subscribe to them, follow them, verify webhooks, handle what is pulled. */
export { Client, type ApiRequest, type ClientOptions, type TailOptions } from './client.js'
export type {
  BatchResult,
  Match,
  Problem,
  Signal,
  Subscription,
  SubscriptionRequest,
  Throw,
  ThrowOptions,
  Webhook,
} from './documents.js'
export { InvalidWebhook, Refused, Unavailable, Unreadable } from './errors.js'
export {
  GiveUp,
  TryLater,
  handle,
  tryOut,
  type HandleOptions,
  type Handler,
  type HandlerSubscription,
  type Log,
  type Received,
} from './handlers.js'
export type { Result } from './reports.js'
export { verify, type VerifyOptions } from './webhooks.js'
