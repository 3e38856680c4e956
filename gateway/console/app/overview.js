/** Overview: whether it is up, the books, and what is failing now. */

import {html} from "./view.js";
import {useData} from "./data.js";
import {Deliveries, Subscriptions} from "./lists.js";
import {Shown} from "./parts.js";
import {to} from "./routes.js";
import {count} from "./words.js";

const LINKS = {dead: to("dead"), parked: to("deliveries", undefined, {state: "parked"}), pending: to("deliveries", undefined, {state: "pending"})};
const TONES = {poison: "bad", lost: "bad", unaccounted: "bad", dead: "bad", parked: "wait"};

function Books({books}) {
  const poison = books.poison && Object.values(books.poison).reduce((sum, number) => sum + number, 0);
  const figures = {recorded: books.recorded, "awaiting record": books.awaitingRecord, matched: books.matched, ...books.deliveries, poison, lost: books.lost, unaccounted: books.unaccounted};
  return html`<div class="figures">${Object.entries(figures).map(([name, number]) => html`<${LINKS[name] ? "a" : "div"} key=${name} class="figure" href=${LINKS[name]}>
    <b class=${number ? TONES[name] : ""} title=${number === null ? books.transportError : undefined}>${count(number)}</b><span>${name}</span><//>`)}</div>`;
}

export function Overview() {
  const ledger = useData("/v1/ledger"), failing = useData("/v1/subscriptions?state=failing&limit=20");
  const paused = useData("/v1/subscriptions?state=paused&limit=20"), disabled = useData("/v1/subscriptions?state=disabled&limit=20");
  const dead = useData("/v1/deliveries?state=dead&order=desc&limit=10");
  return html`<h1>Overview</h1>
    <section aria-label="Ledger"><${Shown} source=${ledger}>${books => html`<${Books} books=${books} />`}<//></section>
    <section><h2>Circuits that are open</h2><${Shown} source=${failing}>${page => html`<${Subscriptions} rows=${page.items} empty="Every target answers." />`}<//></section>
    <section><h2>Newest dead deliveries</h2><${Shown} source=${dead}>${page => html`<${Deliveries} rows=${page.items} empty="No delivery is dead." />
      ${page.items.length > 0 && html`<p><a href=${to("dead")}>Dead letters by subscription and error</a></p>`}`}<//></section>
    <section><h2>Paused and disabled subscriptions</h2><${Shown} source=${paused}>${first => html`<${Shown} source=${disabled}>${second =>
      html`<${Subscriptions} rows=${[...first.items, ...second.items]} empty="None is paused or disabled." />`}<//>`}<//></section>`;
}
