/** Signals: found by filters, followed live, and one of them with what became of it. */

import {html, useState} from "./view.js";
import {request, withQuery} from "./api.js";
import {useData, usePage} from "./data.js";
import {Deliveries, Signals as Rows} from "./lists.js";
import {Curl, Facts, Failure, Filters, Json, Moment, Shown, State, Table} from "./parts.js";
import {go, to} from "./routes.js";
import {may} from "./session.js";
import {Tail} from "./tail.js";
import {none} from "./words.js";

const FIELDS = [
  ["q", "Text in payload or keys"],
  ["payload", "Payload (order.id=7)"],
  ["name", "Name or pattern"],
  ["businessKey", "Business key"],
  ["orderingKey", "Ordering key"],
  ["tenantId", "Tenant"],
  ["executionId", "Execution"],
  ["source", "Came in by", ["native", "camunda", "signal-endpoint"]],
  ["since", "Since (RFC 3339)"],
  ["until", "Until"],
];

export function Signals({filters}) {
  const [live, setLive] = useState(false);
  const {afterId, ...asked} = filters, {payload, ...plain} = asked, {name, tenantId, ...others} = asked;
  const [, at, wanted] = /^([^=]+)=(.*)$/s.exec(payload || "") || [], unreadable = payload && at === undefined;
  const held = at === undefined ? {} : {[`payload.${at.trim()}`]: wanted.trim()};
  const path = withQuery("/v1/signals", {...plain, ...held, order: "desc", limit: 50, afterId});
  const source = usePage(live || unreadable ? null : path, 0);
  const unheeded = FIELDS.filter(([field]) => others[field]).map(([, label]) => label);
  return html`<h1>Signals</h1>
    <${Filters} fields=${FIELDS} filters=${asked} onChange=${given => go(to("signals", undefined, given))} />
    <p class="buttons">
      <button type="button" aria-pressed=${live} onClick=${() => setLive(!live)}>${live ? "Stop following" : "Follow live"}</button>
      <button type="button" onClick=${source.again} disabled=${live}>Read again</button></p>
    ${live ? html`<${Tail} name=${name} tenantId=${tenantId} unheeded=${unheeded} />` : unreadable ? html`<p class="notice bad" role="alert">Payload: a path and its value, as in order.id=7.</p>` : html`<${Shown} source=${source}>${page => html`
      <${Rows} rows=${page.items}
        empty=${none(page, "No signal matches.")} />
      ${page.next && html`<p><a href=${to("signals", undefined, {...asked, afterId: page.next})}>Older signals</a></p>`}`}<//>
      <${Curl} method="GET" path=${path} />`}`;
}

export function Signal({id, session}) {
  const source = useData(`/v1/signals/${id}`, 0), deliveries = usePage(`/v1/signals/${id}/deliveries?limit=100`);
  const refusal = ["subscriptions:manage", "signals:throw"].filter(one => !may(session, one)).map(one => `Needs the permission ${one}.`).join(" ");
  return html`<nav class="crumbs"><a href=${to("signals")}>Signals</a></nav><h1>Signal ${id}</h1>
    <${Shown} source=${source}>${one => html`
      <${Facts} facts=${[
        ["Name", html`<code>${one.name}</code>`],
        ["State", html`<${State} of=${one.state} />`],
        ["Accepted", html`<${Moment} at=${one.createdAt} whole />`],
        ["Scope", one.scope],
        ["Tenant", one.tenantId],
        ["Execution", one.executionId],
        ["Business key", one.businessKey],
        ["Ordering key", one.orderingKey],
        ["Came in by", one.source],
        ["For", one.deliverAt && html`<${Moment} at=${one.deliverAt} whole />`],
        ["Expires", one.expiresAt && html`<${Moment} at=${one.expiresAt} whole />`],
      ]} />
      <section><h2>Deliveries</h2><${Shown} source=${deliveries}>${page => html`
        <${Deliveries} rows=${page.items} empty=${none(page, "No subscription matched: there are no deliveries.")} />
        ${page.next && html`<p class="soft">${page.items.length > 0 && `The first ${page.items.length}. `}<a href=${to("deliveries", undefined, {signalId: id})}>All its deliveries</a></p>`}`}<//></section>
      <section><h2>Payload</h2><${Json} value=${one.payload} label="Payload" /></section>
      ${Object.keys(one.variables || {}).length > 0 && html`<details>
        <summary>Variables with their types</summary><${Json} value=${one.variables} label="Variables" /></details>`}
      <${Explain} signal=${one} refusal=${refusal} />
      <${Curl} method="GET" path=${`/v1/signals/${id}`} />`}<//>`;
}

/** Who would get the same signal now, and who would not and why. */
function Explain({signal, refusal}) {
  const [state, set] = useState(null);
  const {name, payload, executionId, tenantId, businessKey} = signal;
  const withoutTenantId = signal.scope === "untenanted" || undefined;
  const given = Object.entries({name, payload, executionId, tenantId, businessKey, withoutTenantId});
  const body = Object.fromEntries(given.filter(([, value]) => value !== null && value !== undefined));
  const path = "/v1/signals/explain?limit=200", {busy, error, found, next} = state ?? {};
  const ask = async () => {
    set({busy: true, found, next});
    try {
      const page = await request("POST", next ? `${path}&afterId=${next}` : path, body);
      set({found: [...(found ?? []), ...page.matches], next: page.next});
    } catch (error) { set({error, found, next}); }
  };
  return html`<section><h2>Who would get this now</h2>
    ${!state && html`<button type="button" disabled=${Boolean(refusal)} title=${refusal} onClick=${ask}>Explain</button>`}
    ${found && html`<${Table} label="Explanations" keyOf=${one => one.subscriptionId} empty="There are no subscriptions."
      rows=${[...found].sort((a, b) => b.matches - a.matches)} columns=${[
        ["Subscription", one => html`<a href=${to("subscriptions", one.subscriptionId)}>${one.subscriptionId}</a>`],
        ["Gets it", one => html`<span class=${one.matches ? "good" : "soft"}>${one.matches ? "yes" : "no"}</span>`],
        ["Because", one => one.because],
      ]} />`}
    ${busy && html`<p class="soft">Asking …</p>`}
    ${error && html`<${Failure} error=${error} again=${ask} />`}
    ${next && !busy && !error && html`<p class="soft">The first ${found.length} subscriptions. <button type="button" onClick=${ask}>Explain further ones</button></p>`}
    <${Curl} method="POST" path=${path} body=${body} /></section>`;
}
