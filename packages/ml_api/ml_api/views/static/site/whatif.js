// What if one field were different: the prediction over the values of a field, from one request.

import { axis, ticks } from "./chart.js";
import { make, shape } from "./dom.js";
import { grouped, isNumber, valueOf } from "./fields.js";

const STEPS = 40; // of a number or date, from the lowest to the highest value in training
const MOST_LEVELS = 100;
const DAY = 86_400_000; // ms
const KEYS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5, Home: -Infinity, End: Infinity };
const MARGIN = 0.06; // above and below a curve, of its height

const isDate = (control) => ["date", "datetime"].includes(control.dataset.kind);
const hasZone = (control) => isDate(control) && control.type === "text";
const choices = (control) => [...(control.options ?? control.list?.options ?? [])].filter((option) => !option.classList.contains("unseen"));

/** A number for each value of a number or date, and back. */
function scaleOf(control) {
  if (isNumber(control)) return { toNumber: Number, toText: String };
  if (control.dataset.kind === "date") {
    return { toNumber: (text) => Date.parse(text) / DAY, toText: (days) => new Date(days * DAY).toISOString().slice(0, 10) };
  }
  const zone = hasZone(control);
  return {
    toNumber: (text) => Date.parse(zone || !text ? text : `${text}Z`) / DAY,
    toText: (days) => new Date(days * DAY).toISOString().replace(/\.\d+/, "").replace(/Z$/, zone ? "Z" : ""),
  };
}

/** Round values from `low` to `high`, both included. */
function grid(low, high, isWhole) {
  const raw = (high - low) / STEPS;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(isWhole ? 1 : 0, [1, 2, 5, 10].find((factor) => factor * power >= raw * (1 - 1e-9)) * power);
  const values = [low];
  for (let count = Math.floor(low / step) + 1; count * step < high; count += 1) values.push(Number((count * step).toPrecision(12)));
  return [...values, high];
}

export class WhatIf {
  /**
   * Adds a button to every field that has values to go through.
   *
   * options: `ask(records, signal)` returns the answer of the API; `consequences(name, value)` the fields that change
   * with one; `take(name, value)` puts a value into the form; `amount` writes predictions, whose name is
   * `title`; `most` limits the records.
   */
  constructor(fields, options) {
    Object.assign(this, options, { fields, name: null, request: new AbortController() });
    for (const control of fields.controls.values()) {
      const found = this.values(control);
      if (found.length < 2) continue;
      const what = make("span", { className: "hidden", textContent: ` ${fields.shortLabel(control.name)} changes?` });
      const button = make("button", { type: "button", className: "whatif", onclick: () => this.toggle(control.name) }, "What if", what);
      button.setAttribute("aria-expanded", "false");
      control.closest(".field").append(button);
    }
  }

  /** The texts that a control is tried with. */
  values(control) {
    if (!isNumber(control) && !isDate(control)) return choices(control).slice(0, Math.min(MOST_LEVELS, this.most)).map((option) => option.value);
    const { toNumber, toText } = scaleOf(control);
    const [low, high] = [control.dataset.low, control.dataset.high].map((text) => (text ? toNumber(text) : NaN));
    if (!(low < high)) return [];
    return [...new Set(grid(low, high, control.dataset.kind !== "number" && control.dataset.kind !== "datetime").slice(0, this.most).map(toText))];
  }

  button(name) {
    return this.fields.controls.get(name).closest(".field").querySelector(".whatif");
  }

  toggle(name) {
    const other = name !== this.name;
    this.close();
    if (other) this.open(name);
  }

  close() {
    if (!this.name) return;
    this.request.abort();
    this.button(this.name).setAttribute("aria-expanded", "false");
    this.panel.remove();
    this.name = null;
  }

  open(name) {
    const control = this.fields.controls.get(name);
    this.name = name;
    this.asked = null;
    const label = this.fields.shortLabel(name);
    const close = make("button", { type: "button", className: "small", textContent: "Close", onclick: () => (this.button(name).focus(), this.close()) });
    this.body = make("div");
    this.reading = make("p", { className: "reading" });
    this.panel = make(
      "section",
      { className: "curvepanel", onkeydown: (event) => event.key === "Escape" && close.click() },
      make("div", { className: "curvehead" }, make("strong", { textContent: `What if: ${label}` }), close),
      this.body,
      this.reading,
    );
    this.panel.setAttribute("aria-label", `What if: ${label}`);
    control.closest(".field").after(this.panel);
    this.button(name).setAttribute("aria-expanded", "true");
    this.place = null;
    this.summary = "Asking…";
    this.mark();
    if (this.now) this.refresh(this.now);
    this.panel.scrollIntoView({ block: "nearest" });
  }

