/** Subscriptions: found by filters, made, and one of them with its health and what can be done about it. */

import {html} from "./view.js";
import {parsed, withQuery} from "./api.js";
import {Bulk, CANCELLED} from "./bulk.js";
import {useData, usePage} from "./data.js";
import {Deliveries, Events, Subscriptions as Rows} from "./lists.js";
import {Action, Curl, Facts, Filters, Json, Moment, Shown, State, Text} from "./parts.js";
import {Plots} from "./plots.js";
import {go, to} from "./routes.js";
import {may} from "./session.js";
import {backlogOf, count, named, none, percent, targetsOf} from "./words.js";

const FIELDS = [["state", "State", ["active", "paused", "disabled", "failing", "leasable"]], ["name", "Name"], ["host", "Target's host"], ["tenantId", "Tenant"], ["executionId", "Execution"]];
const SELDOM = 15000;
const TESTED = 45000;
const REFUSAL = "Needs the permission subscriptions:manage.";
const EXAMPLE = JSON.stringify({name: "order.paid", target: {kind: "webhook", url: "https://example.com/hook"}}, null, 2);
const FIXED = ["id", "name", "executionId", "tenantId", "businessKey", "correlationKeys", "once", "consumedBy", "state", "pausedAt", "disabledBecause", "ordered", "createdAt", "createdBy", "secret", "backlog", "circuit", "successRate"];

/** Return *text* if it is JSON. */
function asJson(text) {
  try { JSON.parse(text); } catch (error) { throw new Error(`This is not JSON: ${error.message}`); }
  return text;
}

