/** Signing in and out, and what the session may do. */

import {request, useToken, Refused} from "./api.js";
import {go, to} from "./routes.js";

/** Return the session of this browser, null without one. */
export async function currentSession() {
  try {
    return keep(await request("GET", "/v1/session"));
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return null;
    throw error;
  }
}

/** Return a new session: of a `token`, or of a `user` with a `password`. */
export async function signIn(credentials) { return keep(await request("POST", "/v1/session", credentials)); }

/** End the session. */
export async function signOut() {
  await request("DELETE", "/v1/session");
  useToken("");
}

function keep(session) {
  useToken(session.csrfToken);
  return session;
}

/** Return whether *session* has one of the *permissions*. */
export function may(session, ...permissions) {
  return session.permissions.includes("admin") || permissions.some(one => session.permissions.includes(one));
}

/** Return the token of a link such as `make run` prints, or null; it is removed from the address and the history, which lead to the overview then. */
export function takeTokenOfLink() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) go(to("overview"), {instead: true});
  return found;
}
