// The page that asks one model: wires the form, the answer and the file to the API.

import { Trouble, predict, sample } from "./api.js";
import { added, file as fileOf, answered } from "./batch.js";
import { axis, histogram, mark, waterfall, writeAxis } from "./chart.js";
import { NotCSV, decode, line as csvLine, read } from "./csv.js";
import { Fields, shared, sums } from "./fields.js";
import { counted, percent, writer } from "./numbers.js";
import { snippets } from "./snippets.js";

const TYPING = 180; // ms without a key before the API is asked
const SPEAKING = 900; // ms without a new answer before it is read out
const REASONS = 6;
const MAX_SHOWN = 100;
const LARGEST_FILE = 200e6;

const $ = (id) => document.getElementById(id);
const make = (tag, attributes) => Object.assign(document.createElement(tag), attributes);
const facts = JSON.parse($("data").textContent);
const money = writer(facts.unit);
const fields = new Fields($("form"));
const place = facts.edges && axis(facts.edges, facts.scale);

function address(options) {
  const url = new URL(facts.predict, location.href);
  for (const [name, value] of Object.entries(options)) url.searchParams.set(name, value);
  return url.href;
}

const extras = () => (facts.intervals ? { interval: $("level").value } : {});

// --- one record -------------------------------------------------------------------------------------------------

let asking = new AbortController();
let typing = 0;
let speaking = 0;

function later() {
  clearTimeout(typing);
  $("answer").classList.add("waiting");
  typing = setTimeout(ask, TYPING);
}

async function ask() {
  clearTimeout(typing);
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const { record, bad } = fields.record();
  writeCode(record);
  $("answer").classList.add("waiting");
  try {
    const answer = await predict(address({ ...extras(), explain: REASONS, warnings: true }), [record], signal);
    if (!signal.aborted) show(answer, bad);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Trouble)) throw error;
    const again = error.status === 0 || error.wait > 0;
    nothing(again ? `${error.message} Trying again…` : error.message);
    if (again) typing = setTimeout(ask, 1000 * (error.wait || 3));
  } finally {
    if (!signal.aborted) $("answer").classList.remove("waiting");
  }
}

function show(answer, bad) {
  const [prediction] = answer.predictions;
  const errors = Object.fromEntries(Object.entries(answer.errors?.[0] ?? {}).map(([name, said]) => [name, said.join(" ")]));
  for (const name of bad) errors[name] = fields.unreadable(name);
  const warnings = answer.warnings?.[0] ?? [];
  fields.say(errors, warnings);
  remarks(warnings);
  const wrong = Object.keys(errors);
  if (prediction === null || wrong.length) {
    const [name] = wrong;
    const text = name in errors && fields.controls.has(name) ? `${fields.shortLabel(name)}: ${errors[name]}` : errors[name];
    nothing(wrong.length > 1 ? `${counted(wrong.length, "field")} cannot be used. First: ${text}` : text, name);
    return;
  }
  $("trouble").hidden = true;
  $("prediction").textContent = money.full(prediction);
  $("prediction").classList.remove("none");
  const interval = answer.intervals?.[0] ?? null;
  $("range").hidden = !interval;
  const range = interval ? `${money.bare(interval[0])} to ${money.full(interval[1])}` : "";
  $("rangetext").textContent = range;
  $("barprediction").textContent = money.full(prediction);
  $("barrange").textContent = interval ? `${money.short(interval[0])} – ${money.short(interval[1])}` : "";
  if (place) mark($("spread").querySelector("svg"), place, prediction, interval);
  reasons(answer.explanations?.[0] ?? null, prediction);
  say(`${facts.title}: ${money.full(prediction)}.${interval ? ` ${$("level").selectedOptions[0].text} range ${range}.` : ""}`);
}

function say(text) {
  clearTimeout(speaking);
  speaking = setTimeout(() => ($("spoken").textContent = text), SPEAKING);
}

/** No prediction, and why; `name` is the field to mend. */
function nothing(text, name) {
  clearTimeout(speaking);
  $("prediction").textContent = "–";
  $("prediction").classList.add("none");
  $("barprediction").textContent = "–";
  $("barrange").textContent = name ? "a field is wrong" : "no answer";
  for (const id of ["range", "why"]) $(id).hidden = true;
  if (place) mark($("spread").querySelector("svg"), place, null, null);
  const trouble = $("trouble");
  trouble.hidden = false;
  if (trouble.firstChild?.textContent === text) return;
  trouble.replaceChildren(make("span", { textContent: text }));
  if (fields.controls.has(name)) {
    trouble.append(" ", make("button", { type: "button", className: "link", textContent: "Show it", onclick: () => fields.show(name) }));
  }
}