  say(text) {
    this.reading.textContent = text;
  }

  /** Asks again where anything but the field itself has changed; `now` is the prediction of the form, its range and class. */
  async refresh(now) {
    this.now = now;
    if (!this.name) return;
    const control = this.fields.controls.get(this.name);
    const texts = this.values(control);
    const { record } = this.fields.record();
    const records = texts.map((text) => {
      const changed = { ...record, ...this.consequences(this.name, valueOf(control, text)) };
      return Object.fromEntries(Object.entries(changed).filter(([, value]) => value !== null));
    });
    const asked = JSON.stringify([records, now.options, now.chosen]);
    if (asked === this.asked) {
      this.mark();
      return;
    }
    this.request.abort();
    this.request = new AbortController();
    const { signal } = this.request;
    this.panel.classList.add("waiting");
    try {
      const answer = await this.ask(records, signal);
      if (signal.aborted) return;
      this.points = texts.map((text, index) => ({
        text,
        value: valueOf(control, text),
        y: now.chosen === null ? answer.predictions[index] : (answer.probabilities?.[index]?.[now.chosen] ?? null),
        range: now.chosen === null ? (answer.intervals?.[index] ?? null) : null,
      }));
      this.asked = asked;
      if (!this.points.some((point) => point.y !== null)) this.say("There is no prediction for any of its values: another field is wrong.");
      else if (isNumber(control) || isDate(control)) this.drawCurve(control);
      else this.drawLevels();
    } catch (error) {
      if (!signal.aborted) this.say(error.message);
    } finally {
      if (!signal.aborted) this.panel.classList.remove("waiting");
    }
  }

  /** What the curve is of. */
  get what() {
    return this.now.chosen === null ? this.title : `Probability of ${this.now.chosen}`;
  }

  /** What is read of one point. */
  describe({ value, y, range }) {
    const { amount, now } = this;
    const difference = y - now.prediction;
    const told = [`${this.fields.text(this.name, value)}: ${amount.full(y)}`];
    if (range) told.push(`range ${amount.short(range[0])} to ${amount.short(range[1])}`);
    if (now.prediction !== null && difference) told.push(`${amount.signed(difference)} against now`);
    return told.join(" · ");
  }

