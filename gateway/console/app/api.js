/** Requests to the API of this server, by the session's cookie. */

const PATIENCE = 10000;
const SESSION = "/v1/session";
let csrfToken = "";

/** Raised when the server refuses: what it says is for people. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The server answered ${status}.`);
    this.status = status;
    this.errors = problem.errors || [];
    this.checks = problem.checks;
  }
}

/** Let requests that change something be those of this session. */
export function useToken(token) { csrfToken = token; }

/**
 * Return what the server answers (JSON, or null if it answers nothing).
 *
 * *body*: JSON as a text, sent as it is, or what is made JSON; *signal* aborts the request, and so do so many milliseconds (*patience*). A 401
 * ends the session, and a 403 of a change may be because another tab began one, wherever it comes.
 */
export async function request(method, path, body, signal, patience = PATIENCE) {
  const headers = {Accept: "application/json"};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-CSRF-Token"] = csrfToken;
  const signals = [AbortSignal.timeout(patience), ...(signal ? [signal] : [])];
  const options = {method, headers, body: asText(body), cache: "no-store"};
  const response = await fetch("." + path, {...options, signal: AbortSignal.any(signals)});
  const text = await response.text();
  if (response.ok) return text ? parsed(text) : null;
  let problem = {};
  try { problem = JSON.parse(text); } catch { /* a proxy's own page */ }
  if (response.status === 401 && path !== SESSION) dispatchEvent(new Event("session-ended"));
  if (response.status === 403 && method !== "GET" && path !== SESSION) dispatchEvent(new Event("session-doubted"));
  throw new Refused(response.status, problem);
}

const asText = body => (body === undefined || typeof body === "string" ? body : JSON.stringify(body));

/** Return the JSON that *text* is, with all numbers as they are. */
export const parsed = text => JSON.parse(text, exact);

/** Keep numbers that JavaScript has not as they were sent, such as 12345678901234567890; 5.0 it has. */
function exact(_key, value, context) {
  const sent = typeof value === "number" ? context?.source : undefined;
  const differs = sent !== undefined && String(value) !== sent && (!Number.isFinite(value) || digits(String(value)) !== digits(sent));
  return differs && JSON.rawJSON ? JSON.rawJSON(sent) : value;
}

/** Return the digits of a number that matter, and where its point is. */
function digits(text) {
  const [, whole, part = "", power = "0"] = /^-?(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text), all = whole + part, first = all.search(/[1-9]/);
  return first < 0 ? "0" : `${all.slice(first).replace(/0+$/, "")}e${whole.length - first + Number(power)}`;
}

/** Return *path* with those of the *parameters* that are there. */
export function withQuery(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** Return the same request as a line for a shell, with the token in a variable. */
export function curl(method, path, body) {
  const url = new URL("." + path, document.baseURI).href;
  const parts = ["curl", ...(method === "GET" ? [] : ["-X", method]), quoted(url), "-H", '"Authorization: Bearer $SIGNAL_BROKER_TOKEN"'];
  if (body !== undefined) parts.push("-H", "'Content-Type: application/json'", "-d", quoted(asText(body)));
  return parts.join(" ");
}

const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;
