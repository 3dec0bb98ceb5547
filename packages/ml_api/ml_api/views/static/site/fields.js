// The controls of the form: their values, and the messages beside them.

import { make } from "./dom.js";
import { LOCALE } from "./numbers.js";
import { faultInWords, warningInWords } from "./words.js";

const GROUPED = 10_000; // digits are grouped from this number on, so that years are not

const LOCAL_DATETIME = "YYYY-MM-DDThh:mm:ss".length; // a browser takes no longer fractions of a second than milliseconds

export const isNumber = (control) => ["integer", "number"].includes(control.dataset.kind);

/** Writes a number; years are not grouped. */
export const grouped = (value) => (Math.abs(value) >= GROUPED ? Number(value).toLocaleString(LOCALE) : String(value));

/** Whether a control takes a value; a browser would complain in its console. */
function fits(control, value) {
  if (isNumber(control)) return Number.isFinite(Number(value));
  if (control.dataset.kind === "boolean") return ["", "true", "false"].includes(String(value));
  return !control.type.startsWith("date") || !Number.isNaN(Date.parse(value));
}

/** The value of a field in a record, whose names may be those that every object has, like `constructor`; null if absent. */
export const valueIn = (record, name) => (Object.hasOwn(record, name) ? record[name] : null);

/** The value of a control's text in a record; null if it is empty. */
export function valueOf(control, text) {
  if (text === "") return null;
  if (control.dataset.kind === "boolean") return text === "true";
  return isNumber(control) ? Number(text) : text;
}

export class Fields {
  /** `box` holds the form; a form's own properties give way to controls of their names, such as `reset`. */
  constructor(box) {
    this.box = box;
    this.controls = new Map();
    for (const control of box.querySelectorAll("[data-kind]")) this.controls.set(control.name, control);
  }

  /** `{name, kind, codes, format, required, missing}` of every field, for the CSV reader. */
  get specs() {
    return [...this.controls.values()].map((control) => ({
      name: control.name,
      kind: control.dataset.kind,
      codes: "codes" in control.dataset,
      format: control.dataset.format ?? null,
      required: control.required,
      missing: Number(control.closest(".field").dataset.missing),
    }));
  }

  label(name) {
    return this.controls.get(name)?.labels[0].textContent ?? name;
  }

  /** Returns the label without its explanation. */
  shortLabel(name) {
    return this.controls.get(name)?.labels[0].firstChild.textContent ?? name;
  }

  /** Formats a value: the meaning of a level, a number with its unit, or the meaning of an empty control. */
  text(name, value) {
    const control = this.controls.get(name);
    if (!control) return value === null ? "" : String(value);
    if (control.tagName === "SELECT") {
      const option = [...control.options].find((each) => each.value === String(value ?? ""));
      if (option) return option.textContent;
    }
    if (value === null || value === undefined) return control.placeholder || "not known";
    const unit = control.parentElement.querySelector(".unit")?.textContent;
    const text = grouped(value);
    return unit && unit !== "year" ? `${text} ${unit}` : text;
  }

  /** Returns the record in the form without empty fields, and the names of invalid numbers or dates in `bad`. */
  record() {
    const record = Object.create(null);
    const bad = [];
    for (const [name, control] of this.controls) {
      if (control.validity.badInput) bad.push(name);
      else if (control.value !== "") record[name] = valueOf(control, control.value);
    }
    return { record, bad };
  }

  /** Returns what is wrong with each field in words: name -> text. `bad` are those that the browser cannot read. */
  faults(errors, bad = []) {
    const found = Object.create(null);
    for (const [name, messages] of Object.entries(errors)) found[name] = faultInWords(messages);
    for (const name of bad) found[name] = `Must be a ${isNumber(this.controls.get(name)) ? "number" : "date"}.`;
    return found;
  }

  number(name) {
    const control = this.controls.get(name);
    return control && isNumber(control) && control.value !== "" ? Number(control.value) : null;
  }

  /** Sets a control; returns whether it has taken the value. */
  set(name, value) {
    const control = this.controls.get(name);
    if (!control) return false;
    let text = value === null || value === undefined || !fits(control, value) ? "" : String(value);
    if (control.type === "datetime-local") text = text.slice(0, LOCAL_DATETIME);
    const options = control.options;
    if (options && ![...options].some((option) => option.value === text)) control.add(new Option(text, text));
    control.value = text;
    return control.value !== "" || value === null || value === undefined || value === "";
  }

  /** Sets the form to the typical record with `pairs` of name and text; returns the names that could not be set. */
  restore(pairs) {
    HTMLFormElement.prototype.reset.call(this.box.querySelector("form"));
    return pairs.filter(([name, text]) => !this.set(name, text)).map(([name]) => name);
  }

