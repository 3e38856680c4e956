/** Events: what operators are to know of, found by filters. */

import {html} from "./view.js";
import {withQuery} from "./api.js";
import {usePage} from "./data.js";
import {Events as Rows} from "./lists.js";
import {Curl, Filters, Shown} from "./parts.js";
import {go, to} from "./routes.js";
import {none} from "./words.js";

const TYPES = [
  ...["subscription.disabled", "circuit.opened", "circuit.closed", "delivery.dead", "target.failed"],
  ...["target.recovered", "quota.reached", "message.poisoned"],
].map(type => `$broker.${type}`);
const FIELDS = [["type", "Type", TYPES], ["subscriptionId", "Subscription"], ["since", "Since (RFC 3339)"]];

export function Events({filters}) {
  const {afterId, ...asked} = filters, path = withQuery("/v1/events", {...asked, limit: 50, afterId});
  const source = usePage(path, 5000);
  return html`<h1>Events</h1>
    <${Filters} fields=${FIELDS} filters=${asked} onChange=${given => go(to("events", undefined, given))} />
    <${Shown} source=${source}>${page => html`<${Rows} rows=${page.items} empty=${none(page, "No event matches.")} />
      ${page.next && html`<p><a href=${to("events", undefined, {...asked, afterId: page.next})}>Older events</a></p>`}`}<//>
    <${Curl} method="GET" path=${path} />`;
}
