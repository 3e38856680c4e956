/** Deliveries together that have the same cause. */

/** Return the filters by which the API finds the dead deliveries of a group of `byError`. */
export const chosen = ({subscriptionId, outcome, status}) => ({subscriptionId, ...(outcome ? {outcome} : {}), ...(status ? {status} : {})});

/** Add dead deliveries, the newest first, to *groups* (a Map) by subscription and how the last attempt ended; return the largest first. */
export function byError(deliveries, groups = new Map()) {
  for (const one of deliveries) {
    const error = one.lastError || one.reason || one.lastOutcome, {subscriptionId, lastOutcome: outcome, lastStatus: status} = one;
    const key = [subscriptionId, outcome, outcome ? status : error].join(" ");
    const group = groups.get(key) || {key, errors: new Set(), subscriptionId, outcome, status, target: one.target, newest: one.finishedAt, number: 0};
    group.number += 1;
    group.errors.add(error);
    groups.set(key, group);
  }
  return [...groups.values()].sort((a, b) => b.number - a.number);
}

/** Return the subscriptions of parked deliveries, each with its oldest one; *deliveries* come the oldest first. */
export function byOldest(deliveries) {
  const oldest = new Map();
  for (const one of deliveries) if (!oldest.has(one.subscriptionId)) oldest.set(one.subscriptionId, one);
  return [...oldest.values()];
}
