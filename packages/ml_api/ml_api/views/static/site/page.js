// The page of one model: connects the form, the result and the address to the API.

import { RequestError, predict, sample } from "./api.js";
import { AddressBar, readFragment } from "./address.js";
import { bars, marked, probability } from "./classes.js";
import { axis, mark, waterfall, writeAxis } from "./chart.js";
import { Pins } from "./compare.js";
import { $, make } from "./dom.js";
import { Fields, consequences, sums, valueIn } from "./fields.js";
import { takeFiles } from "./many.js";
import { counted, percent, writer } from "./numbers.js";
import { snippets } from "./snippets.js";
import { WhatIf } from "./whatif.js";
import { learnWords, warningInWords } from "./words.js";

const TYPING_DELAY = 180; // ms without a key before the API is called
const ANNOUNCEMENT_DELAY = 900; // ms without a new prediction before screen readers announce it
const SLOW = 3000; // ms without an answer before the page says so
const CONTRIBUTIONS = 6;
const MOST_CAUTIONS = 3; // beside the prediction; the others unfold
const MOST_LOST = 10; // names of values in an address that the form cannot take

const facts = JSON.parse($("data").textContent);
learnWords(facts.words);
const amount = facts.classes ? probability : writer(facts.unit, facts.edges ? facts.edges.at(-1) - facts.edges[0] : 0);
const desk = $("desk");
const fields = new Fields(desk);
const position = facts.edges && axis(facts.edges, facts.scale);

function address(options) {
  const url = new URL(facts.predict, location.href);
  for (const [name, value] of Object.entries(options)) url.searchParams.set(name, value);
  return url.href;
}

const extras = () => ({ ...(facts.intervals ? { interval: $("level").value } : {}), ...(facts.classes ? { probabilities: true } : {}) });

// --- one record -------------------------------------------------------------------------------------------------

let request = new AbortController();
let typingTimer = 0;
let announcementTimer = 0;
let isFailing = false;

function updateLater() {
  clearTimeout(typingTimer);
  $("answer").classList.add("waiting");
  typingTimer = setTimeout(update, TYPING_DELAY);
}

async function update() {
  clearTimeout(typingTimer);
  request.abort();
  request = new AbortController();
  const { signal } = request;
  const { record, bad } = fields.record();
  bar.replace(pressed);
  writeCode(record);
  $("answer").classList.add("waiting");
  const slow = setTimeout(() => ($("slow").hidden = false), SLOW);
  try {
    // Reasons against a pinned record need it in the request, first.
    const against = pins.find($("against").value);
    const records = against ? [against.record, record] : [record];
    const options = { ...extras(), explain: CONTRIBUTIONS, warnings: true, ...(against ? { against: "first" } : {}) };
    const answer = await predict(address(options), records, signal);
    if (signal.aborted) return;
    isFailing = false;
    show(one(answer, records.length - 1), bad);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof RequestError)) throw error;
    isFailing = error.status === 0 || error.wait > 0;
    showFailure(isFailing ? `${error.message} Trying again…` : error.message);
    if (isFailing) typingTimer = setTimeout(update, 1000 * (error.wait || 3));
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) {
      $("slow").hidden = true;
      $("answer").classList.remove("waiting");
    }
  }
}

/** The part of an answer that is about one of its records. */
const one = (answer, index) => ({
  version: answer.version,
  prediction: answer.predictions[index],
  errors: answer.errors?.[index] ?? {},
  interval: answer.intervals?.[index] ?? null,
  probabilities: answer.probabilities?.[index] ?? null,
  explanation: answer.explanations?.[index] ?? null,
  warnings: answer.warnings?.[index] ?? [],
});

function show(answer, bad) {
  const { prediction, warnings } = answer;
  const faults = fields.faults(answer.errors, bad);
  fields.showMessages(faults, warnings);
  showWarnings(warnings);
  const wrong = Object.keys(faults);
  if (prediction === null || wrong.length) {
    const [name] = wrong;
    const text = fields.controls.has(name) ? `${fields.shortLabel(name)}: ${faults[name]}` : faults[name];
    showFailure(wrong.length > 1 ? `${counted(wrong.length, "field")} cannot be used. First: ${text}` : text, name);
    return;
  }
  $("trouble").hidden = true;
  $("version").textContent = answer.version;
  $("prediction").classList.remove("none");
  if (facts.classes) showClass(answer);
  else showNumber(answer);
  $("pin").disabled = pins.isFull;
}

