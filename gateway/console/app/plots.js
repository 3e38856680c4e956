/** Plots of what happens and how long it takes, over the last hour or day. */

import {html, useMemo, useState} from "./view.js";
import {request} from "./api.js";
import {Canvas} from "./canvas.js";
import {useData} from "./data.js";
import {Curl, Failure, Table} from "./parts.js";
import {COUNTS, LATENCIES, SPANS, address, happened, highest, latencies, moments, newest, rates} from "./statistics.js";
import {clock, count, exactly, figure, lasted} from "./words.js";

/** Plots of one subscription (*subscriptionId*), or of all that happens; *span*: `"day"`, or the hour; *onSpan*: called with another one. */
export function Plots({subscriptionId, span, onSpan}) {
  const chosen = span === "day" ? "day" : "hour", {words, every} = SPANS[chosen], path = () => address(SPANS[chosen], subscriptionId);
  const source = useData(`${chosen} ${subscriptionId}`, every, (_known, signal) => request("GET", path(), undefined, signal)), {data, error} = source;
  const [point, onPoint] = useState(null);
  const drawn = useMemo(() => (data && happened(data) ? drawable(data) : null), [data]);
  const nothing = drawn ? null : data ? `Nothing happened ${words}.` : error ? "There are no figures." : null, at = drawn && drawn.moments[point];
  const shared = {moments: drawn && drawn.moments, words, point, at, nothing, onPoint};
  return html`<section aria-label="Plots">
    <p class="buttons" role="group" aria-label="Span of the plots">${Object.keys(SPANS).map(one => html`<button key=${one} type="button" aria-pressed=${one === chosen} onClick=${() => onSpan(one)}>Last ${one}</button>`)}</p>
    ${error && html`<${Failure} error=${error} stale=${data !== null} again=${source.again} />`}
    <div class="plots">
      <${Plot} title=${`Signals and deliveries per ${drawn ? drawn.unit : "minute"}`} lines=${COUNTS} values=${drawn && drawn.rates} show=${figure} ...${shared} />
      <${Plot} title="From throw to delivery" lines=${LATENCIES} values=${drawn && drawn.latencies} show=${lasted} logarithmic ...${shared}
        nothing=${nothing || (drawn && drawn.latencies.every(line => highest(line) === null) && `Nothing was delivered ${words}.`)} />
    </div>
    <${Figures} data=${data} path=${path} />
  </section>`;
}

function drawable(data) {
  const {unit, lines} = rates(data);
  return {moments: moments(data), unit, rates: lines, latencies: latencies(data)};
}

/** A plot with a legend that says the values at the pointer, else the newest ones, and hides lines; *nothing*: what to say if there is none. */
function Plot({title, lines, moments, values, show, logarithmic, words, point, at, nothing, onPoint}) {
  const [hidden, hide] = useState([]);
  const columns = useMemo(() => values && [moments, ...values], [values]);
  const told = lines.map((line, index) => ({...line, now: values && (at ? values[index][point] : newest(values[index])), most: values && highest(values[index])}));
  const text = value => (value === null || value === undefined ? "—" : show(value));
  const toggle = name => hide(hidden.includes(name) ? hidden.filter(one => one !== name) : [...hidden, name]);
  const summary = `${title}, ${words}: ${nothing || told.map(({name, now, most}) => `${name} ${text(now)}, at most ${text(most)}`).join("; ")}`;
  return html`<section class="plot"><h2>${title}</h2>
    <div class="drawn" role="img" aria-label=${summary} aria-busy=${columns || nothing ? undefined : true}>${columns && !nothing
      ? html`<${Canvas} columns=${columns} lines=${lines} hidden=${hidden} logarithmic=${logarithmic} show=${show} onPoint=${onPoint} />` : html`<p class="soft">${nothing || "Loading …"}</p>`}</div>
    <p class="soft">${at ? `At ${clock(at)}` : "Newest"}, and highest ${words}</p>
    <div class="legend">${told.map(({name, tint, dash, now, most}) => html`<button key=${name} type="button" aria-pressed=${!hidden.includes(name)} onClick=${() => toggle(name)}>
      <span><svg class="tint-${tint}" width="26" height="8" aria-hidden="true"><line x1="0" y1="4" x2="26" y2="4" stroke="currentColor" stroke-width="2" stroke-dasharray=${dash.join(" ")} /></svg> ${name}</span>
      <span> <b>${text(now)}</b> <span class="soft">max ${text(most)}</span></span></button>`)}</div></section>`;
}

/** The figures of each step as a table, the newest first. */
function Figures({data, path}) {
  const [open, set] = useState(false);
  return html`<details onToggle=${event => set(event.currentTarget.open)}><summary>Figures</summary>${open && data && html`
    <${Table} label="Figures" rows=${data.steps.toReversed()} keyOf=${one => one.at} columns=${[
      ["From", one => html`<time datetime=${one.at} title=${exactly(one.at)}>${clock(Date.parse(one.at) / 1000)}</time>`],
      ...COUNTS.map(({name}) => [name, one => count(one[name]), "number"]),
      ...LATENCIES.map(({name}) => [name, one => (one.latencyMs ? lasted(one.latencyMs[name]) : "—"), "number"]),
    ]} /><${Curl} method="GET" path=${path()} />`}</details>`;
}
