/** Lines over time, drawn by uPlot in the colours of the page. */

import {html, useEffect, useRef} from "./view.js";
import uPlot from "./uplot.js";
import {clock} from "./words.js";

const WIDTH = 2, ALONE = 4;
const SPACE = {time: 76, values: 34, left: 62, below: 32};
const DARK = matchMedia("(prefers-color-scheme: dark)");

/**
 * Lines over *columns*: the moments in seconds, and the values of each of the *lines* (`{name, tint, dash}`), null where there is none.
 *
 * *hidden*: the names of lines that are not drawn; *logarithmic*: whether the values are drawn so; *show*: makes a text of a value; *onPoint*: called with the
 * index of the moment that the pointer is at, null without.
 */
export function Canvas({columns, lines, hidden, logarithmic, show, onPoint}) {
  const box = useRef(null), plot = useRef(null);
  useEffect(() => {
    const made = new uPlot(options({...sizeOf(box.current), lines, hidden, logarithmic, show, onPoint}), columns, box.current);
    const sizes = new ResizeObserver(() => made.setSize(sizeOf(box.current)));
    const repaint = () => made.redraw();
    plot.current = made;
    sizes.observe(box.current);
    DARK.addEventListener("change", repaint);
    return () => {
      DARK.removeEventListener("change", repaint);
      sizes.disconnect();
      made.destroy();
      onPoint(null);
    };
  }, []);
  useEffect(() => { plot.current.setData(columns); }, [columns]);
  useEffect(() => lines.forEach(({name}, index) => plot.current.setSeries(index + 1, {show: !hidden.includes(name)})), [hidden]);
  return html`<div class="canvas" ref=${box}></div>`;
}

const sizeOf = box => ({width: box.clientWidth, height: box.clientHeight});
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

function options({width, height, lines, hidden, logarithmic, show, onPoint}) {
  const axis = {stroke: () => colour("soft"), grid: {stroke: () => colour("line"), width: 1}, ticks: {show: false}, font: "12px system-ui, sans-serif"};
  return {
    width, height, padding: [10, 10, 0, 0], legend: {show: false}, select: {show: false},
    cursor: {y: false, drag: {x: false, y: false, setScale: false}, sync: {key: "moment"}, points: {size: 7}},
    hooks: {setCursor: [({cursor}) => onPoint(cursor.idx ?? null)]},
    scales: {y: logarithmic ? {distr: 3, range: decades} : {range: (_plot, _least, most) => [0, most ? uPlot.rangeNum(0, most, 0.1, true)[1] : 1]}},
    axes: [{...axis, space: SPACE.time, size: SPACE.below, values: (_plot, splits) => splits.map(clock)},
      {...axis, grid: {...axis.grid, ...(logarithmic && {filter: powers})}, space: SPACE.values, size: SPACE.left, values: (_plot, splits) => splits.map(value => (value === null ? "" : show(value)))}],
    series: [{}, ...lines.map(({name, tint, dash}) => ({label: name, stroke: () => colour(tint), dash, width: WIDTH, show: !hidden.includes(name),
      points: {show: true, size: ALONE, filter: lonely, stroke: () => colour(tint), fill: () => colour(tint)}}))],
  };
}

/** Return whole powers of ten around the values. */
const decades = (_plot, least, most) => (least === null ? [1, 10] : uPlot.rangeLog(least, most, 10, true));

const powers = (_plot, values) => values.map(value => (Number.isInteger(Number(Math.log10(value).toFixed(6))) ? value : null));

/** Return the indexes of values without neighbours, which no line leads to. */
const lonely = (plot, line) => plot.data[line].flatMap((value, index, all) => (value !== null && (all[index - 1] ?? null) === null && (all[index + 1] ?? null) === null ? [index] : []));
