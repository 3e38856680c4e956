/** What the pages are made with: Preact, written as templates by htm. */

import htm from "./htm.js";
import {h, render} from "./preact.js";

export {useEffect, useMemo, useRef, useState} from "./hooks.js";
export {render};
export const html = htm.bind(h);
