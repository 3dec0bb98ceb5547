// Predicts a CSV file in batches; the result has all rows in order, with the columns of the file and additional ones.

import { predict } from "./api.js";
import * as csv from "./csv.js";

const RETRIES = 5;
const LONGEST_WAIT = 30;
const WHOLE_ROW = "_schema";
const CANCELLED = "Cancelled before this row was reached.";

const pause = (seconds, signal) =>
  new Promise((done, failed) => {
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), failed(new DOMException("", "AbortError"))));
  });

const describeErrors = (errors) =>
  Object.entries(errors)
    .map(([field, messages]) => (field === WHOLE_ROW ? "" : `${field}: `) + messages.join(" "))
    .join("; ");

const unreached = (error) => ({ prediction: null, interval: null, error, errors: null, warnings: "", details: [] });

/** Predicts a batch: `{prediction, interval, error, errors, warnings, details}` per row; splits one that is too large. */
async function predictBatch(url, records, signal) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const body = await predict(url, records, signal);
      return body.predictions.map((prediction, index) => ({
        prediction,
        interval: body.intervals?.[index] ?? null,
        error: body.errors?.[index] ? describeErrors(body.errors[index]) : "",
        errors: body.errors?.[index] ?? null,
        warnings: (body.warnings?.[index] ?? []).map((each) => each.message).join("; "),
        details: body.warnings?.[index] ?? [],
      }));
    } catch (failure) {
      if (signal.aborted) throw failure;
      if (failure.status === 413 && records.length > 1) {
        const half = records.length >> 1;
        return [...(await predictBatch(url, records.slice(0, half), signal)), ...(await predictBatch(url, records.slice(half), signal))];
      }
      const temporary = failure.status === 0 || failure.status === 429 || failure.status === 503;
      if (!temporary || attempt === RETRIES) {
        return records.map(() => unreached(failure.message));
      }
      await pause(Math.min(LONGEST_WAIT, failure.wait || 2 ** attempt), signal);
    }
  }
}

function widthError(cells, width) {
  return `${cells.length === 1 ? "1 cell" : `${cells.length} cells`} where the header has ${width}`;
}

/**
 * Predicts every row of `table`; calls `report(done)` after each batch. Rows that were not reached are `isCancelled`.
 * Returns the `results` and the rows with numbers that have a comma: `commas` of each kind.
 */
export async function predictTable(table, fields, url, size, signal, report) {
  const position = new Map(table.columns.map((column, index) => [column, index]));
  const known = fields.filter((field) => position.has(field.name));
  const results = table.rows.map(({ cells, line }) => ({ cells, line, isCancelled: false, ...unreached("") }));
  const good = [];
  const commas = { decimal: 0, thousands: 0 };
  for (const row of results) {
    if (row.cells.length === table.columns.length) {
      const found = new Set(known.map((field) => csv.commaIn(field, row.cells[position.get(field.name)])));
      for (const kind of Object.keys(commas)) commas[kind] += found.has(kind) ? 1 : 0;
      good.push(row);
    } else row.error = widthError(row.cells, table.columns.length);
  }
  const record = (row) => Object.fromEntries(known.map((field) => [field.name, csv.value(field, row.cells[position.get(field.name)])]));
  let done = results.length - good.length;
  for (let start = 0; start < good.length; start += size) {
    const rows = good.slice(start, start + size);
    let found;
    try {
      if (!signal.aborted) found = await predictBatch(url, rows.map(record), signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    rows.forEach((row, index) => Object.assign(row, found?.[index] ?? { error: CANCELLED, isCancelled: true }));
    done += rows.length;
    report(done);
  }
  return { results, commas };
}

/** Returns names of the additional columns that the file does not have yet. */
export function additionalColumns(columns, names) {
  return names.map((name) => {
    let free = name;
    for (let count = 2; columns.includes(free); count += 1) free = `${name}_${count}`;
    return free;
  });
}

/** Returns the file with the additional columns, as a Blob because it may be large; `stored` writes a prediction. */
export function file(table, results, { intervals, stored }) {
  const names = ["prediction", ...(intervals ? ["low", "high"] : []), "error", "warnings"];
  const width = table.columns.length;
  const parts = [table.bom ? "\ufeff" : "", csv.line([...table.columns, ...additionalColumns(table.columns, names)], table)];
  for (const row of results) {
    const cells = [...row.cells.slice(0, width), ...new Array(Math.max(0, width - row.cells.length)).fill("")];
    const surplus = row.cells.slice(width);
    const error = row.error + (surplus.some(Boolean) ? `; beyond them: ${csv.line(surplus, table).trimEnd()}` : "");
    const range = intervals ? (row.interval?.map(stored) ?? ["", ""]) : [];
    parts.push(csv.line([...cells, row.prediction === null ? "" : stored(row.prediction), ...range, error, row.warnings], table));
  }
  return new Blob(parts, { type: "text/csv;charset=utf-8" });
}
