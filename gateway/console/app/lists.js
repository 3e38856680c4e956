/** Tables of signals, deliveries and subscriptions. */

import {html} from "./view.js";
import {chosen} from "./groups.js";
import {to} from "./routes.js";
import {Moment, State, Table} from "./parts.js";
import {because, count, percent, targetsOf, where} from "./words.js";

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

export const Subscriptions = ({rows, empty}) => html`<${Table} label="Subscriptions" rows=${rows} keyOf=${one => one.id} empty=${empty} columns=${[
  ["Subscription", one => html`<a href=${to("subscriptions", one.id)}>${one.id}</a>`],
  ["Name", one => html`<code>${one.name}</code>`],
  ["State", one => html`<${State} of=${one.state} />${one.circuit && one.circuit !== "closed" && html` <${State} of=${one.circuit} as=${`circuit ${one.circuit.replace("_", " ")}`} />`}`],
  ["Target", one => html`<span class="long">${targetsOf(one).map(where).join(" → ")}</span>`],
  ["For", one => whom(one)],
  ["Delivered, hour", one => percent(one.successRate?.hour), "number"],
  ["Delivered, day", one => percent(one.successRate?.day), "number"],
  ["Waiting", one => one.backlog?.parked ?? "", "number"],
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

export const Waiting = ({rows, empty}) => html`<${Table} label="Subscriptions that wait longest" rows=${rows} keyOf=${one => one.subscriptionId} empty=${empty} columns=${[
  ["Subscription", one => html`<a href=${to("subscriptions", one.subscriptionId)}>${one.subscriptionId}</a>`],
  ["Target", one => html`<span class="long">${where(one.target)}</span>`],
  ["Oldest delivery", one => html`<a href=${to("deliveries", one.id)}>${one.id}</a>`],
  ["Why", one => html`<span class="long">${because(one)}</span>`],
  ["Owed since", one => html`<${Moment} at=${one.createdAt} />`, "end"],
]} />`;
