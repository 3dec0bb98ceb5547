// The page of one model: connects the form, the result and the file to the API.

import { RequestError, predict, sample } from "./api.js";
import { additionalColumns, file as fileOf, predictTable } from "./batch.js";
import { bars, marked, probability } from "./classes.js";
import { axis, histogram, mark, waterfall, writeAxis } from "./chart.js";
import { NotCSV, decode, line as csvLine, read } from "./csv.js";
import { Fields, distribute, sums } from "./fields.js";
import { counted, percent, writer } from "./numbers.js";
import { snippets } from "./snippets.js";
import { headerRemarks, unusualColumns } from "./summary.js";

const TYPING_DELAY = 180; // ms without a key before the API is called
const ANNOUNCEMENT_DELAY = 900; // ms without a new prediction before screen readers announce it
const CONTRIBUTIONS = 6;
const MAX_SHOWN = 100;
const LARGEST_FILE = 200e6;

const $ = (id) => document.getElementById(id);
const make = (tag, attributes) => Object.assign(document.createElement(tag), attributes);
const facts = JSON.parse($("data").textContent);
const amount = facts.classes ? probability : writer(facts.unit, facts.edges ? facts.edges.at(-1) - facts.edges[0] : 0);
const fields = new Fields($("form"));
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
  writeCode(record);
  $("answer").classList.add("waiting");
  try {
    const answer = await predict(address({ ...extras(), explain: CONTRIBUTIONS, warnings: true }), [record], signal);
    if (!signal.aborted) show(answer, bad);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof RequestError)) throw error;
    const temporary = error.status === 0 || error.wait > 0;
    showFailure(temporary ? `${error.message} Trying again…` : error.message);
    if (temporary) typingTimer = setTimeout(update, 1000 * (error.wait || 3));
  } finally {
    if (!signal.aborted) $("answer").classList.remove("waiting");
  }
}

function show(answer, bad) {
  const [prediction] = answer.predictions;
  const errors = Object.fromEntries(Object.entries(answer.errors?.[0] ?? {}).map(([name, said]) => [name, said.join(" ")]));
  for (const name of bad) errors[name] = fields.unreadable(name);
  const warnings = answer.warnings?.[0] ?? [];
  fields.showMessages(errors, warnings);
  showWarnings(warnings);
  const wrong = Object.keys(errors);
  if (prediction === null || wrong.length) {
    const [name] = wrong;
    const text = name in errors && fields.controls.has(name) ? `${fields.shortLabel(name)}: ${errors[name]}` : errors[name];
    showFailure(wrong.length > 1 ? `${counted(wrong.length, "field")} cannot be used. First: ${text}` : text, name);
    return;
  }
  $("trouble").hidden = true;
  if (facts.classes) {
    showClass(answer, prediction);
    return;
  }
  $("prediction").textContent = amount.full(prediction);
  $("prediction").classList.remove("none");
  const interval = answer.intervals?.[0] ?? null;
  $("range").hidden = !interval;
  const range = interval ? `${amount.bare(interval[0])} to ${amount.full(interval[1])}` : "";
  $("rangetext").textContent = range;
  $("barprediction").textContent = amount.full(prediction);
  $("barrange").textContent = interval ? `${amount.short(interval[0])} – ${amount.short(interval[1])}` : "";
  if (position) mark($("spread").querySelector("svg"), position, prediction, interval);
  showExplanation(answer.explanations?.[0] ?? null, prediction);
  announce(`${facts.title}: ${amount.full(prediction)}.${interval ? ` ${$("level").selectedOptions[0].text} range ${range}.` : ""}`);
}