  /** Returns pairs of name and text of the controls that differ from the typical record. */
  changes() {
    return [...this.controls.values()].filter((control) => this.isChanged(control)).map((control) => [control.name, control.value]);
  }

  /** Makes `text` the typical value of a control, which keeps its own. */
  setTypical(name, text) {
    const control = this.controls.get(name);
    const { value } = control;
    if (control.options) for (const option of control.options) option.defaultSelected = option.value === text;
    else control.defaultValue = text;
    control.value = value;
  }

  isChanged(control) {
    if (control.tagName !== "SELECT") return control.value !== control.defaultValue;
    // A list without a typical value starts with its first.
    const typical = [...control.options].find((option) => option.defaultSelected) ?? control.options[0];
    return control.value !== typical?.value;
  }

  /** Shows `faults` (field -> text) and `warnings` (`{field, code, message}`) at their fields, each on a line. */
  showMessages(faults, warnings) {
    for (const [name, control] of this.controls) {
      const box = control.closest(".field");
      const wrong = faults[name];
      const own = warnings.filter((each) => (each.fields ?? [each.field]).includes(name));
      const note = box.querySelector(".message");
      const lines = wrong ? [wrong] : own.map(warningInWords);
      if ([...note.children].map((line) => line.textContent).join("\n") !== lines.join("\n")) {
        note.replaceChildren(...lines.map((textContent) => make("span", { textContent })));
      }
      box.classList.toggle("wrong", Boolean(wrong));
      box.classList.toggle("warned", !wrong && own.some((each) => each.code !== "imputed"));
      box.classList.toggle("noted", !wrong && own.length > 0);
      if (wrong) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
      box.classList.toggle("changed", this.isChanged(control));
    }
    for (const group of this.box.querySelectorAll(".group")) {
      const count = (kind) => group.querySelectorAll(`.field.${kind}`).length;
      const [wrong, warned, changed] = [count("wrong"), count("warned"), count("changed")];
      const marks = [
        wrong && ["wrong", `${wrong} wrong`],
        warned && ["warned", `${warned} to look at`],
        changed && ["changed", `${changed} changed`],
      ].filter(Boolean);
      group.querySelector(".marks").replaceChildren(
        ...marks.map(([kind, textContent]) => make("span", { className: `mark ${kind}`, textContent })),
      );
      if (wrong) group.open = true;
    }
  }

  /** Scrolls to a field and opens its group. */
  show(name) {
    const control = this.controls.get(name);
    if (!control) return;
    const group = control.closest("details");
    if (group) group.open = true;
    control.closest(".field").hidden = false;
    control.scrollIntoView({ block: "center" });
    control.focus({ preventScroll: true });
  }
}

/** Finds totals among fields that belong together: [whole, [parts]] if the parts currently add up to the whole. */
export function sums(fields, together) {
  return together
    .map(([whole, ...parts]) => [whole, parts.filter((part) => fields.controls.has(part) && isNumber(fields.controls.get(part)))])
    .filter(([whole, parts]) => {
      const values = parts.map((part) => fields.number(part));
      const total = fields.number(whole);
      return parts.length > 1 && total && !values.includes(null) && Math.abs(values.reduce((a, b) => a + b, 0) - total) < 1e-9 * Math.abs(total);
    });
}

/**
 * Returns what changes when the field `name` gets `value`, so that totals stay totals: a changed whole is distributed
 * among its parts, a changed part changes the whole. `number(name)` is the number in another field, or null.
 */
export function consequences(totals, number, name, value) {
  const changes = Object.create(null);
  changes[name] = value;
  const now = (each) => (each in changes ? changes[each] : number(each));
  for (const [whole, parts] of totals) {
    const values = parts.map(now);
    if (values.includes(null)) continue;
    if (name === whole && value > 0) distribute(values, value).forEach((part, index) => (changes[parts[index]] = part));
    else if (parts.includes(name)) changes[whole] = Number(values.reduce((a, b) => a + b, 0).toFixed(6));
  }
  return changes;
}

/** Scales `parts` to add up to `total`; integers stay integers. */
function distribute(parts, total) {
  const old = parts.reduce((a, b) => a + b, 0);
  if (old === 0) return parts.map((_, index) => (index ? 0 : total));
  const exact = parts.map((part) => (part * total) / old);
  if (![...parts, total].every(Number.isInteger)) return exact.map((value) => Number(value.toFixed(6)));
  const floors = exact.map(Math.floor);
  const order = exact.map((value, index) => index).sort((a, b) => exact[b] - floors[b] - (exact[a] - floors[a]));
  let left = total - floors.reduce((a, b) => a + b, 0);
  for (const index of order) if (left-- > 0) floors[index] += 1;
  return floors;
}