function showNumber({ prediction, interval, explanation }) {
  $("prediction").textContent = amount.full(prediction);
  $("range").hidden = !interval;
  const range = interval ? `${amount.bare(interval[0])} to ${amount.full(interval[1])}` : "";
  $("rangetext").textContent = range;
  $("barprediction").textContent = amount.full(prediction);
  if (!isCautioned()) $("barrange").textContent = interval ? `${amount.short(interval[0])} – ${amount.short(interval[1])}` : "";
  if (position) mark($("spread").querySelector("svg"), position, prediction, interval);
  showExplanation(explanation, prediction);
  announce(`${facts.title}: ${amount.full(prediction)}.${interval ? ` ${$("level").selectedOptions[0].text} range ${range}.` : ""}`);
  whatIf.refresh({ prediction, chosen: null, options: extras() });
  pins.show({ prediction, interval, shown: null, options: extras() });
}

/** Shows a predicted class: its name, a bar for each class, the set of plausible ones, the reasons. */
function showClass({ prediction, interval, probabilities, explanation }) {
  const chosen = String(prediction);
  const set = interval?.map(String).join(" or ") ?? "";
  $("prediction").textContent = chosen;
  $("range").hidden = !set;
  $("rangetext").textContent = set;
  $("barprediction").textContent = chosen;
  if (!isCautioned()) $("barrange").textContent = amount.full(probabilities[chosen]);
  $("classes").hidden = false;
  bars($("classes"), probabilities, chosen);
  showExplanation(explanation, probabilities[chosen]);
  announce(`${facts.title}: ${chosen}, ${amount.full(probabilities[chosen])}.`);
  whatIf.refresh({ prediction: probabilities[chosen], chosen, options: extras() });
  pins.show({ prediction: probabilities[chosen], interval, shown: chosen, options: extras() });
}

function announce(text) {
  clearTimeout(announcementTimer);
  const caution = isCautioned() ? " Use with caution." : "";
  announcementTimer = setTimeout(() => ($("spoken").textContent = text + caution), ANNOUNCEMENT_DELAY);
}

/** Shows why there is no prediction; `name` is the invalid field. */
function showFailure(text, name) {
  clearTimeout(announcementTimer);
  $("prediction").textContent = "–";
  $("prediction").classList.add("none");
  $("barprediction").textContent = "–";
  $("barrange").textContent = name ? "a field is wrong" : isFailing ? "trying again…" : "no answer";
  $("pin").disabled = true;
  for (const id of ["range", "why", "classes", "cautions"]) if ($(id)) $(id).hidden = true;
  if (position) mark($("spread").querySelector("svg"), position, null, null);
  const trouble = $("trouble");
  trouble.hidden = false;
  if (trouble.firstChild?.textContent === text) return;
  trouble.replaceChildren(make("span", { textContent: text }));
  if (fields.controls.has(name)) {
    trouble.append(" ", make("button", { type: "button", className: "link", textContent: "Show it", onclick: () => fields.show(name) }));
  }
}

function showExplanation(explanation, prediction) {
  $("why").hidden = !explanation;
  if (!explanation) return;
  const { baseline, contributions, rest } = explanation;
  $("falls").hidden = !contributions.length;
  $("same").hidden = contributions.length > 0;
  let at = baseline.prediction;
  const against = pins.find($("against").value);
  const name = against ? `Pinned ${against.letter}` : baseline.name[0].toUpperCase() + baseline.name.slice(1);
  $("same").textContent = against ? `This is the same ${facts.noun} as ${name}.` : `This is the typical ${facts.noun}. Change something, and what it does stands here.`;
  const steps = [{ label: name, from: at, to: at, amount: amount.brief(at), kind: "total" }];
  const step = (label, detail, { amount: difference, percent: share }) => {
    const kind = difference < 0 ? "down" : "up";
    steps.push({ label, detail, from: at, to: at + difference, amount: amount.signed(difference), share: share === null ? "" : percent(share), kind });
    at += difference;
  };
  for (const each of contributions) step(fields.shortLabel(each.field), fields.text(each.field, each.value), each);
  const text = contributions.find((each) => each.words?.length);
  $("words").hidden = !text;
  if (text) marked($("words"), String(text.value), text.words);
  if (rest.fields > 0 && rest.amount !== 0) step(`${counted(rest.fields, "other field")}`, "", rest);
  steps.push({ label: `This ${facts.noun}`, from: prediction, to: prediction, amount: amount.brief(prediction), kind: "total" });
  waterfall($("falls"), steps);
}

const isCautioned = () => !$("cautions").hidden;

