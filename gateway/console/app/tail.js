/** Following signals live. */

import {html, useEffect, useRef, useState} from "./view.js";
import {request, withQuery} from "./api.js";
import {Signals as Rows} from "./lists.js";

const KEPT = 200;
const SHOWN_EVERY = 250;
const PAUSE = 2000;
const LONGEST = 10000;

/**
 * Follow the signals that *query* chooses, while the page is seen; return what ends that.
 *
 * When the page is seen again, or a lost connection is there again, the newest ones that were missed are read.
 * *came* is called with signals in the order of their recording, some perhaps once more, and with whether there are
 * others before them that were missed, too. *stateIs* is called with how it stands.
 */
function follow(query, came, stateIs) {
  let last = null, timer, close = () => {};

  const take = (signals, leftOut = false) => {
    last = signals.at(-1)?.id ?? last;
    came(signals, leftOut);
  };

  const connect = () => {
    const events = new EventSource("." + withQuery("/v1/signals/tail", query)), end = new AbortController();
    let early = [];
    close = () => { events.close(); end.abort(); };

    /** Return the newest signals that came after the last one, *most* of them, the newest first; and if there are more. */
    const newest = async most => {
      const found = [], until = Date.now() + LONGEST;
      for (let afterId = null; Date.now() < until;) {
        const path = withQuery("/v1/signals", {...query, order: "desc", limit: most + 1 - found.length, afterId});
        const {items, next} = await request("GET", path, undefined, end.signal);
        const known = items.findIndex(one => one.id === last);
        found.push(...(known < 0 ? items : items.slice(0, known)));
        if (found.length > most) break;
        if (known >= 0 || next === null) return [found, false];
        afterId = next;
      }
      return [found.slice(0, most), true];
    };
    const catchUp = async () => {
      const isFirst = last === null, [found, more] = await newest(isFirst ? 1 : KEPT);
      last ??= found[0]?.id ?? 0;
      take([...(isFirst ? [] : found.reverse()), ...(early ?? [])], !isFirst && more);
      early = null;
      stateIs("following");
    };
    const fail = error => {
      if (end.signal.aborted) return;
      close();
      const isFinal = error?.status >= 400 && error.status < 500 && error.status !== 429;
      stateIs(isFinal ? `ended: ${error.message}` : "reconnecting");
      if (!isFinal) timer = setTimeout(connect, PAUSE);
    };
    events.onopen = () => { early = []; catchUp().catch(fail); };
    events.onmessage = event => {
      const one = JSON.parse(event.data);
      if (early) early = [...early, one].slice(-KEPT); else take([one]);
    };
    events.onerror = () => {
      stateIs("reconnecting");
      if (events.readyState === EventSource.CLOSED) newest(1).then(() => fail(), fail);
    };
  };

  const seen = () => {
    close();
    clearTimeout(timer);
    stateIs(document.hidden ? "waiting until this tab is seen" : "connecting");
    if (!document.hidden) connect();
  };
  document.addEventListener("visibilitychange", seen);
  seen();
  return () => {
    document.removeEventListener("visibilitychange", seen);
    close();
    clearTimeout(timer);
  };
}

/** Return *fresh* signals, of which the newest is the last one, before those of *rows*; each once. */
function added(fresh, rows) {
  const known = new Set(rows.map(one => one.id)), unique = new Map(fresh.map(one => [one.id, one]));
  return [...[...unique.values()].filter(one => !known.has(one.id)).reverse(), ...rows].slice(0, KEPT);
}

/** Signals as they are recorded; those that come while it is paused are shown when it goes on. */
export function Tail({name, tenantId, unheeded}) {
  const [rows, set] = useState([]), [state, setState] = useState(""), [leftOut, setLeftOut] = useState(false);
  const [paused, setPaused] = useState(false);
  const held = useRef([]), isPaused = useRef(false);
  isPaused.current = paused;
  useEffect(() => {
    const show = () => {
      if (isPaused.current || !held.current.length) return;
      const fresh = held.current;
      held.current = [];
      set(old => added(fresh, old));
    };
    const timer = setInterval(show, SHOWN_EVERY);
    const end = follow({name, tenantId}, (signals, more) => {
      held.current = [...held.current, ...signals].slice(-KEPT);
      if (more) setLeftOut(true);
    }, setState);
    return () => { end(); clearInterval(timer); };
  }, [name, tenantId]);
  return html`<p class="buttons">
      <span role="status" class=${state === "following" ? "good" : "wait"}>● ${paused ? "paused" : state}</span>
      <button type="button" aria-pressed=${paused} onClick=${() => setPaused(!paused)}>${paused ? "Go on" : "Pause"}</button></p>
    ${unheeded.length > 0 && html`<p class="notice">
      Signals are followed by name and tenant only, whatever is in: ${unheeded.join(", ")}.</p>`}
    ${leftOut && html`<p class="notice">More than these were recorded while nothing was received: search for the others.</p>`}
    <${Rows} rows=${rows} empty="Waiting for the next signal …" />`;
}
