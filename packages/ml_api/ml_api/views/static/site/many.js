// A file of records: predicted in batches, shown as a table, given back with its predictions.

import { additionalColumns, file as fileOf, predictTable } from "./batch.js";
import { histogram, writeAxis } from "./chart.js";
import { NotCSV, decode, line as csvLine, read, value } from "./csv.js";
import { $, make } from "./dom.js";
import { counted } from "./numbers.js";
import { columnUse, similarNames, unusualColumns } from "./summary.js";
import { faultInWords, warningInWords } from "./words.js";

const LARGEST_FILE = 200e6;
const MOST_ROWS = 100;
const MOST_NAMES = 10;

let page; // what the form gives: `facts`, `fields`, `amount`, `url()`, `open(record)`
let running = null;
let download = "";
let shown = null; // the file's table, its results, and their order

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
    const specs = page.fields.specs;
    const table = read(decode(await file.arrayBuffer()), specs);
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
    const { results, commas } = await predictTable(table, specs, page.url(), page.facts.batch, controller.signal, report);
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
  const { facts, fields, amount } = page;
  const predictions = results.map((row) => row.prediction).filter((each) => each !== null);
  const failed = results.filter((row) => row.error && !row.isCancelled).length;
  const cancelled = results.filter((row) => row.isCancelled).length;
  const sorted = facts.classes ? [] : Float64Array.from(predictions).sort();
  const tiles = [
    ["Rows", results.length.toLocaleString(), seconds < 0.1 ? "at once" : `in ${seconds.toFixed(1)} s`],
    ["Predicted", predictions.length.toLocaleString(), ""],
    ["Not predicted", failed.toLocaleString(), failed ? "given back with the reason" : ""],
    ...(cancelled ? [["Not reached", cancelled.toLocaleString(), "cancelled before"]] : []),
    ["With warnings", results.filter((row) => row.warnings).length.toLocaleString(), ""],
  ];
  for (const name of facts.classes ?? []) tiles.push([name, predictions.filter((each) => String(each) === name).length.toLocaleString(), "predicted"]);
  if (sorted.length) tiles.push(["Median", amount.full(sorted[sorted.length >> 1]), ""]);
  $("tiles").replaceChildren(
    ...tiles.map(([name, text, note]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: text }), make("dd", { className: "quiet", textContent: note }))),
  );
  const figure = $("manychart").closest("figure");
  figure.hidden = !sorted.length;
  if (sorted.length) {
    const drawn = histogram($("manychart"), predictions, facts.scale);
    writeAxis($("manyaxis"), drawn.edges, drawn.scale, amount.short);
    $("manycaption").textContent = `${facts.title} of each row${drawn.scale === "log" ? ", on a logarithmic axis" : ""}`;
    $("manychart").setAttribute("aria-label", `${counted(predictions.length, "prediction")} from ${amount.full(sorted[0])} to ${amount.full(sorted.at(-1))}`);
  }
  showColumns(table, results);
  const hints = [];
  if (commas.decimal) hints.push(`${counted(commas.decimal, "row has", "rows have")} numbers with a decimal comma, like 12,5: write 12.5.`);
  else if (commas.thousands) hints.push(`${counted(commas.thousands, "row has", "rows have")} numbers with a comma between thousands, like 1,500: write 1500.`);
  $("commas").hidden = !hints.length;
  $("commas").textContent = hints.join(" ");
  shown = { table, results, column: null, isDescending: false };
  $("failedfirst").checked = failed > 0;
  $("failedfirst").closest("label").hidden = !failed;
  showTable();
  URL.revokeObjectURL(download);
  const intervals = facts.intervals && !facts.classes;
  const stored = facts.classes ? String : amount.stored;
  download = URL.createObjectURL(fileOf(table, results, { intervals, stored }));
  const names = additionalColumns(table.columns, ["prediction", ...(intervals ? ["low", "high"] : []), "error", "warnings"]);
  $("download").href = download;
  $("download").download = `${file.name.replace(/\.[^.]*$/, "")}-predicted.csv`;
  $("download").textContent = `Download the file with ${names.join(", ")}`;
  $("result").hidden = false;
}

/** Shows which columns are used, which are not, which fields are absent, and what is unusual in them. */
function showColumns(table, results) {
  const { fields } = page;
  const { used, unused, absent } = columnUse(table.columns, fields.specs);
  const entry = (title, names, text) => {
    const [first, rest] = [names.slice(0, MOST_NAMES), names.slice(MOST_NAMES)];
    const told = make("dd", {}, first.join(", "));
    if (rest.length) told.append(make("details", {}, make("summary", { textContent: `and ${rest.length} more` }), rest.join(", ")));
    if (names.length && text) told.append(make("span", { className: "quiet", textContent: text }));
    return make("div", {}, make("dt", {}, make("strong", { textContent: String(names.length) }), ` ${title}`), told);
  };
  $("columnuse").replaceChildren(
    entry(used.length === 1 ? "column is used" : "columns are used", used, ""),
    entry(unused.length === 1 ? "column is not used" : "columns are not used", unused, "They stay in the file and count for nothing."),
    entry(absent.length === 1 ? "field is absent" : "fields are absent", absent, "They are filled in with what is typical."),
  );
  const remarks = similarNames(unused, absent).map((text) => ({ text, loud: false }));
  remarks.push(...unusualColumns(table, fields.specs, results));
  $("columns").hidden = !remarks.length;
  $("columnlines").replaceChildren(...remarks.map(({ text, loud }) => make("li", { textContent: text, className: loud ? "loud" : "" })));
}

