// Pinned records beside the one in the form: what differs, and what each is predicted.

import { $, make } from "./dom.js";
import { valueIn } from "./fields.js";

const MOST = 2; // beside the one in the form
const LETTERS = ["A", "B", "C"];

export class Pins {
  /**
   * options: `facts` and `amount` of the page; `predict(records)` returns the API's answer; `open(pairs)` puts a record
   * into the form; `onChange()` is called when there is one more or one less. Pins last as long as the tab.
   */
  constructor(fields, options) {
    Object.assign(this, options, { fields, items: [], asked: "" });
    this.key = `pins of ${this.facts.name} ${this.facts.version}`;
    try {
      this.items = JSON.parse(sessionStorage.getItem(this.key)) ?? [];
    } catch {
      // Storage may be forbidden; pins then end with the page.
    }
  }

  get isFull() {
    return this.items.length >= MOST;
  }

  find(letter) {
    return this.items.find((pin) => pin.letter === letter);
  }

  add() {
    const letter = LETTERS.find((each) => !this.find(each));
    this.items.push({ letter, pairs: this.fields.changes(), record: this.fields.record().record });
    this.changed();
  }

  /** Pins the records of an address, by letter their pairs, instead of those there are; the form is changed by it. */
  read(options) {
    const found = LETTERS.slice(0, MOST).filter((letter) => options.has(letter)).map((letter) => [letter, options.get(letter)]);
    if (!found.length || String(found) === String(this.written)) return;
    this.items = found.map(([letter, text]) => {
      this.fields.restore([...new URLSearchParams(text)]);
      return { letter, pairs: this.fields.changes(), record: this.fields.record().record };
    });
    this.asked = "";
    this.keep();
  }

  /** Pairs of the letter of a pin and its record, as an address has them. */
  get written() {
    return this.items.map(({ letter, pairs }) => [letter, String(new URLSearchParams(pairs))]);
  }

  remove(pin) {
    this.items = this.items.filter((each) => each !== pin);
    this.changed();
  }

  changed() {
    this.keep();
    this.onChange();
  }

  keep() {
    try {
      sessionStorage.setItem(this.key, JSON.stringify(this.items));
    } catch {
      // See above.
    }
  }

  /** Asks for the predictions of the pinned records, and shows them beside `now`: `{prediction, interval}` of the form. */
  async show(now) {
    $("compare").hidden = !this.items.length;
    if (!this.items.length) return;
    const asked = JSON.stringify([this.items.map((pin) => pin.record), now.options]);
    if (asked !== this.asked) {
      this.asked = asked;
      try {
        const answer = await this.predict(this.items.map((pin) => pin.record));
        if (asked !== this.asked) return;
        this.items.forEach((pin, index) => this.take(pin, answer, index));
      } catch {
        this.asked = ""; // the form tells what is wrong, and asks again
        return;
      }
    }
    this.draw(now);
  }

  take(pin, answer, index) {
    const value = answer.predictions[index];
    pin.shown = this.facts.classes && value !== null ? String(value) : null;
    pin.prediction = this.facts.classes ? (answer.probabilities?.[index]?.[pin.shown] ?? null) : value;
    pin.interval = answer.intervals?.[index] ?? null;
  }

  draw(now) {
    const { amount, facts, fields } = this;
    const columns = [{ ...now, record: fields.record().record, title: `This ${facts.noun}` }, ...this.items.map((pin) => ({ ...pin, title: `Pinned ${pin.letter}`, pin }))];
    const write = (one) => (one.prediction === null ? "–" : one.shown ? `${one.shown}, ${amount.full(one.prediction)}` : amount.full(one.prediction));
    const ranged = columns.some((one) => one.interval);
    const range = ({ interval }) => (!interval ? "–" : facts.classes ? interval.map(String).join(" or ") : `${amount.short(interval[0])} to ${amount.short(interval[1])}`);
    const head = columns.map(({ title, pin }) => {
      const cell = make("th", { scope: "col" }, make("span", { textContent: title }));
      if (pin) {
        const button = (textContent, onclick) => {
          const made = make("button", { type: "button", className: "link", textContent, onclick });
          made.setAttribute("aria-label", `${textContent} ${title}`);
          return made;
        };
        cell.append(make("span", { className: "pinlinks" }, button("Open", () => this.open(pin.pairs)), button("Unpin", () => this.remove(pin))));
      }
      return cell;
    });
    const row = (label, texts, className = "") => {
      const differs = new Set(texts).size > 1;
      const cells = texts.map((textContent, index) => make("td", { textContent, className: differs && className === "" && textContent !== texts[0] && index ? "differs" : "" }));
      return make("tr", { className }, make("th", { scope: "row", textContent: label }), ...cells);
    };
    const rows = [row(facts.title, columns.map(write), "strong")];
    if (ranged) rows.push(row(facts.classes ? "Plausible" : `${$("level").selectedOptions[0].text} range`, columns.map(range), "soft"));
    let same = 0;
    for (const name of fields.controls.keys()) {
      const values = columns.map(({ record }) => valueIn(record, name));
      if (values.every((value) => value === values[0])) same += 1;
      else rows.push(row(fields.shortLabel(name), values.map((value) => fields.text(name, value))));
    }
    $("comparehead").parentElement.style.setProperty("--records", columns.length);
    $("comparehead").replaceChildren(make("tr", {}, make("td"), ...head));
    $("comparerows").replaceChildren(...rows);
    const rest = same === 1 ? "The other field is the same." : `The other ${same} fields are the same.`;
    $("comparesame").textContent = same === fields.controls.size ? "No field differs." : same ? rest : "";
  }
}
