/** Deliveries: found by filters, and one of them with its attempts. */

import {html} from "./view.js";
import {withQuery} from "./api.js";
import {useData} from "./data.js";
import {Deliveries as Rows} from "./lists.js";
import {Action, Curl, Facts, Filters, Json, Moment, Shown, State} from "./parts.js";
import {go, to} from "./routes.js";
import {may} from "./session.js";
import {because, took, where} from "./words.js";

export const OUTCOMES = ["succeeded", "refused", "throttled", "given_up", "gone", "timed_out", "unreachable", "forbidden", "unroutable", "failed", "interrupted"];
const FIELDS = [["state", "State", ["pending", "parked", "delivered", "dead", "cancelled"]], ["name", "Signal name or pattern"], ["subscriptionId", "Subscription"], ["signalId", "Signal"],
  ["host", "Target's host"], ["outcome", "Last outcome", OUTCOMES], ["status", "Last status"], ["tenantId", "Tenant"], ["attemptedSince", "Attempted since (RFC 3339)"], ["attemptedUntil", "Attempted until"]];
const REFUSAL = "Needs the permission deliveries:manage.";

export function Deliveries({filters}) {
  const {afterId, ...asked} = filters;
  const path = withQuery("/v1/deliveries", {...asked, order: "desc", limit: 50, afterId});
  const source = useData(path, 10000);
  return html`<h1>Deliveries</h1><${Filters} fields=${FIELDS} filters=${asked} onChange=${given => go(to("deliveries", undefined, given))} />
    <${Shown} source=${source}>${page => html`
      <${Rows} rows=${page.items} empty=${page.next ? "None among those looked at so far; there may be older ones." : "No delivery matches."} />
      ${page.next && html`<p><a href=${to("deliveries", undefined, {...asked, afterId: page.next})}>Older deliveries</a></p>`}`}<//>
    <${Curl} method="GET" path=${path} />`;
}

export function Delivery({id, session}) {
  const source = useData(`/v1/deliveries/${id}`, 3000);
  const path = `/v1/deliveries/${id}`, refusal = may(session, "deliveries:manage") ? "" : REFUSAL;
  return html`<nav class="crumbs"><a href=${to("deliveries")}>Deliveries</a></nav><h1>Delivery ${id}</h1>
    <${Shown} source=${source}>${one => html`
      <p class="buttons">
        <${Action} title="Redrive" text="Attempts it once more, with the same webhook-id." path=${`${path}/redrive`} after=${source.again}
          refusal=${refusal || (one.state === "pending" && "It is being attempted, or about to be.")} />
        <${Action} title="Cancel delivery" danger text="Gives it up: it is not attempted any more." path=${`${path}/cancel`} after=${source.again}
          refusal=${refusal || (!["dead", "parked"].includes(one.state) && "Only a dead or parked delivery can be cancelled.")} />
      </p>
      <${Facts} facts=${[["State", html`<${State} of=${one.state} />`], ["Why", because(one)], ["Next attempt", one.dueAt && html`<${Moment} at=${one.dueAt} whole /> (<${Moment} at=${one.dueAt} />)`],
        ["Signal", html`<a href=${to("signals", one.signalId)}>${one.signalId}</a> <code>${one.signalName}</code>`],
        ["Subscription", html`<a href=${to("subscriptions", one.subscriptionId)}>${one.subscriptionId}</a>`], ["Target", where(one.target)], ["Tenant", one.tenantId],
        ["Owed since", html`<${Moment} at=${one.createdAt} whole />`], ["Ended", one.finishedAt && html`<${Moment} at=${one.finishedAt} whole />`]]} />
      <section><h2>Attempts</h2>${one.attempts?.length ? html`<ol class="timeline">${one.attempts.map(each => html`<${Attempt} key=${each.number} one=${each} />`)}</ol>`
        : html`<p class="soft">${one.attempts ? "No attempt has ended yet." : "You may not see its attempts."}</p>`}</section>
      <${Curl} method="GET" path=${path} />`}<//>`;
}

function Attempt({one}) {
  const phases = one.phases && Object.entries(one.phases).map(([name, seconds]) => `${name} ${took(seconds)}`).join(", ");
  return html`<li class=${one.outcome === "succeeded" ? "good" : "bad"}>
    <p><b>${one.number}.</b> <span class="tone">${one.outcome}</span> ${one.status && html`<b>${one.status}</b>`} ${took(one.duration)} <${Moment} at=${one.startedAt} whole /></p>
    ${one.error && html`<p>${one.error}</p>`}
    <details><summary>Request and response</summary>
      <${Facts} facts=${[["URL", one.request?.url], ["Connected to", one.connection && [one.connection.address, one.connection.tls, one.connection.reused && "kept connection"].filter(Boolean).join(", ")],
        ["Time", phases], ["Retry-After", one.answer?.retryAfter], ["Location", one.answer?.location]]} />
      ${one.request && html`<h3>Request headers</h3><pre tabindex="0" aria-label="Request headers">${Object.entries(one.request.headers).map(([name, value]) => `${name}: ${value}`).join("\n")}</pre>`}
      ${one.response && html`<h3>Response body</h3><${Json} value=${one.response} label="Response body" />`}
      ${one.steps?.length > 0 && html`<h3>Steps</h3><${Json} value=${one.steps} label="Steps" />`}
    </details></li>`;
}