/** What is said of a row in the table. */
function remark(row) {
  if (row.isCancelled) return "Not reached";
  if (!row.error) return row.details.filter((each) => each.code !== "imputed").map((each) => `${page.fields.shortLabel(each.field)}: ${warningInWords(each)}`).join(" ");
  if (!row.errors) return row.error;
  return Object.entries(row.errors)
    .map(([name, messages]) => (page.fields.controls.has(name) ? `${page.fields.shortLabel(name)}: ` : "") + faultInWords(messages))
    .join(" ");
}

/** The columns of the table: title, text of a cell, and what it is sorted by. */
function tableColumns() {
  const { facts, amount, fields } = page;
  const { table, results } = shown;
  const write = (each) => (each === null ? "–" : facts.classes ? String(each) : amount.cell(each));
  const columns = [{ title: facts.title, className: "num strong", text: (row) => write(row.prediction), key: (row) => row.prediction }];
  columns.push({ title: "Remarks", className: "remark", text: remark, key: (row) => remark(row) || null });
  if (results.some((row) => row.interval)) {
    columns.push({ title: "Range", className: "num", text: (row) => (row.interval ? row.interval.map(write).join(" to ") : "–"), key: (row) => (row.interval ? row.interval[1] - row.interval[0] : null) });
  }
  const { used, unused } = columnUse(table.columns, fields.specs);
  const specs = new Map(fields.specs.map((field) => [field.name, field]));
  for (const name of [...used, ...unused]) {
    const [index, field] = [table.columns.indexOf(name), specs.get(name)];
    const isNumeric = field && ["integer", "number"].includes(field.kind);
    const keyOf = (cell) => {
      const found = field && cell !== undefined ? value(field, cell) : cell || null;
      return isNumeric && typeof found !== "number" ? null : found;
    };
    columns.push({
      title: name,
      className: `${isNumeric ? "num" : ""}${field ? "" : " unused"}`,
      text: (row) => row.cells[index] ?? "",
      key: (row) => keyOf(row.cells[index]),
    });
  }
  return columns;
}

/** Compares two keys: numbers by size, other values as text; missing ones last. */
function compare(one, other) {
  if (one === null || other === null) return (one === null) - (other === null);
  if (typeof one === "number" && typeof other === "number") return one - other;
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return String(one).localeCompare(String(other));
}

function showTable() {
  const { results, column, isDescending } = shown;
  const columns = tableColumns();
  const order = results.map((row, index) => [row, index, column === null ? null : columns[column].key(row)]);
  const isFailed = (row) => Boolean(row.error) && !row.isCancelled;
  const failedFirst = $("failedfirst").checked;
  order.sort(([one, at, key], [other, otherAt, otherKey]) => {
    if (failedFirst && isFailed(one) !== isFailed(other)) return isFailed(one) ? -1 : 1;
    const found = compare(key, otherKey);
    // What is missing stays last, in either direction.
    return (isDescending && key !== null && otherKey !== null ? -found : found) || at - otherAt;
  });
  const sorter = (title, index) => {
    const isCurrent = index === column;
    const button = make("button", { type: "button", className: "sort", textContent: title });
    button.addEventListener("click", () => {
      // A third click returns to the order of the file.
      if (!isCurrent) Object.assign(shown, { column: index, isDescending: false });
      else if (!isDescending && index !== null) shown.isDescending = true;
      else Object.assign(shown, { column: null, isDescending: false });
      showTable();
      $("tablehead").querySelectorAll("button")[index === null ? 0 : index + 1].focus();
    });
    const cell = make("th", { scope: "col", className: index === null ? "" : columns[index].className }, button);
    if (isCurrent) cell.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
    return cell;
  };
  $("tablehead").replaceChildren(make("tr", {}, sorter("Line", null), ...columns.map((each, index) => sorter(each.title, index))));
  $("tablerows").replaceChildren(
    ...order.slice(0, MOST_ROWS).map(([row]) => {
      const open = make("button", { type: "button", className: "link", textContent: String(row.line), title: "Open this row in the form", onclick: () => openRow(row) });
      open.setAttribute("aria-label", `Open line ${row.line} in the form`);
      const cells = columns.map((each) => make("td", { className: each.className, textContent: each.text(row) }));
      return make("tr", { className: row.isCancelled ? "cancelled" : row.error ? "failed" : "" }, make("th", { scope: "row" }, open), ...cells);
    }),
  );
  const count = Math.min(MOST_ROWS, results.length);
  $("tablecount").textContent = count < results.length ? `${count} of ${counted(results.length, "row")}; all are in the file` : counted(count, "row");
}

function openRow(row) {
  const { columns } = shown.table;
  const record = Object.create(null);
  for (const field of page.fields.specs) {
    const cell = row.cells[columns.indexOf(field.name)];
    if (cell !== undefined) record[field.name] = value(field, cell);
  }
  page.open(record);
}

/** Takes files that are chosen or dropped. */
export function takeFiles(given) {
  page = given;
  $("failedfirst").addEventListener("change", showTable);
  $("file").addEventListener("change", () => {
    const [chosen] = $("file").files;
    $("file").value = "";
    if (chosen) predictFile(chosen);
  });
  $("cancel").addEventListener("click", () => running?.abort());
  $("template").addEventListener("click", () => {
    const names = [...page.fields.controls.keys()];
    const table = { delimiter: ",", lineEnd: "\n" };
    const { record } = page.fields.record();
    const text = csvLine(names, table) + csvLine(names.map((name) => record[name] ?? ""), table);
    const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    make("a", { href: url, download: `${page.facts.name}-template.csv` }).click();
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
}