function reasons(explanation, prediction) {
  $("why").hidden = !explanation;
  if (!explanation) return;
  const { baseline, contributions, rest } = explanation;
  $("falls").hidden = !contributions.length;
  $("same").hidden = contributions.length > 0;
  let at = baseline.prediction;
  const name = baseline.name[0].toUpperCase() + baseline.name.slice(1);
  const steps = [{ label: name, from: at, to: at, amount: money.bare(at), kind: "total" }];
  const step = (label, detail, { amount, percent: share }) => {
    const kind = amount < 0 ? "down" : "up";
    steps.push({ label, detail, from: at, to: at + amount, amount: money.signed(amount), share: share === null ? "" : percent(share), kind });
    at += amount;
  };
  for (const each of contributions) step(fields.shortLabel(each.field), fields.text(each.field, each.value), each);
  if (rest.fields > 0 && rest.amount !== 0) step(`${counted(rest.fields, "other field")}`, "", rest);
  steps.push({ label: `This ${facts.noun}`, from: prediction, to: prediction, amount: money.bare(prediction), kind: "total" });
  waterfall($("falls"), steps);
}

function remarks(warnings) {
  const shown = warnings.filter((each) => each.code !== "imputed");
  const filled = warnings.length - shown.length;
  $("remarks").hidden = !warnings.length;
  const items = shown.map((each) => {
    const item = make("li");
    item.append(make("button", { type: "button", className: "link", textContent: fields.shortLabel(each.field), onclick: () => fields.show(each.field) }), make("span", { textContent: each.message }));
    return item;
  });
  if (filled) items.push(make("li", { className: "quiet", textContent: `${counted(filled, "field")} left empty, filled in with what is typical.` }));
  $("remarklist").replaceChildren(...items);
}

function writeCode(record) {
  const language = document.querySelector("input[name=language]:checked").value;
  $("code").textContent = snippets[language](address(extras()), record);
}

// --- the form ---------------------------------------------------------------------------------------------------

let adding = sums(fields, facts.together);

/** Keeps sums that held before: a whole is shared out among its parts, parts add up to their whole. */
function keepSums(name) {
  for (const [whole, parts] of adding) {
    if (name === whole && fields.number(whole) > 0) {
      shared(parts.map((part) => fields.number(part)), fields.number(whole)).forEach((value, index) => fields.set(parts[index], value));
    } else if (parts.includes(name)) {
      const values = parts.map((part) => fields.number(part));
      if (!values.includes(null)) fields.set(whole, Number(values.reduce((a, b) => a + b, 0).toFixed(6)));
    }
  }
}

function pressed(chip) {
  for (const each of document.querySelectorAll(".chip")) each.setAttribute("aria-pressed", String(each === chip));
}

async function start(chip) {
  pressed(chip);
  const kind = chip.dataset.start;
  let changes = facts.starts[kind] ?? {};
  if (kind === "required") {
    changes = Object.fromEntries([...fields.controls.values()].filter((each) => !each.required).map((each) => [each.name, null]));
  } else if (kind === "random") {
    try {
      changes = await sample(new URL(facts.sample, location.href).href, Math.floor(Math.random() * 2 ** 32));
    } catch (error) {
      nothing(error.message);
      return;
    }
  }
  fields.start({});
  adding = kind in facts.starts ? sums(fields, facts.together) : [];
  for (const [name, value] of Object.entries(changes)) {
    fields.set(name, value);
    keepSums(name);
  }
  adding = sums(fields, facts.together);
  ask();
}

$("form").addEventListener("submit", (event) => event.preventDefault());
$("form").addEventListener("input", (event) => {
  if (event.target.id === "find") return;
  pressed(null);
  keepSums(event.target.name);
  later();
});
document.querySelectorAll(".chip").forEach((chip) => chip.addEventListener("click", () => start(chip)));
$("level").addEventListener("change", ask);

