// The controls of the form: their values, and the messages beside them.

import { LOCALE } from "./numbers.js";

const GROUPED = 10_000; // digits are grouped from this number on, so that years are not

const LOCAL_DATETIME = "YYYY-MM-DDThh:mm:ss".length; // a browser takes no longer fractions of a second than milliseconds

const isNumber = (control) => ["integer", "number"].includes(control.dataset.kind);

export class Fields {
  constructor(form) {
    this.form = form;
    this.controls = new Map();
    for (const control of form.querySelectorAll("[data-kind]")) this.controls.set(control.name, control);
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
    const text = Math.abs(value) >= GROUPED ? Number(value).toLocaleString(LOCALE) : String(value);
    return unit && unit !== "year" ? `${text} ${unit}` : text;
  }

  /** Returns the record in the form without empty fields, and the names of invalid numbers or dates in `bad`. */
  record() {
    const record = {};
    const bad = [];
    for (const [name, control] of this.controls) {
      if (control.validity.badInput) bad.push(name);
      else if (control.value !== "") {
        const kind = control.dataset.kind;
        if (kind === "boolean") record[name] = control.value === "true";
        else record[name] = isNumber(control) ? Number(control.value) : control.value;
      }
    }
    return { record, bad };
  }

  /** What is said of a control that the browser cannot read. */
  unreadable(name) {
    return isNumber(this.controls.get(name)) ? "Not a number." : "Not a date.";
  }

  number(name) {
    const control = this.controls.get(name);
    return control && isNumber(control) && control.value !== "" ? Number(control.value) : null;
  }

  set(name, value) {
    const control = this.controls.get(name);
    if (!control) return;
    let text = value === null || value === undefined ? "" : String(value);
    if (control.type === "datetime-local") text = text.slice(0, LOCAL_DATETIME);
    const options = control.options;
    if (options && ![...options].some((option) => option.value === text)) control.add(new Option(text, text));
    control.value = text;
  }

  /** Resets the form to the typical record, with `changes`. */
  reset(changes) {
    this.form.reset();
    for (const [name, value] of Object.entries(changes)) this.set(name, value);
  }

  isChanged(control) {
    if (control.tagName !== "SELECT") return control.value !== control.defaultValue;
    return [...control.options].some((option) => option.selected !== option.defaultSelected);
  }

  /** Shows `errors` (field -> text) and `warnings` (`{field, code, message}`) beside their fields. */
  showMessages(errors, warnings) {
    for (const [name, control] of this.controls) {
      const box = control.closest(".field");
      const wrong = errors[name];
      const own = warnings.filter((each) => (each.fields ?? [each.field]).includes(name));
      const note = box.querySelector(".message");
      const text = wrong ?? own.map((each) => each.message).join(" ");
      if (note.textContent !== text) note.textContent = text;
      box.classList.toggle("wrong", Boolean(wrong));
      box.classList.toggle("warned", !wrong && own.some((each) => each.code !== "imputed"));
      box.classList.toggle("noted", !wrong && own.length > 0);
      if (wrong) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
      box.classList.toggle("changed", this.isChanged(control));
    }
    for (const group of this.form.querySelectorAll(".group")) {
      const count = (kind) => group.querySelectorAll(`.field.${kind}`).length;
      const [wrong, warned, changed] = [count("wrong"), count("warned"), count("changed")];
      const marks = [
        wrong && ["wrong", `${wrong} wrong`],
        warned && ["warned", `${warned} to look at`],
        changed && ["changed", `${changed} changed`],
      ].filter(Boolean);
      group.querySelector(".marks").replaceChildren(
        ...marks.map(([kind, textContent]) => Object.assign(document.createElement("span"), { className: `mark ${kind}`, textContent })),
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

/** Scales `parts` to add up to `total`; integers stay integers. */
export function distribute(parts, total) {
  const old = parts.reduce((a, b) => a + b, 0);
  const exact = parts.map((part) => (part * total) / old);
  if (![...parts, total].every(Number.isInteger)) return exact.map((value) => Number(value.toFixed(6)));
  const floors = exact.map(Math.floor);
  const order = exact.map((value, index) => index).sort((a, b) => exact[b] - floors[b] - (exact[a] - floors[a]));
  let left = total - floors.reduce((a, b) => a + b, 0);
  for (const index of order) if (left-- > 0) floors[index] += 1;
  return floors;
}
