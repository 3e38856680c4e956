/** Tables of signals, deliveries, subscriptions and events. */

import {html} from "./view.js";
import {chosen} from "./groups.js";
import {to} from "./routes.js";
import {Moment, State, Table} from "./parts.js";
import {backlogOf, because, count, happened, percent, several, targetsOf, toneOf, where} from "./words.js";

const whom = one => [one.tenantId !== null && `tenant ${one.tenantId}`, one.executionId && `execution ${one.executionId}`].filter(Boolean).join(", ");

export const Signals = ({rows, empty}) => html`<${Table} label="Signals" rows=${rows} keyOf=${one => one.id} empty=${empty} columns=${[
  ["Signal", one => html`<a href=${to("signals", one.id)}>${one.id}</a>`],
  ["Name", one => html`<code>${one.name}</code>`],
  ["For", one => whom(one) || one.scope],
  ["By", one => one.source],
  ["Keys", one => [one.businessKey, one.orderingKey].filter(Boolean).join(", ")],
  ["Accepted", one => html`<${Moment} at=${one.createdAt} />`, "end"],
]} />`;

export const Deliveries = ({rows, empty}) => html`<${Table} label="Deliveries" rows=${rows} keyOf=${one => one.id} empty=${empty} columns=${[
  ["Delivery", one => html`<a href=${to("deliveries", one.id)}>${one.id}</a>`],
  ["State", one => html`<${State} of=${one.state} />`],
  ["Signal", one => html`<code>${one.signalName}</code>`],
  ["Target", one => html`<span class="long">${where(one.target)}</span>`],
  ["Last attempt", one => [one.lastStatus || one.lastOutcome, one.lastError].filter(Boolean).join(": ") || html`<span class="soft">none yet</span>`],
  ["Attempts", one => one.attemptCount, "number"],
  ["When", one => html`<${Moment} at=${one.state === "parked" && one.dueAt ? one.dueAt : one.finishedAt || one.createdAt} />`, "end"],
]} />`;

const Named = ({one}) => html`<div class="named"><code>${one.name}</code>${one.description && html`<div class="soft" title=${one.description}>${one.description}</div>`}</div>`;

export const Subscriptions = ({rows, empty}) => html`<${Table} label="Subscriptions" rows=${rows} keyOf=${one => one.id} empty=${empty} columns=${[
  ["Subscription", one => html`<a href=${to("subscriptions", one.id)}>${one.id}</a>`],
  ["Name", one => html`<${Named} one=${one} />`],
  ["State", one => html`<${State} of=${one.state} />${one.circuit && one.circuit !== "closed" && html` <${State} of=${one.circuit} as=${`circuit ${one.circuit.replace("_", " ")}`} />`}`],
  ["Target", one => html`<span class="long">${targetsOf(one).map(where).join(" → ")}</span>`],
  ["Tenant, execution", one => whom(one)],
  ["Delivered, hour", one => percent(one.successRate?.hour), "number"],
  ["Delivered, day", one => percent(one.successRate?.day), "number"],
  ["Backlog", one => backlogOf(one) ?? "", "number"],
  ["Oldest", one => html`<${Moment} at=${one.backlog?.oldest} />`, "end"],
]} />`;

/** Why the deliveries of a group of `byError` are dead, and where they are listed. */
export const ErrorOf = ({group}) => html`<a href=${to("deliveries", undefined, {state: "dead", ...chosen(group)})}>${group.errors.values().next().value}</a>
  ${group.errors.size > 1 && html` <span class="soft">and ${group.errors.size - 1} more like it</span>`}`;

export const Errors = ({groups, empty}) => html`<${Table} label="Dead letters by reason" rows=${groups} keyOf=${group => group.key} empty=${empty} columns=${[
  ["Subscription", group => html`<a href=${to("subscriptions", group.subscriptionId)}>${group.subscriptionId}</a>`],
  ["Target", group => html`<span class="long">${where(group.target)}</span>`],
  ["Error", group => html`<${ErrorOf} group=${group} />`],
  ["Deliveries", group => count(group.number), "number"],
  ["Newest", group => html`<${Moment} at=${group.newest} />`, "end"],
]} />`;

export const OldestParked = ({rows, empty}) => html`<${Table} label="Subscriptions with the oldest parked deliveries" rows=${rows} keyOf=${one => one.subscriptionId} empty=${empty} columns=${[
  ["Subscription", one => html`<a href=${to("subscriptions", one.subscriptionId)}>${one.subscriptionId}</a>`],
  ["Target", one => html`<span class="long">${where(one.target)}</span>`],
  ["Oldest delivery", one => html`<a href=${to("deliveries", one.id)}>${one.id}</a>`],
  ["Why", one => html`<span class="long">${because(one)}</span>`],
  ["Owed since", one => html`<${Moment} at=${one.createdAt} />`, "end"],
]} />`;

/** What is known of the last time that *event* happened: of a type of another version, as it is. */
function Details({event}) {
  const {host, reason, deliveryId, attempts, kind, id, quota, queue, messages} = event.details, words = {
    host, kind: quota && `${quota} of ${kind} ${id}`, queue: queue && `${several(messages, "message")} in ${queue}`,
    delivery: deliveryId && html`<div><a href=${to("deliveries", deliveryId)}>${deliveryId}</a></div><div>after ${several(attempts, "attempt")}: ${reason}</div>`, reason: !deliveryId && reason,
  };
  const known = Object.values(words).find(Boolean);
  return html`<span class="long">${known || JSON.stringify(event.details)}</span>`;
}

export const Events = ({rows, empty}) => html`<${Table} label="Events" rows=${rows} keyOf=${one => one.id} empty=${empty} columns=${[
  ["What", one => html`<span class="state ${toneOf(one)}" title=${one.type}>${happened(one)}</span>`],
  ["Subscription", one => one.subscriptionId !== null && html`<div><a href=${to("subscriptions", one.subscriptionId)}>${one.subscriptionId}</a></div><div><code>${one.subscriptionName}</code></div>`],
  ["Tenant", one => one.tenantId],
  ["The last time", one => html`<${Details} event=${one} />`],
  ["Times", one => count(one.count), "number"],
  ["Signal", one => one.signalId !== null && html`<a href=${to("signals", one.signalId)}>${one.signalId}</a>`],
  ["When", one => html`<${Moment} at=${one.at} />`, "end"],
]} />`;