/** Shows beside the prediction what speaks against relying on it; fields left empty are counted further down. */
function showWarnings(warnings) {
  const cautions = warnings.filter((each) => each.code !== "imputed");
  const filled = warnings.length - cautions.length;
  const items = cautions.map((each) => {
    const button = make("button", { type: "button", className: "link", textContent: fields.shortLabel(each.field), onclick: () => fields.show(each.field) });
    return make("li", {}, button, " ", make("span", { textContent: warningInWords(each) }));
  });
  $("cautions").hidden = !items.length;
  $("cautionlist").replaceChildren(...items.slice(0, MOST_CAUTIONS));
  const more = items.slice(MOST_CAUTIONS);
  $("cautionmore").hidden = !more.length;
  $("cautionmorelist").replaceChildren(...more);
  $("cautioncount").textContent = `${more.length} more`;
  $("filled").hidden = !filled;
  $("filled").textContent = `${counted(filled, "field")} left empty, filled in with what is typical.`;
  $("barrange").textContent = items.length ? "with caution" : "";
}

function writeCode(record) {
  const language = document.querySelector("input[name=language]:checked").value;
  $("code").textContent = snippets[language](address(extras()), record, facts.keys);
}

// --- the form ---------------------------------------------------------------------------------------------------

let totals = [];
let pressed = null; // the example that the record is
let taken = null; // the field whose what-if values are being taken

const changesWith = (name, value) => consequences(totals, (each) => fields.number(each), name, value);

/** Puts a value into the form, and into the fields that go with it. */
function put(name, value) {
  for (const [each, changed] of Object.entries(changesWith(name, value))) fields.set(each, changed);
}

function press(name) {
  pressed = name;
  for (const each of document.querySelectorAll("[data-example]")) each.setAttribute("aria-pressed", String(each.dataset.example === name));
  $("undo").hidden = bar.depth === 0;
}

/** Names the fields whose values the form cannot take. */
function showLost(what, names) {
  const rest = names.length > MOST_LOST ? ` and ${names.length - MOST_LOST} more` : "";
  $("lost").hidden = !names.length;
  $("lost").textContent = `${what} has values that this form cannot take: ${names.slice(0, MOST_LOST).join(", ")}${rest}.`;
}

/** Changes the record in the form as one step, which the browser's back button undoes. */
function change(start, steps) {
  clearTimeout(typingTimer);
  bar.replace(pressed);
  const before = bar.url;
  $("lost").hidden = true;
  steps();
  totals = sums(fields, facts.together);
  taken = null;
  if (bar.url === before) bar.replace(start);
  else bar.push(start);
  press(start);
  update();
}

/** What the address has beside the record: the level of the range where it was chosen, pins, what reasons are against. */
function options() {
  const chosen = $("level").selectedOptions[0].defaultSelected ? [] : [["level", $("level").value]];
  const against = pins.find($("against").value) ? [["against", $("against").value]] : [];
  return [...(facts.intervals ? chosen : []), ...pins.written, ...against];
}

/** Shows a record of the address; `pairs` are its changes. What its options do not name stays as it is. */
function restore({ pairs, options: found }, start) {
  pins.read(found);
  showPins(found.get("against"));
  const level = [...$("level").options].find((option) => option.value === found.get("level"));
  if (level) level.selected = true;
  const lost = fields.restore(pairs);
  totals = sums(fields, facts.together);
  taken = null;
  press(start ?? (pairs.length ? null : ""));
  showLost("The address", lost);
  update();
}

async function startFrom(kind) {
  let changes = facts.examples[kind] ?? {};
  if (kind === "required") {
    changes = Object.fromEntries([...fields.controls.values()].filter((each) => !each.required).map((each) => [each.name, null]));
  } else if (kind === "random") {
    try {
      changes = await sample(new URL(facts.sample, location.href).href, Math.floor(Math.random() * 2 ** 32));
    } catch (error) {
      showFailure(error.message);
      return;
    }
  }
  change(kind, () => {
    fields.restore([]);
    totals = kind in facts.examples ? sums(fields, facts.together) : [];
    for (const [name, value] of Object.entries(changes)) put(name, value);
  });
}

