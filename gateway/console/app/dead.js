/** Dead letters: dead deliveries by subscription and how their last attempts ended; they are redriven or cancelled in bulk. */

import {html, useEffect, useState} from "./view.js";
import {request} from "./api.js";
import {Bulk, CANCELLED} from "./bulk.js";
import {byError, chosen} from "./groups.js";
import {ErrorOf} from "./lists.js";
import {Failure, Moment, Table} from "./parts.js";
import {to} from "./routes.js";
import {may} from "./session.js";
import {count, where} from "./words.js";

const MOST = 10000, PAGE = 1000, LOOKING = 20000;
const UNATTEMPTED = "They were never attempted: redrive or cancel them one by one, or all that are dead of the subscription.";

/** Tell the groups of the newest dead deliveries, page by page, and of how many these are if there may be more; *signal* ends that. */
async function read(told, signal) {
  const groups = new Map(), end = Date.now() + LOOKING;
  let afterId, number = 0, goesOn;
  do {
    const page = await request("GET", `/v1/deliveries?state=dead&order=desc&limit=${PAGE}${afterId ? `&afterId=${afterId}` : ""}`, undefined, signal);
    const found = byError(page.items, groups);
    afterId = page.next;
    number += page.items.length;
    goesOn = afterId !== null && number < MOST && Date.now() < end;
    told(found, afterId === null || goesOn ? null : number);
  } while (goesOn);
}

/** The buttons for the deliveries of *group*. */
function OfGroup({group, refusal, after}) {
  const body = {state: "dead", ...chosen(group)}, those = `the dead deliveries of subscription ${group.subscriptionId} whose last attempt ended so (${group.outcome}${group.status ? `, ${group.status}` : ""})`;
  return html`<${Bulk} title="Redrive" text=${`Attempts ${those} once more.`} path="/v1/deliveries/redrive" body=${body} refusal=${refusal} after=${after} />
    <${Bulk} title="Cancel deliveries" text=${`Gives up ${those}, for good.`} path="/v1/deliveries/cancel" body=${body} kind=${CANCELLED} refusal=${refusal} after=${after} />`;
}

export function DeadLetters({session}) {
  const [state, set] = useState({}), [turn, again] = useState(0);
  useEffect(() => {
    const end = new AbortController();
    read((groups, most) => { if (!end.signal.aborted) set({groups, most}); }, end.signal).catch(error => { if (!end.signal.aborted) set(last => ({...last, error})); });
    return () => end.abort();
  }, [turn]);
  const refusal = may(session, "deliveries:manage") ? "" : "Needs the permission deliveries:manage.", anew = () => again(turn + 1);
  return html`<h1>Dead letters</h1>
    <p class="buttons"><${Bulk} title="Redrive all" text="Attempts all dead deliveries once more." path="/v1/deliveries/redrive" body=${{state: "dead"}} refusal=${refusal} after=${anew} />
      <${Bulk} title="Cancel all" text="Gives up all dead deliveries for good." path="/v1/deliveries/cancel" body=${{state: "dead"}} kind=${CANCELLED} refusal=${refusal} after=${anew} />
      <${Bulk} title="Cancel those of deleted subscriptions" text="Gives up the dead deliveries of subscriptions that are deleted, for good." path="/v1/deliveries/cancel"
        body=${{state: "dead", subscriptionDeleted: true}} kind=${CANCELLED} refusal=${refusal} after=${anew} />
      <button type="button" onClick=${anew}>Read again</button></p>
    ${state.error && html`<${Failure} error=${state.error} stale=${Boolean(state.groups)} again=${anew} />`}
    ${!state.groups && !state.error && html`<p class="soft" aria-busy="true">Loading …</p>`}
    ${state.groups && html`<${Table} label="Dead letters" rows=${state.groups} keyOf=${group => group.key} empty="No delivery is dead." columns=${[
      ["Subscription", group => html`<a href=${to("subscriptions", group.subscriptionId)}>${group.subscriptionId}</a>`],
      ["Target", group => html`<span class="long">${where(group.target)}</span>`],
      ["Error", group => html`<${ErrorOf} group=${group} />`],
      ["Deliveries", group => count(group.number), "number"],
      ["Newest", group => html`<${Moment} at=${group.newest} />`],
      ["", group => html`<${OfGroup} group=${group} refusal=${refusal || (group.outcome ? "" : UNATTEMPTED)} after=${anew} />`, "end"],
    ]} />${state.most !== null && html`<p class="soft">The newest ${count(state.most)} dead deliveries.</p>`}`}`;
}
