/** The console: signing in, and the pages. */

import {html, render, useEffect, useState} from "./view.js";
import {DeadLetters} from "./dead.js";
import {useData} from "./data.js";
import {Deliveries, Delivery} from "./deliveries.js";
import {Events} from "./events.js";
import {Overview} from "./overview.js";
import {Failure} from "./parts.js";
import {to, useRoute} from "./routes.js";
import {currentSession, onOtherSession, signIn, signOut, takeTokenOfLink} from "./session.js";
import {Signal, Signals} from "./signals.js";
import {Subscription, Subscriptions} from "./subscriptions.js";

const PAGES = {overview: ["Overview", Overview], signals: ["Signals", Signals, "Signal", Signal], deliveries: ["Deliveries", Deliveries, "Delivery", Delivery],
  subscriptions: ["Subscriptions", Subscriptions, "Subscription", Subscription], dead: ["Dead letters", DeadLetters], events: ["Events", Events]};

function Readiness() {
  const {data, error} = useData("/readyz", 5000);
  const checks = error?.checks || data?.checks || {}, missing = Object.keys(checks).filter(name => !checks[name]);
  if (!data && !error) return null;
  return html`<span role="status" class=${data && !error && !missing.length ? "good" : "bad"}>● ${error ? (error.status ? "not ready" : "out of reach") : missing.length ? `not ready: ${missing.join(", ")}` : "ready"}</span>`;
}

function SignIn({why, onSession}) {
  const [state, set] = useState({});
  const submit = async event => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.target));
    set({busy: true});
    try { onSession(await signIn(given.user ? {user: given.user, password: given.password} : {token: given.token.trim()})); } catch (error) { set({error}); }
  };
  return html`<main class="entrance"><h1>signal-broker <span class="soft">console</span></h1>${why && html`<p class="notice">${why}</p>`}
    ${state.error && html`<p class="notice bad" role="alert">${state.error.status === 401 ? "These credentials are not valid." : state.error.message}</p>`}
    <form onSubmit=${submit}><label>API token<input name="token" type="password" autocomplete="off" placeholder="sb_…" required /></label><button class="main" disabled=${state.busy}>Sign in</button></form>
    <p class="soft">or</p>
    <form onSubmit=${submit}><label>User<input name="user" autocomplete="username" required /></label><label>Password<input name="password" type="password" autocomplete="current-password" required /></label>
      <button class="main" disabled=${state.busy}>Sign in as this user</button></form>
    <p class="soft">A token with <code>signals:read</code> is enough to look. The session ends after 12 hours.</p></main>`;
}

/** Ask before a link's token, which may come from anywhere, takes the place of the session. */
const Offer = ({onKeep, onTake}) => html`<p class="notice" role="alert">The link that brought you here has a token. You are signed in already; change that only if you expected it.
  <button type="button" onClick=${onKeep}>Stay signed in</button> <button type="button" onClick=${onTake}>Use the link's token</button></p>`;

function Console() {
  const [session, setSession] = useState(undefined), [notice, setNotice] = useState(""), [why, setWhy] = useState(""), [failure, setFailure] = useState(null), [token, setToken] = useState(null);
  const {page, id, filters} = useRoute();
  const enter = async linked => {
    setFailure(null);
    try {
      const found = await currentSession();
      if (found && linked) setToken(linked);
      setSession(found || !linked ? found : await signIn({token: linked}));
    } catch (error) {
      if (error.status === 401) { setWhy("The link's token is not valid (any more)."); setSession(null); } else setFailure({error, again: () => enter(linked)});
    }
  };
  const leave = reason => { setWhy(reason); setSession(null); };
  useEffect(() => {
    enter(takeTokenOfLink());
    const ended = () => leave("The session has ended.");
    const linked = () => { const found = takeTokenOfLink(); if (found) enter(found); };
    const other = onOtherSession(() => currentSession().then(found => (found ? setSession(found) : ended()), () => {}));
    addEventListener("session-ended", ended);
    addEventListener("hashchange", linked);
    return () => { other(); removeEventListener("session-ended", ended); removeEventListener("hashchange", linked); };
  }, []);
  const isPage = Object.hasOwn(PAGES, page) && (id === undefined || (PAGES[page][2] && /^\d+(-\d+)?$/.test(id)));
  const [title, List, kind, One] = isPage ? PAGES[page] : ["Not found", () => html`<h1>There is no such page</h1>`];
  useEffect(() => { document.title = session ? `${id && kind ? `${kind} ${id}` : title} · signal-broker` : "signal-broker console"; }, [title, kind, id, session]);
  if (failure) return html`<main class="entrance"><${Failure} ...${failure} /></main>`;
  if (session === undefined) return html`<main class="entrance"><p class="soft" aria-busy="true">Loading …</p></main>`;
  if (session === null) return html`<${SignIn} why=${why} onSession=${setSession} />`;
  const Page = id && One ? One : List, take = () => { setToken(null); signIn({token}).then(setSession, error => setNotice(`The link's token: ${error.message}`)); };
  return html`<header><a class="brand" href=${to("overview")}>signal-broker</a>
      <nav aria-label="Pages">${Object.entries(PAGES).map(([name, [words]]) => html`<a key=${name} href=${to(name)} aria-current=${name === page ? "page" : undefined}>${words}</a>`)}</nav>
      <span class="who"><${Readiness} /> <span class="soft">${session.principal}</span> <a href="docs">API</a>
        <button type="button" onClick=${() => signOut().then(() => leave("You are signed out."), error => setNotice(error.message))}>Sign out</button></span></header>
    ${token && html`<${Offer} onKeep=${() => setToken(null)} onTake=${take} />`}
    ${notice && html`<p class="notice bad" role="alert">${notice} <button type="button" onClick=${() => setNotice("")}>Close</button></p>`}
    <main key=${`${session.principal} ${page}/${id || ""}`}><${Page} id=${id} filters=${filters} session=${session} /></main>`;
}

render(html`<${Console} />`, document.getElementById("console"));
