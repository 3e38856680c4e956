/** Bulk operations: counted first, then made request by request until nothing is left, with progress. */

import {html, useEffect, useRef, useState} from "./view.js";
import {request} from "./api.js";
import {Curl} from "./parts.js";
import {count} from "./words.js";

/** Send *body* until `next` is null; *told* is called with the count so far. */
async function all(path, body, told, isOver) {
  let sum = 0, after;
  do {
    const answer = await request("POST", path, after ? {...body, after} : body);
    sum += answer.count;
    after = answer.next;
    told(sum, after === null);
  } while (after !== null && !isOver());
  return sum;
}

/** A button for a bulk operation on what *body* chooses; *fields* are inputs for more of the body. */
export function Bulk({title, text, path, body, fields = [], after, refusal}) {
  const dialog = useRef(null), over = useRef(false);
  const [open, setOpen] = useState(false), [values, set] = useState({}), [state, setState] = useState({});
  useEffect(() => { if (open) dialog.current?.showModal(); }, [open]);
  const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== "").map(([name, value]) => [name, name === "perSecond" ? Number(value) : value]));
  const whole = {...body, ...given};
  const run = async dryRun => {
    over.current = false;
    setState({busy: dryRun ? "Counting" : "At work", sum: 0});
    try {
      const sum = await all(path, {...whole, dryRun}, sum => setState({busy: dryRun ? "Counting" : "At work", sum}), () => over.current);
      setState(dryRun ? {counted: sum} : {ended: sum, stopped: over.current});
    } catch (error) { setState({error}); }
  };
  const close = () => {
    over.current = true;
    setOpen(false);
    setState({});
    if (state.ended !== undefined) after?.();
  };
  if (refusal) return html`<button type="button" disabled title=${refusal}>${title}</button>`;
  return html`<button type="button" onClick=${() => setOpen(true)}>${title}</button>
    ${open && html`<dialog ref=${dialog} aria-label=${title} onClose=${close}>
      <form onSubmit=${event => { event.preventDefault(); run(state.counted === undefined); }}>
        <h2>${title}</h2><p>${text}</p>
        ${[...fields, ["perSecond", "At most so many per second (empty: at once)", {type: "number", min: "0.001", step: "any"}]].map(([name, label, attributes]) => html`<label key=${name}>${label}
          <input name=${name} ...${attributes} value=${values[name] ?? ""} onInput=${event => { set({...values, [name]: event.target.value}); setState({}); }} /></label>`)}
        <div role="status">${state.busy && html`<p>${state.busy}: ${count(state.sum)} so far …</p>`}
          ${state.counted !== undefined && html`<p><b>${count(state.counted)}</b> deliveries would be attempted.</p>`}
          ${state.ended !== undefined && html`<p class="good">${count(state.ended)} deliveries go out${state.stopped ? "; stopped before the rest" : ""}.</p>`}</div>
        ${state.error && html`<p class="bad" role="alert">${state.error.message}</p>`}
        <${Curl} method="POST" path=${path} body=${whole} />
        <p class="buttons">${state.ended === undefined && html`<button class="main" disabled=${state.busy || state.counted === 0}>${state.counted === undefined ? "Count" : title}</button>`}
          ${state.busy === "At work" && html`<button type="button" onClick=${() => { over.current = true; }}>Stop</button>`}
          <button type="button" onClick=${() => dialog.current.close()}>Close</button></p>
      </form></dialog>`}`;
}
