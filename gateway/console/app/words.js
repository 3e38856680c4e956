/** Moments, numbers and states as words. */

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** Return so many *seconds* in the largest unit that fits. */
export function span(seconds) {
  const [size, unit] = UNITS.find(([size]) => seconds >= size) || [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** Return how long ago *moment* was, or in how long it will be. */
export function away(moment) {
  const seconds = Math.round((Date.parse(moment) - Date.now()) / 1000);
  return seconds > 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
}

/** Return *moment* with its zone, as it is here, by the 24-hour clock. */
export const exactly = moment => new Date(moment).toLocaleString(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23", timeZoneName: "short",
});

export const count = number => (number === null || number === undefined ? "?" : number.toLocaleString());

/** Return how many things there are: `1 attempt`, `2 attempts`. */
export const several = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;

/** Return seconds as milliseconds, as people read them. */
export const took = seconds => (seconds === null ? "" : seconds < 10 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`);

/** Return *milliseconds* as people read them. */
export function lasted(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 1) return `${Number(milliseconds.toFixed(milliseconds < 10 ? 1 : 0))} ms`;
  return seconds < 120 ? `${Number(seconds.toFixed(seconds < 10 ? 2 : 1))} s` : span(seconds);
}

/** Return a number with as many digits as matter. */
export const figure = number => number.toLocaleString(undefined, number < 10 ? {maximumSignificantDigits: 2} : {maximumFractionDigits: 0});

/** Return the time of day, of a moment in seconds. */
export const clock = seconds => new Date(1000 * seconds).toLocaleTimeString(undefined, {hour: "2-digit", minute: "2-digit", hourCycle: "h23"});

/** Return a share from 0 to 1 in percent, which is 0 % or 100 % only if it is exactly that. */
export function percent(share) {
  if (share === null || share === undefined) return "—";
  const rounded = Math.round(share * 1000) / 10;
  return `${(share === 0 || share === 1 ? rounded : Math.min(99.9, Math.max(0.1, rounded))).toLocaleString()} %`;
}

const REASONS = {
  retry: "The last attempt failed; the next one is made when its pause is over.",
  circuit: "The circuit of its target is open: it waits until the target answers again.",
  throttled: "Its target asked for a pause.",
  rate: "It waits for its turn within maxPerSecond.",
  in_flight: "As many attempts as maxInFlight allows are under way.",
  paused: "Its subscription is paused.",
  ordered: "Another delivery of its ordering key comes first.",
  share: "It waits for its share of the deliverers' attempts.",
  scheduled: "Its signal is thrown for later.",
  leased: "A caller has leased it, and has not said yet how that went.",
};

/** Return why a delivery waits, or how it ended, as a sentence. */
export const because = delivery => REASONS[delivery.reason] || delivery.reason;

export const where = target => (target === null ? "" : target.url || target.queue || (target.app ? `${target.app}/${target.handler}` : target.kind));

/** Return a target with its kind, which is all that there is to say of a pull target. */
export const named = target => (where(target) === target.kind ? target.kind : `${target.kind} ${where(target)}`);

/** Return what a page of a list says if it holds nothing: *text*, unless the server has not looked at everything. */
export const none = (page, text) => (page.next ? "None among those looked at so far; there may be more." : text);

/** Return how many deliveries a subscription's backlog holds: those that are parked or leasable. */
export const backlogOf = ({backlog}) => (backlog ? backlog.parked + (backlog.leasable ?? 0) : undefined);

export const targetsOf = subscription => (subscription.steps || [subscription]).map(step => step.target);

const TONES = {delivered: "good", succeeded: "good", active: "good", closed: "good", pending: "wait", parked: "wait", paused: "wait", half_open: "wait", dead: "bad", disabled: "bad", open: "bad"};

/** Return by which colour a state is shown. */
export const tone = state => TONES[state] || "";

/** Return what an event tells, in words: `circuit opened`. */
export const happened = event => event.type.replace(/^\$broker\./, "").replaceAll(".", " ");

const GOOD_NEWS = /\.(closed|recovered)$/, WARNING = /\.reached$/;

/** Return by which colour an event is shown. */
export const toneOf = ({type}) => (GOOD_NEWS.test(type) ? "good" : WARNING.test(type) ? "wait" : "bad");
