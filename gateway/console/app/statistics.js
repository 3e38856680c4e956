/** What happened in each step, as plots and a table show it. */

import {withQuery} from "./api.js";

/** Over how long there are plots, in steps of how many seconds, and how often they are read, in milliseconds. Hours are added up already: the minutes of a day are too many to read for all subscriptions. */
export const SPANS = {hour: {words: "in the last hour", seconds: 3600, step: 60, every: 15000}, day: {words: "in the last day", seconds: 86400, step: 3600, every: 60000}};

/** The lines of the plots, each in one of the colours of console.css. */
export const COUNTS = [
  {name: "accepted", tint: "link", dash: []}, {name: "recorded", tint: "odd", dash: [8, 5]}, {name: "delivered", tint: "good", dash: [2, 4]},
  {name: "dead", tint: "bad", dash: []}, {name: "retried", tint: "wait", dash: [8, 3, 2, 3]},
];
export const LATENCIES = [{name: "p50", tint: "link", dash: []}, {name: "p95", tint: "odd", dash: [8, 5]}, {name: "p99", tint: "wait", dash: [2, 4]}];

const LEAST_MS = 0.1, ENOUGH = 300;

/** Return where the statistics of a span that ends now are, those of one subscription if it is given. The last hour is the server's own, by its clock. */
export function address({seconds, step}, subscriptionId) {
  const since = seconds > SPANS.hour.seconds ? new Date(Date.now() - 1000 * seconds).toISOString() : undefined;
  return withQuery("/v1/stats", {subscriptionId, step, since});
}

export const happened = ({steps}) => steps.some(one => COUNTS.some(({name}) => one[name]));

/** Return when the steps begin, in seconds. */
export const moments = ({steps}) => steps.map(one => Date.parse(one.at) / 1000);

/**
 * Return the `unit` of time that suits, and how much of the `COUNTS` happened in it, in each step: `lines`.
 *
 * The step that is not over yet counts by what is over of it; at first, while that says little, it has no rate.
 */
export function rates({step, steps}, now = Date.now()) {
  const passed = steps.map((one, index) => (index < steps.length - 1 ? step : Math.min(step, (now - Date.parse(one.at)) / 1000)));
  const bySecond = COUNTS.map(({name}) => steps.map((one, index) => (passed[index] < Math.min(step / 3, ENOUGH) ? null : one[name] / passed[index])));
  const [unit, length] = Math.max(...bySecond.flat()) >= 1 ? ["second", 1] : ["minute", 60];
  return {unit, lines: bySecond.map(line => line.map(rate => (rate === null ? null : rate * length)))};
}

/** Return the `LATENCIES` of each step in milliseconds, null where nothing was delivered. */
export const latencies = ({steps}) => LATENCIES.map(({name}) => steps.map(({latencyMs}) => latencyMs && Math.max(LEAST_MS, latencyMs[name])));

/** Return the last value of a line, or the highest; null without any. */
export const newest = line => line.findLast(value => value !== null) ?? null;
export const highest = line => line.reduce((most, value) => (value !== null && (most === null || value > most) ? value : most), null);
