// What the page shows of classes: a bar for each, and the words of a text that speak for or against one.

import { make, shape } from "./dom.js";
import { LOCALE } from "./numbers.js";

const share = new Intl.NumberFormat(LOCALE, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** Formats probabilities like the writer of numbers does amounts. */
export const probability = {
  full: (value) => share.format(value),
  bare: (value) => share.format(value),
  brief: (value) => share.format(value),
  cell: (value) => share.format(value),
  short: (value) => share.format(value),
  signed: (value) => (value < 0 ? "−" : "+") + share.format(Math.abs(value)),
};

/** Draws a bar for each class; `probabilities` are by class, `chosen` is the predicted one. */
export function bars(list, probabilities, chosen) {
  list.replaceChildren(
    ...Object.entries(probabilities).map(([name, value]) => {
      const bar = shape("rect", { width: 100 * value, height: 8, rx: 1 });
      const svg = shape("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, bar);
      const label = make("span", { textContent: name });
      return make("li", { className: name === chosen ? "chosen" : "" }, label, svg, make("span", { className: "amount", textContent: share.format(value) }));
    }),
  );
}

/** Shows a text with its words marked: those that speak for the class, and those that speak against it. */
export function marked(element, text, words) {
  const effects = new Map(words.map((word) => [word.text.toLowerCase(), word.effect]));
  const strongest = Math.max(...words.map((word) => Math.abs(word.effect)), 1e-12);
  const pieces = text.split(/(\s+)/).map((piece) => {
    const bare = piece.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");
    const effect = (effects.get(piece.toLowerCase()) ?? 0) + (bare === piece.toLowerCase() ? 0 : (effects.get(bare) ?? 0));
    if (Math.abs(effect) < 0.1 * strongest) return piece;
    return make("mark", { className: effect > 0 ? "for" : "against", textContent: piece, title: `${effect > 0 ? "for" : "against"} it` });
  });
  element.replaceChildren(...pieces);
}