/** Shows a predicted class: its name, a bar for each class, the set of plausible ones, the reasons. */
function showClass(answer, prediction) {
  const [found, chosen] = [answer.probabilities[0], String(prediction)];
  const set = answer.intervals?.[0]?.map(String).join(" or ") ?? "";
  $("prediction").textContent = chosen;
  $("prediction").classList.remove("none");
  $("range").hidden = !set;
  $("rangetext").textContent = set;
  $("barprediction").textContent = chosen;
  $("barrange").textContent = amount.full(found[chosen]);
  $("classes").hidden = false;
  bars($("classes"), found, chosen);
  showExplanation(answer.explanations?.[0] ?? null, found[chosen]);
  announce(`${facts.title}: ${chosen}, ${amount.full(found[chosen])}.`);
}

function announce(text) {
  clearTimeout(announcementTimer);
  announcementTimer = setTimeout(() => ($("spoken").textContent = text), ANNOUNCEMENT_DELAY);
}

/** Shows why there is no prediction; `name` is the invalid field. */
function showFailure(text, name) {
  clearTimeout(announcementTimer);
  $("prediction").textContent = "–";
  $("prediction").classList.add("none");
  $("barprediction").textContent = "–";
  $("barrange").textContent = name ? "a field is wrong" : "no answer";
  for (const id of ["range", "why", "classes"]) if ($(id)) $(id).hidden = true;
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
  const name = baseline.name[0].toUpperCase() + baseline.name.slice(1);
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

function showWarnings(warnings) {
  const shown = warnings.filter((each) => each.code !== "imputed");
  const filled = warnings.length - shown.length;
  $("warnings").hidden = !warnings.length;
  const items = shown.map((each) => {
    const item = make("li");
    item.append(make("button", { type: "button", className: "link", textContent: fields.shortLabel(each.field), onclick: () => fields.show(each.field) }), make("span", { textContent: each.message }));
    return item;
  });
  if (filled) items.push(make("li", { className: "quiet", textContent: `${counted(filled, "field")} left empty, filled in with what is typical.` }));
  $("warninglist").replaceChildren(...items);
}

function writeCode(record) {
  const language = document.querySelector("input[name=language]:checked").value;
  $("code").textContent = snippets[language](address(extras()), record);
}

// --- the form ---------------------------------------------------------------------------------------------------

let totals = sums(fields, facts.together);

/** Preserves totals: a changed whole is distributed among its parts, a changed part changes the whole. */
function keepSums(name) {
  for (const [whole, parts] of totals) {
    if (name === whole && fields.number(whole) > 0) {
      distribute(parts.map((part) => fields.number(part)), fields.number(whole)).forEach((value, index) => fields.set(parts[index], value));
    } else if (parts.includes(name)) {
      const values = parts.map((part) => fields.number(part));
      if (!values.includes(null)) fields.set(whole, Number(values.reduce((a, b) => a + b, 0).toFixed(6)));
    }
  }
}

function press(chip) {
  for (const each of document.querySelectorAll(".chip")) each.setAttribute("aria-pressed", String(each === chip));
}

async function startFrom(chip) {
  press(chip);
  const kind = chip.dataset.example;
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
  fields.reset({});
  totals = kind in facts.examples ? sums(fields, facts.together) : [];
  for (const [name, value] of Object.entries(changes)) {
    fields.set(name, value);
    keepSums(name);
  }
  totals = sums(fields, facts.together);
  update();
}

$("form").addEventListener("submit", (event) => event.preventDefault());
$("form").addEventListener("input", (event) => {
  if (event.target.id === "find") return;
  press(null);
  keepSums(event.target.name);
  updateLater();
});
document.querySelectorAll(".chip").forEach((chip) => chip.addEventListener("click", () => startFrom(chip)));
$("level").addEventListener("change", update);

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
    // Without permission or https the code is selected, to be copied by hand.
    getSelection().selectAllChildren($("code"));
    copied = false;
  }
  $("copy").textContent = copied ? "Copied" : "Selected";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
});

// --- batch ------------------------------------------------------------------------------------------------------

let running = null;
let download = "";

function showFileError(text) {
  $("filetrouble").hidden = false;
  $("filetrouble").textContent = text;
}

