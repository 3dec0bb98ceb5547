// A CSV file, answered in batches and given back with its columns kept and others added. No row is lost, order is kept.

import { predict } from "./api.js";
import * as csv from "./csv.js";

const RETRIES = 5;
const LONGEST_WAIT = 30;
const WHOLE_ROW = "_schema";

const pause = (seconds, signal) =>
  new Promise((done, failed) => {
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), failed(new DOMException("", "AbortError"))));
  });

const inWords = (errors) =>
  Object.entries(errors)
    .map(([field, messages]) => (field === WHOLE_ROW ? "" : `${field}: `) + messages.join(" "))
    .join("; ");

/** Answers of a batch, `{prediction, interval, error, warnings}` a row; a batch that is too large is halved. */
async function answers(url, records, signal) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const body = await predict(url, records, signal);
      return body.predictions.map((prediction, index) => ({
        prediction,
        interval: body.intervals?.[index] ?? null,
        error: body.errors?.[index] ? inWords(body.errors[index]) : "",
        warnings: (body.warnings?.[index] ?? []).map((each) => each.message).join(" "),
      }));
    } catch (trouble) {
      if (signal.aborted) throw trouble;
      if (trouble.status === 413 && records.length > 1) {
        const half = records.length >> 1;
        return [...(await answers(url, records.slice(0, half), signal)), ...(await answers(url, records.slice(half), signal))];
      }
      const passing = trouble.status === 0 || trouble.status === 429 || trouble.status === 503;
      if (!passing || attempt === RETRIES) {
        return records.map(() => ({ prediction: null, interval: null, error: trouble.message, warnings: "" }));
      }
      await pause(Math.min(LONGEST_WAIT, trouble.wait || 2 ** attempt), signal);
    }
  }
}

function fault(cells, width) {
  return `${cells.length === 1 ? "1 cell" : `${cells.length} cells`} where the header has ${width}`;
}

/** Asks about every row of `table`; `tell(done)` is called after each batch. Rows not reached say why. */
export async function answered(table, fields, url, size, signal, tell) {
  const position = new Map(table.columns.map((column, index) => [column, index]));
  const known = fields.filter((field) => position.has(field.name));
  const results = table.rows.map(({ cells, line }) => ({ cells, line, prediction: null, interval: null, warnings: "", error: "" }));
  const good = [];
  let commas = 0;
  for (const row of results) {
    if (row.cells.length === table.columns.length) {
      commas += known.some((field) => csv.hasDecimalComma(field, row.cells[position.get(field.name)])) ? 1 : 0;
      good.push(row);
    } else row.error = fault(row.cells, table.columns.length);
  }
  const record = (row) => Object.fromEntries(known.map((field) => [field.name, csv.value(field, row.cells[position.get(field.name)])]));
  let done = results.length - good.length;
  for (let start = 0; start < good.length; start += size) {
    const rows = good.slice(start, start + size);
    let found;
    try {
      if (!signal.aborted) found = await answers(url, rows.map(record), signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    rows.forEach((row, index) => Object.assign(row, found?.[index] ?? { error: "Cancelled before this row was reached." }));
    done += rows.length;
    tell(done);
  }
  return { results, commas };
}

/** Names for the added columns that the file does not have yet. */
export function added(columns, names) {
  return names.map((name) => {
    let free = name;
    for (let count = 2; columns.includes(free); count += 1) free = `${name}_${count}`;
    return free;
  });
}

/** The file again: its columns and those that were added; as a Blob, as it may be large. */
export function file(table, results, { intervals }) {
  const names = ["prediction", ...(intervals ? ["low", "high"] : []), "error", "warnings"];
  const width = table.columns.length;
  const parts = [table.bom ? "\ufeff" : "", csv.line([...table.columns, ...added(table.columns, names)], table)];
  for (const row of results) {
    const cells = [...row.cells.slice(0, width), ...new Array(Math.max(0, width - row.cells.length)).fill("")];
    const beyond = row.cells.slice(width);
    const error = row.error + (beyond.some(Boolean) ? `; beyond them: ${csv.line(beyond, table).trimEnd()}` : "");
    const range = intervals ? (row.interval ?? ["", ""]) : [];
    parts.push(csv.line([...cells, row.prediction ?? "", ...range, error, row.warnings], table));
  }
  return new Blob(parts, { type: "text/csv;charset=utf-8" });
}
