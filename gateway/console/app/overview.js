/** Overview: whether it is up, the books, and what is failing now. */

import {html} from "./view.js";
import {useData, usePage} from "./data.js";
import {byError, byOldest} from "./groups.js";
import {Deliveries, Errors, Events, OldestParked, Subscriptions} from "./lists.js";
import {Shown} from "./parts.js";
import {Plots} from "./plots.js";
import {go, to} from "./routes.js";
import {count, none} from "./words.js";

const LINKS = {dead: to("dead"), parked: to("deliveries", undefined, {state: "parked"}), pending: to("deliveries", undefined, {state: "pending"})};
const LOOKED = 100, SELDOM = 15000, SHOWN = 5;
const TONES = {poison: "bad", lost: "bad", unaccounted: "bad", dead: "bad", parked: "wait"};

function Books({books}) {
  const poison = books.poison && Object.values(books.poison).reduce((sum, number) => sum + number, 0);
  const figures = {recorded: books.recorded, "awaiting record": books.awaitingRecord, "buffered messages": books.bufferedMessages ?? null, matched: books.matched, ...books.deliveries, poison, lost: books.lost, unaccounted: books.unaccounted};
  const told = Object.entries(figures).filter(([name, number]) => number !== null || (name === "awaiting record" && books.transportError));
  return html`<div class="figures">${told.map(([name, number]) => html`<${LINKS[name] ? "a" : "div"} key=${name} class="figure" href=${LINKS[name]}>
    <b class=${number ? TONES[name] : ""} title=${number === null ? books.transportError : undefined}>${count(number)}</b><span>${name}</span><//>`)}</div>`;
}

/** The first subscriptions in a *state*, and the way to the others; *empty*: what to say if there are none. */
function InState({source, state, empty}) {
  return html`<${Shown} source=${source}>${page => html`<${Subscriptions} rows=${page.items} empty=${none(page, empty)} />
    ${page.next && html`<p><a href=${to("subscriptions", undefined, {state})}>All that are ${state}</a></p>`}`}<//>`;
}

export function Overview({filters}) {
  const ledger = useData("/v1/ledger"), failing = usePage("/v1/subscriptions?state=failing&limit=20");
  const paused = usePage("/v1/subscriptions?state=paused&limit=20"), disabled = usePage("/v1/subscriptions?state=disabled&limit=20");
  const dead = usePage(`/v1/deliveries?state=dead&order=desc&limit=${LOOKED}`, SELDOM), parked = usePage(`/v1/deliveries?state=parked&limit=${LOOKED}`, SELDOM);
  const leasable = usePage("/v1/subscriptions?state=leasable&limit=20", SELDOM), events = usePage(`/v1/events?limit=${SHOWN}`);
  return html`<h1>Overview</h1>
    <section aria-label="Ledger"><${Shown} source=${ledger}>${books => html`<${Books} books=${books} />`}<//></section>
    <${Plots} span=${filters.span} onSpan=${span => go(to("overview", undefined, {span}), {instead: true})} />
    <section><h2>Newest events</h2><${Shown} source=${events}>${page => html`<${Events} rows=${page.items} empty=${none(page, "No event that you may see.")} />
      ${page.next && html`<p><a href=${to("events")}>All events</a></p>`}`}<//></section>
    <section><h2>Circuits that are open</h2><${InState} source=${failing} state="failing" empty="Every target answers." /></section>
    <section><h2>Dead letters by reason</h2><${Shown} source=${dead}>${page => html`<${Errors} groups=${byError(page.items).slice(0, SHOWN)} empty=${none(page, "No delivery is dead.")} />
      ${page.items.length > 0 && html`<p>${page.next && html`<span class="soft">Of the newest ${page.items.length}. </span>`}<a href=${to("dead")}>All dead letters</a></p>`}`}<//></section>
    <section><h2>Subscriptions with the oldest parked deliveries</h2><${Shown} source=${parked}>${page => html`<${OldestParked} rows=${byOldest(page.items).slice(0, SHOWN)} empty=${none(page, "Nothing is parked.")} />`}<//></section>
    <section><h2>Deliveries that wait to be leased</h2><${InState} source=${leasable} state="leasable" empty="None waits for a worker that leases it." /></section>
    <section><h2>Newest dead deliveries</h2><${Shown} source=${dead}>${page => html`<${Deliveries} rows=${page.items.slice(0, SHOWN)} empty=${none(page, "No delivery is dead.")} />`}<//></section>
    <section><h2>Paused subscriptions</h2><${InState} source=${paused} state="paused" empty="None is paused." /></section>
    <section><h2>Disabled subscriptions</h2><${InState} source=${disabled} state="disabled" empty="None is disabled." /></section>`;
}