  drawCurve(control) {
    const { amount } = this;
    const { toNumber, toText } = scaleOf(control);
    const drawn = this.points.filter((point) => point.y !== null);
    const all = drawn.flatMap((point) => [point.y, ...(point.range ?? [])]);
    let [low, high] = this.now.chosen === null ? [Math.min(...all), Math.max(...all)] : [0, 1];
    const margin = this.now.chosen === null ? MARGIN * (high - low || Math.abs(high) || 1) : 0;
    [low, high] = [low - margin, high + margin];
    const x = axis([toNumber(drawn[0].text), toNumber(drawn.at(-1).text)], "identity");
    const y = (value) => 1 - (value - low) / (high - low);
    for (const point of drawn) point.x = x(toNumber(point.text));
    const path = (points) => points.map(([a, b]) => `${(100 * a).toFixed(2)},${(100 * b).toFixed(2)}`).join(" ");
    const svg = shape("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const at of [0, 0.5, 1]) svg.append(shape("line", { class: "grid", x1: 0, x2: 100, y1: 100 * at, y2: 100 * at }));
    const ranged = drawn.filter((point) => point.range);
    if (ranged.length) {
      const edge = (side) => ranged.map((point) => [point.x, y(point.range[side])]);
      svg.append(shape("polygon", { class: "band", points: path([...edge(0), ...edge(1).reverse()]) }));
    }
    svg.append(shape("polyline", { points: path(drawn.map((point) => [point.x, y(point.y)])) }));
    const slider = make("input", { type: "range", min: 0, max: 1000, step: 1, className: "hand" });
    slider.setAttribute("aria-label", `Value of ${this.fields.shortLabel(this.name)}`);
    const [dot, cross] = [make("span", { className: "dot" }), make("span", { className: "cross", hidden: true })];
    const edges = [toNumber(drawn[0].text), toNumber(drawn.at(-1).text)];
    const writeX = (value) => {
      if (isNumber(control)) return grouped(control.dataset.kind === "number" ? Number(value.toPrecision(3)) : Math.round(value));
      return toText(Math.round(value)).replace("T", " ");
    };
    this.body.replaceChildren(
      make(
        "div",
        { className: "plot" },
        make("div", { className: "ys" }, ...[high, (low + high) / 2, low].map((value) => make("span", { textContent: amount.short(value) }))),
        make("div", { className: "curve" }, svg, dot, cross, slider),
        make("div", { className: "axis" }, ...ticks(edges, "identity", 3).map((value) => make("span", { textContent: writeX(value) }))),
      ),
    );
    const nearest = (share) => drawn.reduce((best, point) => (Math.abs(point.x - share) < Math.abs(best.x - share) ? point : best));
    const preview = (point) => {
      slider.setAttribute("aria-valuetext", this.describe(point));
      cross.hidden = false;
      cross.style.left = `${100 * point.x}%`;
      this.say(this.describe(point));
    };
    const take = (point) => this.take(this.name, point.value);
    slider.addEventListener("pointermove", (event) => preview(nearest(event.offsetX / slider.clientWidth)));
    slider.addEventListener("pointerleave", () => this.mark());
    slider.addEventListener("input", () => preview(nearest(slider.valueAsNumber / 1000)));
    slider.addEventListener("change", () => take(nearest(slider.valueAsNumber / 1000)));
    slider.addEventListener("keydown", (event) => {
      if (!(event.key in KEYS)) return;
      event.preventDefault();
      const at = drawn.indexOf(nearest(slider.valueAsNumber / 1000)) + KEYS[event.key];
      const point = drawn[Math.min(drawn.length - 1, Math.max(0, at))];
      slider.value = 1000 * point.x;
      preview(point);
      take(point);
    });
    this.place = () => {
      const { value } = control;
      const [found, prediction] = [value === "" ? NaN : toNumber(value), this.now.prediction];
      const at = found >= edges[0] && found <= edges[1] ? x(found) : NaN;
      dot.hidden = !Number.isFinite(at) || prediction === null;
      cross.hidden = true;
      if (dot.hidden) return;
      dot.style.left = `${100 * at}%`;
      dot.style.top = `${100 * Math.min(1, Math.max(0, y(prediction)))}%`;
      slider.value = 1000 * at;
      slider.setAttribute("aria-valuetext", `${this.fields.text(this.name, valueOf(control, value))}: ${amount.full(prediction)}`);
    };
    const [lowest, highest] = [Math.min(...drawn.map((point) => point.y)), Math.max(...drawn.map((point) => point.y))];
    this.summary = `${this.what} from ${amount.full(lowest)} to ${amount.full(highest)}, all else as it is. Click a value to take it.`;
    this.mark();
  }

  drawLevels() {
    const { amount } = this;
    const control = this.fields.controls.get(this.name);
    const drawn = this.points.filter((point) => point.y !== null);
    if (!("ordered" in control.dataset)) drawn.sort((one, other) => other.y - one.y);
    const all = drawn.flatMap((point) => [point.y, ...(point.range ?? [])]);
    const x = this.now.chosen === null ? axis([Math.min(...all), Math.max(...all)], "identity") : (share) => share;
    const buttons = drawn.map((point) => {
      const svg = shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
      const [low, high] = (point.range ?? [point.y, point.y]).map((end) => 100 * x(end));
      if (point.range) svg.append(shape("rect", { class: "band", x: low, width: Math.max(0.5, high - low), y: 3, height: 4 }));
      svg.append(shape("rect", { x: Math.min(99, Math.max(0, 100 * x(point.y) - 0.5)), width: 1, height: 10 }));
      const button = make(
        "button",
        { type: "button", onclick: () => this.take(this.name, point.value) },
        make("span", { textContent: this.fields.text(this.name, point.value) }),
        svg,
        make("span", { className: "amount", textContent: amount.brief(point.y) }),
      );
      button.dataset.value = point.text;
      return make("li", {}, button);
    });
    this.body.replaceChildren(make("ul", { className: "levels" }, ...buttons));
    this.place = () => {
      for (const button of this.body.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.value === control.value));
    };
    this.summary = `${this.what}, all else as it is. Click one to take it.`;
    this.mark();
    const [list, chosen] = [this.body.firstChild, this.body.querySelector("[aria-pressed=true]")];
    if (chosen) list.scrollTop = chosen.offsetTop - list.offsetTop - list.clientHeight / 2;
  }

  /** Marks the value that the form has now. */
  mark() {
    this.place?.();
    this.say(this.summary);
  }
}
