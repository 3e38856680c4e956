/** The part of the address after `#`: which page is shown, and its filters. */

import {useEffect, useState} from "./view.js";

/** Return the page's name, the id after it, and the filters: `#/signals/7?name=a`. */
function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, id] = path.split("/").map(decoded);
  const filters = [...new URLSearchParams(query || "")].filter(([, value]) => value !== "");
  return {page: page || "overview", id, filters: Object.fromEntries(filters)};
}

/** Return *part* decoded, or as it is if it is no encoding of anything: then it names no page. */
function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

/** Return the address of a page. */
export function to(page, id, filters = {}) {
  const given = Object.entries(filters).filter(([, value]) => value !== "" && value !== undefined);
  const query = given.length ? `?${new URLSearchParams(given)}` : "";
  return `#/${page}${id === undefined ? "" : "/" + encodeURIComponent(id)}${query}`;
}

/** Go to a page; *instead*: the one that is left is not in the history. */
export function go(address, {instead = false} = {}) {
  if (instead) {
    history.replaceState(null, "", address);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = address;
}

/** Return where the address is now. One that took the place of another is of the same page, which stays where it was scrolled to. */
export function useRoute() {
  const [route, set] = useState(read);
  useEffect(() => {
    const changed = event => { set(read()); if (event.isTrusted) scrollTo(0, 0); };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
