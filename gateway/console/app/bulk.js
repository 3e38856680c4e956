/** Bulk operations: counted first, then made request by request until nothing is left, with progress. */

import {html, useEffect, useRef, useState} from "./view.js";
import {request} from "./api.js";
import {Curl} from "./parts.js";
import {count} from "./words.js";

const PATIENCE = 30000;
const PACE = ["perSecond", "At most so many per second (empty: at once)", {type: "number", min: "0.001", step: "any"}];
const REPEATED = "With more than one request, each has what the one before answered as next in its after, until that is null.";

/** Send *body* until nothing is left, or *run* is over; *told* is called with the count so far and where it goes on (null: nowhere). */
async function all(path, body, {sum, after}, run, told) {
  do {
    const answer = await request("POST", path, after ? {...body, after} : body, undefined, PATIENCE);
    sum += answer.count;
    after = answer.next;
    if (run.isOff) return;
    told(sum, after);
  } while (after !== null && !run.isOver);
}

/** What the two kinds of operations say: what would become of deliveries, what becomes of them, and whether they are paced. */
const ATTEMPTED = {would: "would be attempted", become: "go out", fields: [PACE]};
export const CANCELLED = {would: "would be cancelled", become: "are cancelled", fields: [], danger: true};

/** A button for a bulk operation on what *body* chooses; *fields* are inputs for more of the body, *kind* is what becomes of deliveries. */
export function Bulk(now) {
  const [opened, open] = useState(null);
  const {title, refusal} = now;
  if (refusal && !opened) return html`<button type="button" disabled title=${refusal}>${title}</button>`;
  return html`<button type="button" class=${now.kind?.danger && "danger"} onClick=${() => open(now)}>${title}</button>
    ${opened && html`<${Dialog} ...${opened} onClose=${() => open(null)} />`}`;
}

/**
 * The dialog of a bulk operation. Its state: `busy` ("Counting", "At work"), `counted`, and of the operation itself `sum` and `after`: how many so
 * far, and where it goes on (null: it has ended). What was counted is forgotten when a field changes. The dialog's end ends its requests, after the one
 * that is under way.
 */
function Dialog({title, text, path, body, fields = [], kind = ATTEMPTED, after: afterwards, onClose}) {
  const dialog = useRef(null), running = useRef({});
  const [values, set] = useState({}), [state, setState] = useState({});
  useEffect(() => { dialog.current.showModal(); return () => { running.current.isOver = running.current.isOff = true; }; }, []);
  const given = Object.entries(values).filter(([, value]) => value !== "").map(([name, value]) => [name, name === "perSecond" ? Number(value) : value]);
  const whole = {...body, ...Object.fromEntries(given)};
  const counts = async event => {
    event.preventDefault();
    if (state.busy || state.after !== undefined) return;
    const run = running.current = {};
    setState({busy: "Counting", sum: 0});
    try {
      await all(path, {...whole, dryRun: true}, {sum: 0}, run, (sum, after) => setState(after === null ? {counted: sum} : {busy: "Counting", sum}));
    } catch (error) { if (!run.isOff) setState({error}); }
  };
  const make = async () => {
    const run = running.current = {}, from = state.after === undefined ? {sum: 0} : state;
    let so = {sum: from.sum, after: from.after};
    setState({busy: "At work", ...so});
    try {
      await all(path, {...whole, dryRun: false}, from, run, (sum, after) => {
        so = {sum, after};
        setState({busy: after !== null && !run.isOver && "At work", ...so});
      });
    } catch (error) { if (!run.isOff) setState({...so, error}); }
  };
  const change = (name, value) => {
    running.current.isOver = running.current.isOff = true;
    set({...values, [name]: value});
    setState({});
  };
  const stop = () => { running.current.isOver = true; };
  const close = () => {
    onClose();
    if (state.sum !== undefined && state.counted === undefined) afterwards?.();
  };
  const {busy, counted, sum, after, error} = state, begun = busy === "At work" || after !== undefined, ended = begun && after === null && !busy;
  return html`<dialog ref=${dialog} aria-label=${title} onClose=${close}>
    <form onSubmit=${counts}>
      <h2>${title}</h2><p>${text}</p>
      ${[...fields, ...kind.fields].map(([name, label, attributes]) => html`<label key=${name}>${label}
        <input name=${name} ...${attributes} value=${values[name] ?? ""} disabled=${begun} onInput=${event => change(name, event.target.value)} /></label>`)}
      <div role="status">${busy && html`<p>${busy}: ${count(sum)} so far …</p>`}
        ${counted !== undefined && html`<p><b>${count(counted)}</b> deliveries ${kind.would}.</p>`}
        ${ended && html`<p class="good">${count(sum)} deliveries ${kind.become}.</p>`}
        ${begun && !busy && !ended && html`<p>${count(sum)} deliveries ${kind.become}; what is left is not done yet.</p>`}</div>
      ${error && html`<p class="bad" role="alert">${error.message}${begun && ` The last request may have been carried out all the same.`}</p>`}
      <${Curl} method="POST" path=${path} body=${counted === undefined && !begun ? {...whole, dryRun: true} : whole} note=${REPEATED} />
      <p class="buttons"><button disabled=${Boolean(busy) || begun}>Count</button>
        <button type="button" class=${kind.danger ? "danger" : "main"} disabled=${Boolean(busy) || ended || (!begun && !counted)} onClick=${make}>${begun && !busy && !ended ? "Go on" : title}</button>
        <button type="button" disabled=${busy !== "At work"} onClick=${stop}>Stop</button>
        <button type="button" onClick=${() => dialog.current.close()}>Close</button></p>
    </form></dialog>`;
}
