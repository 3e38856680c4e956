/** Reading from the API while a page is open. */

import {useEffect, useRef, useState} from "./view.js";
import {request, withQuery} from "./api.js";

const LOOKING = 1000, LEAST = 3;

/**
 * Return `{data, error, again}` of what is at *path*, read anew every so many milliseconds while the page is seen.
 *
 * *read*: returns what is there now, if that is more than one answer, or changes with the time; then *path* is only what it is known by.
 */
export function useData(path, every = 5000, read = readOnce) {
  const [state, set] = useState({path: null, data: null, error: null});
  const [turn, again] = useState(0);
  const leaving = useRef(null);
  useEffect(() => {
    if (path === null) return undefined;
    const end = new AbortController();
    leaving.current = end;
    let timer;
    const refresh = async () => {
      try {
        const data = await read(path, end.signal);
        if (!end.signal.aborted) set({path, data, error: null});
      } catch (error) {
        if (end.signal.aborted) return;
        set(last => ({path, data: last.path === path ? last.data : null, error}));
      }
      if (every && !end.signal.aborted) timer = setTimeout(wait, every);
    };
    const wait = () => (document.hidden ? document.addEventListener("visibilitychange", wake) : refresh());
    const wake = () => { document.removeEventListener("visibilitychange", wake); refresh(); };
    refresh();
    return () => {
      end.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", wake);
    };
  }, [path, every, turn]);
  const current = state.path === path ? state : {data: null, error: null};
  return {...current, again: () => again(turn + 1)};
}

/** Return the same of the page of a list at *path*, as `{items, next}`: of the pages after it, as long as nothing is found, for a second or so. */
export const usePage = (path, every) => useData(path, every, readPage);

const readOnce = (path, signal) => request("GET", path, undefined, signal);

/** Read pages until one holds something: the server looks for what is rare so long only, and tells how far it has come. */
async function readPage(path, signal) {
  const end = Date.now() + LOOKING, [list, query] = path.split("?"), asked = Object.fromEntries(new URLSearchParams(query));
  let page = await readOnce(path, signal);
  for (let turn = 0; page.next && !page.items.length && (turn < LEAST || Date.now() < end); turn++) page = await readOnce(withQuery(list, {...asked, afterId: page.next}), signal);
  return page;
}
