/** Documents of the API, with the types that its OpenAPI document gives them. */
import type { components } from './api.js'

type Schemas = components['schemas']

export type Signal = Schemas['SignalSchema']
export type Subscription = Schemas['SubscriptionSchema']
export type SubscriptionRequest = Schemas['SubscriptionRequest']
export type BatchResult = Schemas['BatchResult']
export type Match = Schemas['Explanation']
export type Problem = Schemas['Problem']
export type LeasedDelivery = Schemas['LeasedDelivery']

/** What a throw says besides its name and its payload. Moments are RFC 3339, with an offset. */
export interface ThrowOptions {
  variables?: Record<string, { value?: unknown; type?: string; valueInfo?: Record<string, unknown> }>
  tenantId?: string
  withoutTenantId?: boolean
  executionId?: string
  businessKey?: string
  orderingKey?: string
  deliverAt?: string
  expiresAt?: string
  /** The same key and content within a day is the same signal. By default it is a random one. */
  idempotencyKey?: string
}

/** A throw of a batch. */
export interface Throw extends ThrowOptions {
  name: string
  payload?: unknown
}

/** What a webhook says. Drop repeats by `deliveryId`, which is the same on every attempt. */
export interface Webhook {
  id: number
  name: string
  scope: Signal['scope']
  tenantId: string | null
  executionId: string | null
  createdAt: string
  businessKey: string | null
  payload: unknown
  variables: Signal['variables']
  deliveryId: string
  attempt: number
  subscriptionId: number
}
