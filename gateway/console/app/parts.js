/** Parts that the pages share. */

import {html, useState, useEffect, useRef} from "./view.js";
import {curl, parsed, request} from "./api.js";
import {away, exactly, tone} from "./words.js";

/** A moment, with how far away it is; the whole of it on hover, or as it stands if *whole*. */
export const Moment = ({at, whole}) => at && html`<time datetime=${at} title=${exactly(at)}>${whole ? exactly(at) : away(at)}</time>`;

/** A state in its colour, which is never all that tells it. */
export const State = ({of, as}) => html`<span class="state ${tone(of)}">${as || of.replaceAll("_", " ")}</span>`;

/** What *source* (see `useData`) has, shown by *children*, or that it is not there yet, or why it is not. */
export function Shown({source, children}) {
  const {data, error} = source;
  if (data === null && error === null) return html`<p class="soft" aria-busy="true">Loading …</p>`;
  return html`${error && html`<${Failure} error=${error} stale=${data !== null} again=${source.again} />`}${data !== null && children(data)}`;
}

/** Why something is not there, or not new. */
export function Failure({error, stale, again}) {
  const unreachable = ["TypeError", "TimeoutError"].includes(error.name);
  const text = error.status === 403 ? `You may not see this: ${error.message}` : unreachable ? "The gateway does not answer." : error.message;
  return html`<p class="notice bad" role="alert">${text} ${stale && "What you see is from before. "}
    ${again && html`<button type="button" onClick=${again}>Try again</button>`}</p>`;
}

/** A table of *rows*; *columns* are `[title, how a row is shown, class]`. */
export function Table({label, columns, rows, keyOf, empty}) {
  if (!rows.length) return html`<p class="soft">${empty}</p>`;
  return html`<div class="table" tabindex="0" role="region" aria-label=${label}><table>
    <thead><tr>${columns.map(([title, , kind]) => html`<th scope="col" class=${kind}>${title}</th>`)}</tr></thead>
    <tbody>${rows.map(row => html`<tr key=${keyOf(row)}>
      ${columns.map(([title, show, kind]) => html`<td class=${kind} data-title=${title}>${show(row)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** Names and what they stand for. */
export const Facts = ({facts}) => html`<dl class="facts">${facts.filter(([, value]) => ![null, undefined, "", false].includes(value))
  .map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

/** A JSON value. */
export const Json = ({value, label}) => html`<pre tabindex="0" aria-label=${label}>${JSON.stringify(value, null, 2)}</pre>`;

/** A text as it is, or readable JSON if it is an object or an array. */
export function Text({text, label}) {
  let shown = text;
  try {
    const value = parsed(text);
    if (typeof value === "object" && value !== null && !isNumber(value)) shown = JSON.stringify(value, null, 2);
  } catch { /* it is no JSON */ }
  return html`<pre tabindex="0" aria-label=${label}>${shown}</pre>`;
}

const isNumber = value => JSON.isRawJSON?.(value) ?? false;

/** A request as a line for a shell, which can be copied; *note*: what to know of it. */
export function Curl({method, path, body, note}) {
  const [copied, set] = useState(""), shown = useRef(null);
  const line = curl(method, path, body);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(line);
      set("Copied");
    } catch { // there is no clipboard without TLS, but on this computer
      getSelection().selectAllChildren(shown.current);
      set("Selected: copy it with the keyboard");
    }
    setTimeout(() => set(""), 2000);
  };
  return html`<details class="curl"><summary>curl</summary>${note && html`<p class="soft">${note}</p>`}
    <pre ref=${shown} tabindex="0" aria-label="The same as a command">${line}</pre>
    <button type="button" onClick=${copy}>${copied || "Copy"}</button></details>`;
}

/**
 * A button that opens a dialog, which does something at the server and says what came of it.
 *
 * *fields*: `[name, label, attributes of the input]`; *body*: makes the request's body of their values; *done*: what to say of an answer, if there is
 * more to say than that it is done; *after*: called when the dialog is closed after that; *patience*: how many milliseconds it may take. What it does
 * is what it was about when it was opened, whatever becomes of the page meanwhile.
 */
export function Action(now) {
  const [opened, open] = useState(null);
  const {title, refusal, danger} = now;
  if (refusal && !opened) return html`<button type="button" disabled title=${refusal}>${title}</button>`;
  return html`<button type="button" class=${danger && "danger"} onClick=${() => open(now)}>${title}</button>
    ${opened && html`<${Dialog} ...${opened} onClose=${() => open(null)} />`}`;
}

function Dialog({title, text, method = "POST", path, fields = [], body = () => undefined, done, after, danger, patience, onClose}) {
  const dialog = useRef(null), isOpen = useRef(true);
  const [values, set] = useState({}), [state, setState] = useState({});
  useEffect(() => { dialog.current.showModal(); return () => { isOpen.current = false; }; }, []);
  const wanted = () => { try { return body(values); } catch { return undefined; } };
  const close = () => {
    onClose();
    if (state.ended) after?.();
  };
  const act = async event => {
    event.preventDefault();
    if (state.busy || state.ended) return;
    setState({busy: true});
    try {
      const answer = await request(method, path, body(values), undefined, patience);
      if (isOpen.current && done) return void setState({answer, ended: true});
      if (isOpen.current) dialog.current.close();
      after?.();
    } catch (error) { if (isOpen.current) setState({error}); }
  };
  return html`<dialog ref=${dialog} onClose=${close} onCancel=${event => { if (state.busy) event.preventDefault(); }} aria-label=${title}>
    <form onSubmit=${act}>
      <h2>${title}</h2><p>${text}</p>
      ${!state.ended && fields.map(([name, label, attributes = {}]) => html`<label key=${name}>${label}
        <${attributes.rows ? "textarea" : "input"} name=${name} ...${attributes} value=${values[name] ?? attributes.value ?? ""} onInput=${event => set({...values, [name]: event.target.value})} /></label>`)}
      ${state.error && html`<p class="bad" role="alert">${state.error.message}</p>`}
      ${state.ended && html`<div role="status">${done(state.answer)}</div>`}
      <${Curl} method=${method} path=${path} body=${wanted()} />
      <p class="buttons"><button class=${danger ? "danger" : "main"} disabled=${state.busy || state.ended}>${state.busy ? "…" : title}</button>
        <button type="button" disabled=${state.busy} onClick=${() => dialog.current.close()}>${state.ended ? "Close" : "Cancel"}</button></p>
    </form>
  </dialog>`;
}

/** A form whose fields are the filters of the address, until others are typed: reading the page anew keeps these. */
export function Filters({fields, filters, onChange}) {
  const submit = event => {
    event.preventDefault();
    onChange(Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, value.trim()])));
  };
  return html`<form class="filters" role="search" key=${JSON.stringify(filters)} onSubmit=${submit}>
    ${fields.map(([name, label, options]) => html`<label key=${name}><span>${label}</span>${options
      ? html`<select name=${name}>${["", ...options].map(one => html`<option value=${one} selected=${(filters[name] || "") === one}>
          ${one || "any"}</option>`)}</select>`
      : html`<input name=${name} defaultValue=${filters[name] || ""} />`}</label>`)}
    <button class="main">Search</button></form>`;
}
