/** Deliveries: found by filters, and one of them with its attempts. */

import {html, useEffect, useState} from "./view.js";
import {withQuery} from "./api.js";
import {useData, usePage} from "./data.js";
import {Deliveries as Rows} from "./lists.js";
import {Action, Curl, Facts, Filters, Json, Moment, Shown, State, Text} from "./parts.js";
import {go, to} from "./routes.js";
import {may} from "./session.js";
import {because, none, took, where} from "./words.js";

export const OUTCOMES = [
  ...["succeeded", "refused", "throttled", "given_up", "gone", "timed_out"],
  ...["unreachable", "forbidden", "unroutable", "failed", "interrupted"],
];
const FIELDS = [
  ["state", "State", ["pending", "parked", "delivered", "dead", "cancelled"]],
  ["name", "Signal name or pattern"],
  ["subscriptionId", "Subscription"],
  ["signalId", "Signal"],
  ["host", "Target's host"],
  ["outcome", "Last outcome", OUTCOMES],
  ["status", "Last status"],
  ["tenantId", "Tenant"],
  ["attemptedSince", "Attempted since (RFC 3339)"],
  ["attemptedUntil", "Attempted until"],
];
const REFUSAL = "Needs the permission deliveries:manage.";
const OFTEN = 500;
const SELDOM = 3000;

export function Deliveries({filters}) {
  const {afterId, ...asked} = filters;
  const path = withQuery("/v1/deliveries", {...asked, order: "desc", limit: 50, afterId});
  const source = usePage(path, 10000);
  return html`<h1>Deliveries</h1>
    <${Filters} fields=${FIELDS} filters=${asked} onChange=${given => go(to("deliveries", undefined, given))} />
    <${Shown} source=${source}>${page => html`
      <${Rows} rows=${page.items}
        empty=${none(page, "No delivery matches.")} />
      ${page.next && html`<p><a href=${to("deliveries", undefined, {...asked, afterId: page.next})}>Older deliveries</a></p>`}`}<//>
    <${Curl} method="GET" path=${path} />`;
}

/** Return whether *delivery* is being attempted, or will be within a second, as after a redrive; nobody knows it of a pull target. */
function comesSoon(delivery) {
  const {state, dueAt, target} = delivery || {};
  return (state === "pending" && target?.kind !== "pull") || (state === "parked" && Boolean(dueAt) && Date.parse(dueAt) < Date.now() + 1000);
}

/** Return whether a delivery is dead, or not under way: one to a pull target is pending while it waits to be leased. */
function isCancellable({state, target, reason}) {
  return ["dead", "parked"].includes(state) || (state === "pending" && target?.kind === "pull" && reason !== "leased");
}

export function Delivery({id, session}) {
  const [every, setEvery] = useState(SELDOM), path = `/v1/deliveries/${id}`, source = useData(path, every);
  const state = source.data?.state, isSoon = comesSoon(source.data), refusal = may(session, "deliveries:manage") ? "" : REFUSAL;
  useEffect(() => setEvery(isSoon ? OFTEN : SELDOM), [isSoon]);
  return html`<nav class="crumbs"><a href=${to("deliveries")}>Deliveries</a></nav><h1>Delivery ${id}</h1>
    <${Shown} source=${source}>${one => html`
      <p class="buttons">
        <${Action} title="Redrive" text="Attempts it once more, with the same webhook-id." path=${`${path}/redrive`} after=${source.again}
          refusal=${refusal || (state === "pending" && "It is being attempted, or about to be.")} />
        <${Action} title="Cancel delivery" danger text="Gives it up: it is not attempted any more." path=${`${path}/cancel`}
          after=${source.again}
          refusal=${refusal || (!isCancellable(one) && "It is being attempted, or has ended.")} />
      </p>
      <${Facts} facts=${[
        ["State", html`<${State} of=${state} />`],
        ["Why", because(one)],
        [one.reason === "leased" ? "Leased until" : "Next attempt", one.dueAt && html`<${Moment} at=${one.dueAt} whole /> (<${Moment} at=${one.dueAt} />)`],
        ["Signal", html`<a href=${to("signals", one.signalId)}>${one.signalId}</a> <code>${one.signalName}</code>`],
        ["Subscription", html`<a href=${to("subscriptions", one.subscriptionId)}>${one.subscriptionId}</a>`],
        ["Target", where(one.target)],
        ["Tenant", one.tenantId],
        ["Owed since", html`<${Moment} at=${one.createdAt} whole />`],
        ["Ended", one.finishedAt && html`<${Moment} at=${one.finishedAt} whole />`],
      ]} />
      <section><h2>Attempts</h2><${Attempts} all=${one.attempts} /></section>
      <${Curl} method="GET" path=${path} />`}<//>`;
}

/** The attempts that have ended; of the last one, if it failed, what was sent and what came back is seen at once. */
function Attempts({all}) {
  if (!all?.length) return html`<p class="soft">${all ? "No attempt has ended yet." : "You may not see its attempts."}</p>`;
  const failed = all.at(-1).outcome === "succeeded" ? null : all.at(-1);
  return html`<ol class="timeline">${all.map(one => html`<${Attempt} key=${one.number} one=${one} open=${one === failed} />`)}</ol>`;
}

function Attempt({one, open}) {
  const phases = one.phases && Object.entries(one.phases).map(([name, seconds]) => `${name} ${took(seconds)}`).join(", ");
  const {connection, request} = one, headers = Object.entries(request?.headers || {});
  const reached = connection && [connection.address, connection.tls, connection.reused && "kept connection"];
  const facts = [
    ["URL", request?.url],
    ["Connected to", reached?.filter(Boolean).join(", ")],
    ["Time", phases],
    ["Retry-After", one.answer?.retryAfter],
    ["Location", one.answer?.location],
  ].filter(([, value]) => value);
  const isKnown = facts.length > 0 || one.response || request || one.steps?.length > 0;
  return html`<li class=${one.outcome === "succeeded" ? "good" : "bad"}>
    <p><b>${one.number}.</b> <span class="tone">${one.outcome}</span> ${one.status && html`<b>${one.status}</b>`}
      ${" "}${took(one.duration)} <${Moment} at=${one.startedAt} whole />${one.worker && ` by ${one.worker}`}</p>
    ${one.error && html`<p>${one.error}</p>`}
    ${isKnown && html`<details open=${open}><summary>Request and response</summary>
      ${facts.length > 0 && html`<${Facts} facts=${facts} />`}
      ${one.response && html`<h3>Response body</h3><${Text} text=${one.response} label="Response body" />`}
      ${request && html`<h3>Request headers</h3>
        <pre tabindex="0" aria-label="Request headers">${headers.map(([name, value]) => `${name}: ${value}`).join("\n")}</pre>`}
      ${one.steps?.length > 0 && html`<h3>Steps</h3><${Json} value=${one.steps} label="Steps" />`}
    </details>`}</li>`;
}
