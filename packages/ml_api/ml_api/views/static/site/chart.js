// Charts: a prediction in the distribution of training targets, its explanation, the distribution of a file's predictions.

import { make, shape } from "./dom.js";

const WIDTH = 400;
const [TOP, BASE] = [12, 92]; // of a box that is 92 high

/** Returns a function that maps a value to its position on an axis over `edges`, 0 to 1; values outside are clipped. */
export function axis(edges, scale) {
  const on = scale === "log" ? Math.log : (value) => value;
  const [low, high] = [on(edges[0]), on(edges.at(-1))];
  if (low === high) return () => 0.5;
  return (value) => (scale === "log" && value <= 0 ? 0 : Math.min(1, Math.max(0, (on(value) - low) / (high - low))));
}

/** Returns values for the labels of an axis, evenly spaced. */
export function ticks(edges, scale, count = 4) {
  const [low, high] = [edges[0], edges.at(-1)];
  if (low === high) return [low];
  return Array.from({ length: count }, (_, index) => {
    const share = index / (count - 1);
    return scale === "log" ? low * (high / low) ** share : low + (high - low) * share;
  });
}

/** Writes the labels of an axis into `element`. */
export function writeAxis(element, edges, scale, write) {
  element.replaceChildren(...ticks(edges, scale).map((value) => make("span", { textContent: write(value) })));
}

/** Marks a prediction and its range in a histogram; `position` is its axis. */
export function mark(svg, position, prediction, interval) {
  svg.querySelectorAll(".mark").forEach((old) => old.remove());
  if (prediction === null) return;
  if (interval) {
    const [low, high] = interval.map((value) => position(value) * WIDTH);
    svg.prepend(shape("rect", { class: "mark band", x: low, width: Math.max(1, high - low), y: 0, height: BASE }));
  }
  const x = position(prediction) * WIDTH;
  svg.append(shape("line", { class: "mark here", x1: x, x2: x, y1: 0, y2: BASE }));
  svg.append(shape("circle", { class: "mark here", cx: x, cy: 5, r: 4 }));
}

/** Draws a histogram of `values` with bins of equal width; returns the edges and the scale. */
export function histogram(svg, values, scale, count = 30) {
  const logarithmic = scale === "log" && values.every((value) => value > 0);
  const on = logarithmic ? Math.log : (value) => value;
  const back = logarithmic ? Math.exp : (value) => value;
  let [low, high] = values.reduce(([a, b], value) => [Math.min(a, on(value)), Math.max(b, on(value))], [Infinity, -Infinity]);
  if (low === high) {
    const margin = Math.abs(low) / 10 || 0.5;
    [low, high] = [low - margin, high + margin];
  }
  const counts = new Array(count).fill(0);
  for (const value of values) counts[Math.min(count - 1, Math.floor(((on(value) - low) / (high - low)) * count))] += 1;
  const [highest, width] = [Math.max(...counts), WIDTH / count];
  svg.replaceChildren(
    ...counts.map((n, index) => {
      const height = ((BASE - TOP) * n) / highest;
      return shape("rect", { x: index * width + 0.75, width: width - 1.5, y: BASE - height, height });
    }),
  );
  return { edges: [back(low), back(high)], scale: logarithmic ? "log" : "identity" };
}

/** Draws a waterfall chart: `steps` are `{label, detail, from, to, amount, share, kind}` in the target's unit. */
export function waterfall(list, steps) {
  const all = steps.flatMap((step) => [step.from, step.to]);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const span = high - low || 1;
  list.replaceChildren(
    ...steps.map((step) => {
      const label = make("span", { className: "what", title: step.label }, make("span", { className: "name", textContent: step.label }));
      if (step.detail) label.append(make("span", { className: "quiet", textContent: step.detail }));
      const svg = shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
      const total = step.kind === "total";
      const [a, b] = [Math.min(step.from, step.to), Math.max(step.from, step.to)].map((value) => (100 * (value - low)) / span);
      svg.append(shape("rect", total ? { x: Math.max(0, b - 0.8), width: 0.8, height: 10 } : { x: a, width: Math.max(0.8, b - a), height: 10 }));
      const amount = make("span", { className: "amount", textContent: step.amount });
      if (step.share) amount.append(make("span", { className: "quiet", textContent: step.share }));
      return make("li", { className: step.kind }, label, svg, amount);
    }),
  );
}