/** Return, as JSON, the members of *text* that are others than those *before*: what somebody else has changed meanwhile stays. */
function changed(text, before) {
  const members = Object.entries(parsed(asJson(text)) ?? {});
  return Object.fromEntries(members.filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
}

const pulls = subscription => subscription.target?.kind === "pull";

const secretOf = answer => answer.secret && html`<p>Its signing secret, which is shown only now:</p><pre tabindex="0" aria-label="Signing secret">${answer.secret}</pre>`;

export function Subscriptions({filters, session}) {
  const {afterId, ...asked} = filters;
  const path = withQuery("/v1/subscriptions", {...asked, limit: 100, afterId});
  const source = usePage(path, 10000);
  return html`<h1>Subscriptions</h1><${Filters} fields=${FIELDS} filters=${asked} onChange=${given => go(to("subscriptions", undefined, given))} />
    <p class="buttons"><${Action} title="New subscription" text="What POST /v1/subscriptions takes." path="/v1/subscriptions" fields=${[["json", "Subscription (JSON)", {rows: 10, value: EXAMPLE}]]}
      body=${values => asJson(values.json ?? EXAMPLE)} refusal=${may(session, "subscriptions:manage") ? "" : REFUSAL} after=${source.again}
      done=${one => html`<p class="good">Subscription <a href=${to("subscriptions", one.id)}>${one.id}</a> is there.</p>${secretOf(one)}`} /></p>
    <${Shown} source=${source}>${page => html`<${Rows} rows=${page.items} empty=${none(page, "No subscription matches.")} />
      ${page.next && html`<p><a href=${to("subscriptions", undefined, {...asked, afterId: page.next})}>Further subscriptions</a></p>`}`}<//>
    <${Curl} method="GET" path=${path} />`;
}

export function Subscription({id, filters, session}) {
  const path = `/v1/subscriptions/${id}`, source = useData(path, 4000), ledger = useData(`/v1/ledger?subscriptionId=${id}`, SELDOM);
  const failed = usePage(`/v1/deliveries?subscriptionId=${id}&state=dead&order=desc&limit=10`, SELDOM), parked = usePage(`/v1/deliveries?subscriptionId=${id}&state=parked&order=desc&limit=10`, SELDOM);
  const events = usePage(`/v1/events?subscriptionId=${id}&limit=5`, SELDOM);
  const refusal = may(session, "subscriptions:manage") ? "" : REFUSAL, redriving = may(session, "deliveries:manage") ? "" : "Needs the permission deliveries:manage.";
  const replaying = refusal || (may(session, "signals:read") ? "" : "Needs the permission signals:read.");
  const again = () => { source.again(); ledger.again(); failed.again(); parked.again(); events.again(); };
  return html`<nav class="crumbs"><a href=${to("subscriptions")}>Subscriptions</a></nav><h1>Subscription ${id}</h1>
    <${Shown} source=${source}>${one => html`
      <div class="buttons"><${Actions} one=${one} path=${path} refusal=${refusal} again=${again} />
        <${Bulk} title="Redrive dead" text="Attempts all its dead deliveries once more." path="/v1/deliveries/redrive" body=${{subscriptionId: one.id, state: "dead"}} refusal=${redriving} after=${again} />
        <${Bulk} title="Cancel dead" text="Gives up all its dead deliveries for good." path="/v1/deliveries/cancel" body=${{subscriptionId: one.id, state: "dead"}} kind=${CANCELLED} refusal=${redriving} after=${again} />
        <${Bulk} title="Replay" text="Delivers recorded signals that match now and were not owed yet." path=${`${path}/replay`} body=${{}} fields=${[["since", "Since (RFC 3339; empty: all that is kept)", {}], ["until", "Until", {}]]}
          refusal=${replaying} after=${again} /></div>
      <${Facts} facts=${[["Name", html`<code>${one.name}</code>`], ["State", html`<${State} of=${one.state} />`], ["Because", one.disabledBecause], ["Circuit", one.circuit && html`<${State} of=${one.circuit} />`],
        ["Target", targetsOf(one).map(target => html`<div>${named(target)}</div>`)], ["Tenant", one.tenantId], ["Execution", one.executionId], ["Delivered", `${percent(one.successRate?.hour)} in the last hour, ${percent(one.successRate?.day)} in the last day`], ["Backlog", count(backlogOf(one))], ["Leased", pulls(one) && count(one.backlog?.leased)],
        ["Oldest", one.backlog?.oldest && html`<${Moment} at=${one.backlog.oldest} />`], ["Ordered", one.ordered && `yes, ${one.headOfLine}`], ["Once", one.once && (one.consumedBy ? `consumed by ${one.consumedBy}` : "yes")],
        ["maxInFlight", one.maxInFlight], ["maxPerSecond", one.maxPerSecond], ["Description", one.description], ["Created", html`<${Moment} at=${one.createdAt} whole /> ${one.createdBy && `by ${one.createdBy}`}`]]} />
      <${Shown} source=${ledger}>${books => html`<${Facts} facts=${[["Matched", count(books.matched)], ...Object.entries(books.deliveries).map(([state, number]) => [state, html`<a href=${to("deliveries", undefined, {subscriptionId: id, state})}>${count(number)}</a>`])]} />`}<//>
      ${one.filter && html`<details><summary>Filter</summary><${Json} value=${one.filter} label="Filter" /></details>`}
      <${Plots} subscriptionId=${id} span=${filters.span} onSpan=${span => go(to("subscriptions", id, {span}), {instead: true})} />
      <section><h2>Newest events</h2><${Shown} source=${events}>${page => html`<${Events} rows=${page.items} empty=${none(page, "No event about it that you may see.")} />
        ${page.next && html`<p><a href=${to("events", undefined, {subscriptionId: id})}>All its events</a></p>`}`}<//></section>
      <section><h2>Newest dead deliveries</h2><${Shown} source=${failed}>${page => html`<${Deliveries} rows=${page.items} empty=${none(page, "None is dead.")} />`}<//></section>
      <section><h2>Newest parked deliveries</h2><${Shown} source=${parked}>${page => html`<${Deliveries} rows=${page.items} empty=${none(page, "None is parked.")} />`}<//></section>
      <${Curl} method="GET" path=${path} />`}<//>`;
}

function Actions({one, path, refusal, again}) {
  const resumes = one.state !== "active", settings = Object.fromEntries(Object.entries(one).filter(([name, value]) => !FIXED.includes(name) && value !== null)), changes = JSON.stringify(settings, null, 2);
  return html`${resumes ? html`<${Action} title="Resume" text="Lets its deliveries go out." path=${`${path}/resume`} refusal=${refusal} after=${again}
      fields=${[["perSecond", "What waited: so many per second (empty: slowly at first)", {type: "number", min: "0.001", step: "any"}]]} body=${values => (values.perSecond ? {perSecond: Number(values.perSecond)} : {})} />`
    : html`<${Action} title="Pause" text="Its deliveries wait until it is resumed." path=${`${path}/pause`} refusal=${refusal} after=${again} />`}
    <${Action} title="Close circuit" text="Lets what waits for the target go out, whether it answers or not." path=${`${path}/circuit/close`} refusal=${refusal || (!one.circuit || one.circuit === "closed" ? "The circuit is closed." : "")} after=${again} />
    <${Action} title="Test" text="Makes one attempt with a made signal, which is not recorded." path=${`${path}/test`} refusal=${refusal || (pulls(one) ? "A pull target calls nobody: there is nothing to test." : "")} fields=${[["payload", "Payload (JSON)", {rows: 5, value: "{}"}]]}
      body=${values => `{"payload":${asJson(values.payload || "{}")}}`} patience=${TESTED} done=${answer => html`<${Sample} answer=${answer} />`} />
    ${one.target?.kind === "webhook" && html`<${Action} title="Change URL" method="PATCH" path=${path} refusal=${refusal} after=${again}
      text="Everything that is still owed goes there, too. At another host, headers that are shown as *** have to be given anew: see Edit."
      fields=${[["url", "URL", {type: "url", required: true, value: one.target.url}]]} body=${values => ({target: {...one.target, url: (values.url ?? one.target.url).trim()}})} />`}
    <${Action} title="Edit" method="PATCH" text="What PATCH /v1/subscriptions takes; what is changed here is sent. null takes a limit away." path=${path} refusal=${refusal} after=${again} fields=${[["json", "Changes (JSON)", {rows: 14, value: changes}]]} body=${values => changed(values.json ?? changes, settings)} />
    <${Action} title="Rotate secret" text="The secret before signs beside the new one for a while." path=${`${path}/rotate-secret`} refusal=${refusal || (targetsOf(one).some(target => target.kind === "webhook") ? "" : "Only webhooks are signed.")}
      fields=${[["graceSeconds", "For so many seconds", {type: "number", min: "0", max: "604800", required: true, value: "86400"}]]} body=${values => ({graceSeconds: Number(values.graceSeconds ?? 86400)})} done=${secretOf} />
    <${Action} title="Delete" danger method="DELETE" text="It gets no more signals; what is owed to it is cancelled." path=${path} refusal=${refusal} after=${() => go(to("subscriptions"))} />`;
}

const Sample = ({answer}) => html`<p><${State} of=${answer.outcome} /> ${answer.status} ${Math.round(answer.durationMs)} ms</p>${answer.error && html`<p class="bad">${answer.error}</p>`}
  <h3>Request headers</h3><pre tabindex="0" aria-label="Request headers">${Object.entries(answer.request.headers).map(([name, value]) => `${name}: ${value}`).join("\n")}</pre>
  ${answer.response && html`<h3>Response body</h3><${Text} text=${answer.response} label="Response body" />`}`;
