/** Reading from the API while a page is open. */

import {useEffect, useRef, useState} from "./view.js";
import {request} from "./api.js";

/**
 * Return `{data, error, again}` of what is at *path*, read anew every so many milliseconds while the page is seen.
 *
 * *made*: returns where to read each time, if that changes with the time; then *path* is only what it is known by.
 */
export function useData(path, every = 5000, made = () => path) {
  const [state, set] = useState({path: null, data: null, error: null});
  const [turn, again] = useState(0);
  const leaving = useRef(null);
  useEffect(() => {
    if (path === null) return undefined;
    const end = new AbortController();
    leaving.current = end;
    let timer;
    const read = async () => {
      try {
        const data = await request("GET", made(), undefined, end.signal);
        if (!end.signal.aborted) set({path, data, error: null});
      } catch (error) {
        if (end.signal.aborted) return;
        set(last => ({path, data: last.path === path ? last.data : null, error}));
      }
      if (every && !end.signal.aborted) timer = setTimeout(wait, every);
    };
    const wait = () => (document.hidden ? document.addEventListener("visibilitychange", wake) : read());
    const wake = () => { document.removeEventListener("visibilitychange", wake); read(); };
    read();
    return () => {
      end.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", wake);
    };
  }, [path, every, turn]);
  const current = state.path === path ? state : {data: null, error: null};
  return {...current, again: () => again(turn + 1)};
}
