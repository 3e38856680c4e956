/** Signing in and out, and what the session may do. */

import {request, useToken, Refused} from "./api.js";
import {go, to} from "./routes.js";

const tabs = new BroadcastChannel("session");

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
export async function signIn(credentials) {
  await request("POST", "/v1/session", credentials);
  const session = await currentSession();
  if (session === null) throw new Error("This browser does not keep the session. If the gateway's PUBLIC_URL begins with https://, open the console there.");
  tabs.postMessage("changed");
  return session;
}

/** End the session. */
export async function signOut() {
  await request("DELETE", "/v1/session");
  useToken("");
  tabs.postMessage("changed");
}

/** Call *changed* when another tab has begun or ended the session, or a request hints at that; return what ends that. */
export function onOtherSession(changed) {
  tabs.addEventListener("message", changed);
  addEventListener("session-doubted", changed);
  return () => {
    tabs.removeEventListener("message", changed);
    removeEventListener("session-doubted", changed);
  };
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