$("find")?.addEventListener("input", () => {
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

// --- code -------------------------------------------------------------------------------------------------------

document.querySelectorAll("input[name=language]").forEach((each) => each.addEventListener("change", () => writeCode(fields.record().record)));
$("copy").addEventListener("click", async () => {
  let copied = true;
  try {
    await navigator.clipboard.writeText($("code").textContent);
  } catch {
    // No permission, or no https: then it is selected, to be copied by hand.
    getSelection().selectAllChildren($("code"));
    copied = false;
  }
  $("copy").textContent = copied ? "Copied" : "Selected";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
});

// --- many records -----------------------------------------------------------------------------------------------

let running = null;
let download = "";

function refuse(text) {
  $("filetrouble").hidden = false;
  $("filetrouble").textContent = text;
}

async function take(file) {
  running?.abort();
  const controller = (running = new AbortController());
  for (const id of ["filetrouble", "result", "run"]) $(id).hidden = true;
  $("many").scrollIntoView({ block: "start" });
  try {
    if (file.size > LARGEST_FILE) throw new NotCSV("The file is over 200 MB, more than a browser should hold. Send it to the API in parts.");
    const table = read(decode(await file.arrayBuffer()), fields.specs);
    const total = table.rows.length;
    if (!total) throw new NotCSV("The file has a header and no rows.");
    const began = performance.now();
    const tell = (done) => {
      if (running !== controller) return;
      $("progress").value = done / total;
      $("runtext").textContent = `${file.name}: ${done.toLocaleString()} of ${counted(total, "row")}`;
    };
    $("run").hidden = false;
    tell(0);
    const options = { ...extras(), warnings: true };
    const { results, commas } = await answered(table, fields.specs, address(options), facts.batch, controller.signal, tell);
    if (running !== controller) return;
    $("run").hidden = true;
    summary(file, table, results, commas, (performance.now() - began) / 1000);
  } catch (error) {
    if (running !== controller) return;
    $("run").hidden = true;
    refuse(error instanceof NotCSV ? `${file.name}: ${error.message}` : `${file.name} could not be read: ${error.message}`);
  }
}

function summary(file, table, results, commas, seconds) {
  const predictions = results.map((row) => row.prediction).filter((value) => value !== null);
  const failed = results.filter((row) => row.error);
  const sorted = Float64Array.from(predictions).sort();
  const tiles = [
    ["Rows", results.length.toLocaleString(), seconds < 0.1 ? "at once" : `in ${seconds.toFixed(1)} s`],
    ["Predicted", predictions.length.toLocaleString(), ""],
    ["Not predicted", failed.length.toLocaleString(), failed.length ? "given back with the reason" : ""],
    ["With warnings", results.filter((row) => row.warnings).length.toLocaleString(), ""],
  ];
  if (sorted.length) tiles.push(["Median", money.full(sorted[sorted.length >> 1]), ""]);
  $("tiles").replaceChildren(
    ...tiles.map(([name, value, text]) => {
      const tile = make("div");
      tile.append(make("dt", { textContent: name }), make("dd", { textContent: value }), make("dd", { className: "quiet", textContent: text }));
      return tile;
    }),
  );
  const figure = $("manychart").closest("figure");
  figure.hidden = !predictions.length;
  if (predictions.length) {
    const drawn = histogram($("manychart"), predictions, facts.scale);
    writeAxis($("manyaxis"), drawn.edges, drawn.scale, money.short);
    $("manychart").setAttribute("aria-label", `${counted(predictions.length, "prediction")} from ${money.full(sorted[0])} to ${money.full(sorted.at(-1))}`);
  }
  $("failed").hidden = !failed.length;
  const more = failed.length > MAX_SHOWN ? `; the first ${MAX_SHOWN} are here, all in the file` : "";
  const hint = commas ? `. ${counted(commas, "row")} with numbers written like 12,5: write 12.5` : "";
  $("failedhead").textContent = `${counted(failed.length, "row")} without a prediction${more}${hint}`;
  $("failedrows").replaceChildren(
    ...failed.slice(0, MAX_SHOWN).map((row) => {
      const entry = make("tr");
      entry.append(make("th", { scope: "row", textContent: `line ${row.line}` }), make("td", { textContent: row.error }));
      return entry;
    }),
  );
  URL.revokeObjectURL(download);
  download = URL.createObjectURL(fileOf(table, results, facts));
  const names = added(table.columns, ["prediction", ...(facts.intervals ? ["low", "high"] : []), "error", "warnings"]);
  $("download").href = download;
  $("download").download = `${file.name.replace(/\.[^.]*$/, "")}-predicted.csv`;
  $("download").textContent = `Download the file with ${names.join(", ")}`;
  $("result").hidden = false;
}

$("file").addEventListener("change", () => {
  const [chosen] = $("file").files;
  $("file").value = "";
  if (chosen) take(chosen);
});
$("cancel").addEventListener("click", () => running?.abort());
$("template").addEventListener("click", () => {
  const names = [...fields.controls.keys()];
  const table = { delimiter: ",", lineEnd: "\n" };
  const { record } = fields.record();
  const text = csvLine(names, table) + csvLine(names.map((name) => record[name] ?? ""), table);
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: url, download: `${facts.name}-template.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0;
const dragging = (change) => {
  depth = change === null ? 0 : depth + change;
  $("dropping").hidden = depth <= 0;
};
addEventListener("dragenter", (event) => hasFiles(event) && dragging(1));
addEventListener("dragleave", (event) => hasFiles(event) && dragging(-1));
addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  dragging(null);
  const [dropped] = event.dataTransfer.files;
  if (dropped) take(dropped);
});

// --- and off ----------------------------------------------------------------------------------------------------

if (facts.edges) writeAxis($("axis"), facts.edges, facts.scale, money.short);
// On a phone the bar says what is further down, while the form is filled.
new IntersectionObserver(([seen]) => ($("bar").hidden = seen.isIntersecting), { rootMargin: "1000000px 0px 0px" }).observe($("prediction"));
// A browser may bring back what was typed before a reload.
for (const control of fields.controls.values()) if (fields.isChanged(control)) pressed(null);
ask();