/** Opens a row of a file: what it does not have is left empty, as it was for its prediction. */
function openRow(record) {
  change(null, () => {
    showLost("The row", [...fields.controls.keys()].filter((name) => !fields.set(name, valueIn(record, name))));
  });
  $("main").focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

function take(name, value) {
  const isFirst = taken !== name;
  if (isFirst) bar.replace(pressed);
  put(name, value);
  if (isFirst) bar.push();
  taken = name;
  press(null);
  update();
}

const bar = new AddressBar(fields, options, restore);
const pins = new Pins(fields, {
  facts,
  amount,
  predict: (records) => predict(address(extras()), records),
  open: (pairs) => change(null, () => fields.restore(pairs)),
  onChange: () => {
    showPins();
    update();
  },
});
const whatIf = new WhatIf(fields, {
  amount,
  title: facts.title,
  take,
  consequences: changesWith,
  most: facts.batch,
  ask: (records, signal) => predict(address(extras()), records, signal),
});

/** Offers the reasons against each pinned record. */
function showPins(chosen = $("against").value) {
  const options = [new Option(`the typical ${facts.noun}`, ""), ...pins.items.map(({ letter }) => new Option(`pinned ${letter}`, letter))];
  $("against").replaceChildren(...options);
  $("against").value = pins.find(chosen) ? chosen : "";
  $("againstbox").hidden = !pins.items.length;
}

$("pin").addEventListener("click", () => {
  pins.add();
  // The reasons against a record that was just pinned are the question; there is nothing to tell until it is changed.
  $("against").value = pins.items.at(-1).letter;
  update();
  $("compare").scrollIntoView({ block: "nearest" });
});
$("against").addEventListener("change", update);
$("undo").addEventListener("click", () => history.back());

desk.addEventListener("submit", (event) => event.preventDefault());
desk.addEventListener("input", (event) => {
  if (!fields.controls.has(event.target.name)) return;
  taken = null;
  press(null);
  const { name } = event.target;
  for (const [each, changed] of Object.entries(changesWith(name, fields.number(name)))) if (each !== name) fields.set(each, changed);
  updateLater();
});
// A wheel over a focused number would change it; it scrolls the page, as everywhere else.
desk.addEventListener(
  "wheel",
  ({ target }) => {
    if (target !== document.activeElement || target.type !== "number") return;
    target.blur();
    setTimeout(() => target.focus({ preventScroll: true }));
  },
  { passive: true },
);
for (const chip of document.querySelectorAll("[data-example]")) chip.addEventListener("click", () => startFrom(chip.dataset.example));
$("level").addEventListener("change", update);

$("find")?.addEventListener("input", () => {
  whatIf.close();
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const group of document.querySelectorAll(".group")) {
    let any = false;
    for (const box of group.querySelectorAll(".field")) {
      const text = `${box.dataset.field} ${box.querySelector("label").textContent} ${group.querySelector(".groupname").textContent}`.toLowerCase();
      box.hidden = !words.every((word) => text.includes(word));
      any ||= !box.hidden;
      count += !box.hidden;
    }
    group.hidden = !any;
    group.open = any && words.length > 0;
  }
  $("found").textContent = words.length ? `${count ? counted(count, "field") : "No field"} found` : "";
});

// --- code, link, print --------------------------------------------------------------------------------------------

document.querySelectorAll("input[name=language]").forEach((each) => each.addEventListener("change", () => writeCode(fields.record().record)));

/** Copies what `text` returns; without permission or https `element` is selected, to be copied by hand. */
function copies(button, text, element) {
  const before = button.textContent;
  button.addEventListener("click", async () => {
    let copied = true;
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      element.hidden = false;
      element.textContent = text();
      getSelection().selectAllChildren(element);
      copied = false;
    }
    button.textContent = copied ? "Copied" : "Selected";
    setTimeout(() => (button.textContent = before), 1500);
  });
}

copies($("copy"), () => $("code").textContent, $("code"));
copies($("link"), () => new URL(bar.url, location.href).href, $("linktext"));
$("print").addEventListener("click", () => print());
addEventListener("beforeprint", () => {
  const rows = [...fields.controls.values()].map((control) => {
    const { record } = fields.record();
    const text = fields.text(control.name, valueIn(record, control.name));
    const className = fields.isChanged(control) ? "changed" : "";
    return make("div", { className }, make("dt", { textContent: fields.shortLabel(control.name) }), make("dd", { textContent: text }));
  });
  $("printedfields").replaceChildren(...rows);
  $("printedlink").textContent = new URL(bar.url, location.href).href;
  $("printedtime").textContent = new Date().toLocaleString();
});

// --- start ------------------------------------------------------------------------------------------------------

if (facts.edges) writeAxis($("axis"), facts.edges, facts.scale, amount.short);
// On a phone the bar shows the prediction until the result is visible.
new IntersectionObserver(([seen]) => ($("bar").hidden = seen.isIntersecting), { rootMargin: "1000000px 0px 0px" }).observe($("prediction"));
// A link to a part of the page would take the record out of the address.
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const part = $(link.hash.slice(1));
    part.scrollIntoView();
    part.focus({ preventScroll: true });
  });
}
addEventListener("online", () => isFailing && update());
takeFiles({ facts, fields, amount, url: () => address({ ...(facts.classes ? {} : extras()), warnings: true }), open: openRow });
$("send").hidden = true;
$("sentrange")?.remove();
// The form may have been sent, by a browser without scripts until now: what it has is then the record.
const sent = facts.typical;
for (const [name, text] of Object.entries(sent ?? {})) fields.setTypical(name, text);
const found = readFragment(location.hash) ?? { pairs: [], options: new Map() };
restore(sent ? { ...found, pairs: fields.changes() } : found, history.state?.start);