async function predictFile(file) {
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
    const report = (done) => {
      if (running !== controller) return;
      $("progress").value = done / total;
      $("runtext").textContent = `${file.name}: ${done.toLocaleString()} of ${counted(total, "row")}`;
    };
    $("run").hidden = false;
    report(0);
    const options = { ...(facts.classes ? {} : extras()), warnings: true };
    const { results, commas } = await predictTable(table, fields.specs, address(options), facts.batch, controller.signal, report);
    if (running !== controller) return;
    $("run").hidden = true;
    showSummary(file, table, results, commas, (performance.now() - began) / 1000);
  } catch (error) {
    if (running !== controller) return;
    $("run").hidden = true;
    showFileError(error instanceof NotCSV ? `${file.name}: ${error.message}` : `${file.name} could not be read: ${error.message}`);
  }
}

function showSummary(file, table, results, commas, seconds) {
  const predictions = results.map((row) => row.prediction).filter((value) => value !== null);
  const failed = results.filter((row) => row.error);
  const sorted = facts.classes ? [] : Float64Array.from(predictions).sort();
  const tiles = [
    ["Rows", results.length.toLocaleString(), seconds < 0.1 ? "at once" : `in ${seconds.toFixed(1)} s`],
    ["Predicted", predictions.length.toLocaleString(), ""],
    ["Not predicted", failed.length.toLocaleString(), failed.length ? "given back with the reason" : ""],
    ["With warnings", results.filter((row) => row.warnings).length.toLocaleString(), ""],
  ];
  for (const name of facts.classes ?? []) tiles.push([name, predictions.filter((value) => String(value) === name).length.toLocaleString(), "predicted"]);
  if (sorted.length) tiles.push(["Median", amount.full(sorted[sorted.length >> 1]), ""]);
  $("tiles").replaceChildren(
    ...tiles.map(([name, value, text]) => {
      const tile = make("div");
      tile.append(make("dt", { textContent: name }), make("dd", { textContent: value }), make("dd", { className: "quiet", textContent: text }));
      return tile;
    }),
  );
  const figure = $("manychart").closest("figure");
  figure.hidden = !sorted.length;
  if (sorted.length) {
    const drawn = histogram($("manychart"), predictions, facts.scale);
    writeAxis($("manyaxis"), drawn.edges, drawn.scale, amount.short);
    $("manychart").setAttribute("aria-label", `${counted(predictions.length, "prediction")} from ${amount.full(sorted[0])} to ${amount.full(sorted.at(-1))}`);
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
  const remarks = headerRemarks(table.columns, fields.specs).map((text) => ({ text, loud: false }));
  remarks.push(...unusualColumns(table, fields.specs, results));
  $("columns").hidden = !remarks.length;
  $("columnlines").replaceChildren(...remarks.map(({ text, loud }) => make("li", { textContent: text, className: loud ? "loud" : "" })));
  URL.revokeObjectURL(download);
  const ranged = facts.intervals && !facts.classes;
  download = URL.createObjectURL(fileOf(table, results, { intervals: ranged }));
  const names = additionalColumns(table.columns, ["prediction", ...(ranged ? ["low", "high"] : []), "error", "warnings"]);
  $("download").href = download;
  $("download").download = `${file.name.replace(/\.[^.]*$/, "")}-predicted.csv`;
  $("download").textContent = `Download the file with ${names.join(", ")}`;
  $("result").hidden = false;
}

$("file").addEventListener("change", () => {
  const [chosen] = $("file").files;
  $("file").value = "";
  if (chosen) predictFile(chosen);
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
  if (dropped) predictFile(dropped);
});

// --- start ------------------------------------------------------------------------------------------------------

if (facts.edges) writeAxis($("axis"), facts.edges, facts.scale, amount.short);
// On a phone the bar shows the prediction until the result is visible.
new IntersectionObserver(([seen]) => ($("bar").hidden = seen.isIntersecting), { rootMargin: "1000000px 0px 0px" }).observe($("prediction"));
// A browser may restore the values that were typed before a reload.
for (const control of fields.controls.values()) if (fields.isChanged(control)) press(null);
update();
