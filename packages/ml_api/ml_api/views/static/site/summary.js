// Sums up a table by column: what is unusual in its rows, and how its header differs from the fields of the model.

import { value } from "./csv.js";
import { counted } from "./numbers.js";

// As model_kit.records.column_summary has them.
const NEARLY_ALL = 0.9;
const MIN_ROWS = 20;
const DEVIATIONS = 4;
const SPARE_ROWS = 3;
const SPARE_SHARE = 0.01;

const UNUSUAL = { unseen_level: "a level never seen in training", out_of_range: "a value outside the training range" };
const CASE_ONLY = /in case only$/;
const SIMILAR = 0.7;

/** Returns whether so many missing values are more than a share of `share` in training explains. */
function isExcess(missing, rows, share) {
  const expected = share * rows;
  const margin = Math.max(DEVIATIONS * Math.sqrt(expected * (1 - share)) + SPARE_ROWS, SPARE_SHARE * rows);
  return rows >= MIN_ROWS && missing > expected + margin;
}

/** Describes the unusual columns of the rows that were predicted: `{text, loud}`, those with most such rows first. */
export function unusualColumns(table, fields, results) {
  const rows = results.filter((row) => !row.error);
  const tallies = new Map(fields.map((field) => [field.name, new Map()]));
  for (const { field, code, message } of rows.flatMap((row) => row.details)) {
    if (!(code in UNUSUAL)) continue;
    const tally = tallies.get(field);
    const known = tally.get(code) ?? { count: 0, message };
    if (CASE_ONLY.test(message) && !CASE_ONLY.test(known.message)) known.message = message;
    known.count += 1;
    tally.set(code, known);
  }
  const found = [];
  const of = (count) => `${count.toLocaleString()} of ${counted(rows.length, "row")} have`;
  for (const field of fields) {
    const column = table.columns.indexOf(field.name);
    if (column < 0) continue;
    const parts = [...tallies.get(field.name)].map(([code, { count, message }]) => [count, `${of(count)} ${UNUSUAL[code]}: ${message}`]);
    const missing = rows.filter((row) => value(field, row.cells[column]) === null).length;
    if (isExcess(missing, rows.length, field.missing)) {
      parts.push([missing, `${of(missing)} no value; in training ${(100 * field.missing).toFixed(1)}%`]);
    }
    const count = parts.reduce((sum, [each]) => sum + each, 0);
    if (count) {
      const text = `${field.name}: ${parts.map(([, each]) => each).join("; ")}`;
      found.push({ text, count, loud: rows.length > 1 && count >= NEARLY_ALL * rows.length });
    }
  }
  return found.sort((one, other) => other.count - one.count);
}

const plain = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");

function pairs(text) {
  return new Set(Array.from({ length: Math.max(0, text.length - 1) }, (_, index) => text.slice(index, index + 2)));
}

/** How similar two names are, 0 to 1: the share of pairs of letters that both have (Dice). */
function similarity(one, other) {
  const [left, right] = [plain(one), plain(other)];
  if (left === right) return 1;
  const [first, second] = [pairs(left), pairs(right)];
  return (2 * [...first].filter((pair) => second.has(pair)).length) / (first.size + second.size || 1);
}

/** Returns the columns that are used, those that are not, and the fields that the file lacks. */
export function columnUse(columns, fields) {
  const names = new Set(fields.map((field) => field.name));
  return {
    used: columns.filter((column) => names.has(column)),
    unused: columns.filter((column) => column && !names.has(column)),
    absent: [...names].filter((name) => !columns.includes(name)),
  };
}

/** Describes columns that are not used though an absent field has nearly their name. */
export function similarNames(unused, absent) {
  return unused.flatMap((column) => {
    const near = absent.filter((name) => similarity(column, name) >= SIMILAR).sort((a, b) => similarity(column, b) - similarity(column, a));
    return near.length ? [`Column ${column} is not used; did you mean the field ${near[0]}?`] : [];
  });
}
