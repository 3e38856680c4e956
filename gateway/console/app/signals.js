/** Signals: found by filters, followed live, and one of them with what became of it. */

import {html, useEffect, useRef, useState} from "./view.js";
import {request, withQuery} from "./api.js";
import {useData} from "./data.js";
import {Deliveries, Signals as Rows} from "./lists.js";
import {Curl, Facts, Failure, Filters, Json, Moment, Shown, State, Table} from "./parts.js";
import {go, to} from "./routes.js";
import {may} from "./session.js";

const FIELDS = [["q", "Text in payload or keys"], ["payload", "Payload (order.id=7)"], ["name", "Name or pattern"], ["businessKey", "Business key"], ["orderingKey", "Ordering key"], ["tenantId", "Tenant"], ["executionId", "Execution"],
  ["source", "Came in by", ["native", "camunda", "signal-endpoint"]], ["since", "Since (RFC 3339)"], ["until", "Until"]];
const KEPT = 200;

export function Signals({filters}) {
  const [live, setLive] = useState(false);
  const {afterId, ...asked} = filters, {payload, ...plain} = asked;
  const [at, ...wanted] = (payload || "").split("=");
  const held = payload ? {[`payload.${at.trim()}`]: wanted.join("=").trim()} : {};
  const path = withQuery("/v1/signals", {...plain, ...held, order: "desc", limit: 50, afterId});
  const source = useData(live ? null : path, 0);
  return html`<h1>Signals</h1>
    <${Filters} fields=${FIELDS} filters=${asked} onChange=${given => go(to("signals", undefined, given))} />
    <p class="buttons"><button type="button" aria-pressed=${live} onClick=${() => setLive(!live)}>${live ? "Stop following" : "Follow live"}</button>
      <button type="button" onClick=${source.again} disabled=${live}>Read again</button></p>
    ${live ? html`<${Tail} filters=${asked} />` : html`<${Shown} source=${source}>${page => html`
      <${Rows} rows=${page.items} empty=${page.next ? "None among those looked at so far; there may be older ones." : "No signal matches."} />
      ${page.next && html`<p><a href=${to("signals", undefined, {...asked, afterId: page.next})}>Older signals</a></p>`}`}<//>
      <${Curl} method="GET" path=${path} />`}`;
}

/** Signals as they are recorded; those that come while it is paused are shown when it goes on. */
function Tail({filters}) {
  const [rows, set] = useState([]), [state, setState] = useState("connecting"), [paused, setPaused] = useState(false);
  const held = useRef([]), isPaused = useRef(false);
  isPaused.current = paused;
  const {name, tenantId, ...others} = filters, unheeded = FIELDS.filter(([field]) => others[field]).map(([, label]) => label);
  const path = withQuery("/v1/signals/tail", {name, tenantId});
  useEffect(() => {
    const events = new EventSource("." + path);
    const show = () => {
      if (isPaused.current || !held.current.length) return;
      const fresh = held.current.reverse();
      held.current = [];
      set(old => [...fresh, ...old.filter(one => !fresh.some(two => two.id === one.id))].slice(0, KEPT));
    };
    const timer = setInterval(show, 250);
    events.onopen = () => setState("following");
    events.onerror = () => setState(events.readyState === EventSource.CLOSED ? "ended" : "reconnecting");
    events.onmessage = event => { held.current = [...held.current, JSON.parse(event.data)].slice(-KEPT); };
    events.addEventListener("lagged", () => setState("too slow: some signals are not shown"));
    return () => { events.close(); clearInterval(timer); };
  }, [path]);
  return html`<p class="buttons"><span role="status" class=${state === "following" ? "good" : "wait"}>● ${paused ? "paused" : state}</span>
    <button type="button" aria-pressed=${paused} onClick=${() => setPaused(!paused)}>${paused ? "Go on" : "Pause"}</button></p>
    ${unheeded.length > 0 && html`<p class="notice">Signals are followed by name and tenant only, whatever is in: ${unheeded.join(", ")}.</p>`}
    <${Rows} rows=${rows} empty="Waiting for the next signal …" />`;
}

export function Signal({id, session}) {
  const source = useData(`/v1/signals/${id}`, 0), deliveries = useData(`/v1/signals/${id}/deliveries?limit=100`);
  return html`<nav class="crumbs"><a href=${to("signals")}>Signals</a></nav><h1>Signal ${id}</h1>
    <${Shown} source=${source}>${one => html`
      <${Facts} facts=${[["Name", html`<code>${one.name}</code>`], ["State", html`<${State} of=${one.state} />`], ["Accepted", html`<${Moment} at=${one.createdAt} whole />`],
        ["Scope", one.scope], ["Tenant", one.tenantId], ["Execution", one.executionId], ["Business key", one.businessKey], ["Ordering key", one.orderingKey],
        ["Came in by", one.source], ["For", one.deliverAt && html`<${Moment} at=${one.deliverAt} whole />`], ["Expires", one.expiresAt && html`<${Moment} at=${one.expiresAt} whole />`]]} />
      <section><h2>Deliveries</h2><${Shown} source=${deliveries}>${page => html`<${Deliveries} rows=${page.items} empty="No subscription matched: there are no deliveries." />
        ${page.next && html`<p class="soft">The first 100 deliveries.</p>`}`}<//></section>
      <section><h2>Payload</h2><${Json} value=${one.payload} label="Payload" /></section>
      ${Object.keys(one.variables || {}).length > 0 && html`<details><summary>Variables with their types</summary><${Json} value=${one.variables} label="Variables" /></details>`}
      ${may(session, "subscriptions:manage") && may(session, "signals:throw") && html`<${Explain} signal=${one} />`}
      <${Curl} method="GET" path=${`/v1/signals/${id}`} />`}<//>`;
}

/** Who would get the same signal now, and who would not and why. */
function Explain({signal}) {
  const [state, set] = useState(null);
  const {name, payload, executionId, tenantId, businessKey} = signal;
  const body = Object.fromEntries(Object.entries({name, payload, executionId, tenantId, businessKey}).filter(([, value]) => value !== null && value !== undefined));
  const path = "/v1/signals/explain?limit=200";
  const ask = async () => {
    set({busy: true});
    try { set({page: await request("POST", path, body)}); } catch (error) { set({error}); }
  };
  return html`<section><h2>Who would get this now</h2>
    ${!state && html`<button type="button" onClick=${ask}>Explain</button>`}${state?.busy && html`<p class="soft">Asking …</p>`}
    ${state?.error && html`<${Failure} error=${state.error} again=${ask} />`}
    ${state?.page && html`<${Table} label="Explanations" keyOf=${one => one.subscriptionId} rows=${[...state.page.matches].sort((a, b) => b.matches - a.matches)} empty="There are no subscriptions." columns=${[
      ["Subscription", one => html`<a href=${to("subscriptions", one.subscriptionId)}>${one.subscriptionId}</a>`],
      ["Gets it", one => html`<span class=${one.matches ? "good" : "soft"}>${one.matches ? "yes" : "no"}</span>`], ["Because", one => one.because]]} />${state.page.next && html`<p class="soft">The first ${state.page.matches.length} subscriptions.</p>`}`}
    <${Curl} method="POST" path=${path} body=${body} /></section>`;
}
