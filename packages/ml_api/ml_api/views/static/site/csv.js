// Reads and writes CSV files: RFC 4180, byte-order mark, any line ending, semicolons or tabs, a first line "sep=;".
// Cells are converted to values by the same rules as on the command line.

const DELIMITERS = [",", ";", "\t"];
const INTEGER = /^[+-]?\d{1,18}$/;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const BOOLEANS = new Map(Object.entries({ true: true, yes: true, 1: true, false: false, no: false, 0: false }));
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const LONG_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december";
// What a format of Python's strptime may have, as strptime reads it.
const DIRECTIVES = {
  "%Y": "(?<Y>\\d{4})",
  "%y": "(?<y>\\d{2})",
  "%m": "(?<m>1[0-2]|0?[1-9])",
  "%b": `(?<b>${MONTHS.join("|")})`,
  "%B": `(?<B>${LONG_MONTHS})`,
  "%d": "(?<d>3[01]|[12]\\d|0?[1-9])",
  "%a": "(?:mon|tue|wed|thu|fri|sat|sun)",
  "%A": "(?:mon|tues|wednes|thurs|fri|satur|sun)day",
  "%H": "(?<H>2[0-3]|[01]?\\d)",
  "%I": "(?<I>1[0-2]|0?[1-9])",
  "%M": "(?<M>[0-5]?\\d)",
  "%S": "(?<S>[0-5]?\\d)",
  "%f": "(?<f>\\d{1,6})",
  "%p": "(?<p>am|pm)",
  "%z": "(?<z>Z|[+-]\\d\\d:?[0-5]\\d)",
  "%%": "%",
};
const THOUSANDS_COMMA = /^\s*[+-]?\d{1,3}(,\d{3})+(\.\d*)?\s*$/;
const DECIMAL_COMMA = /^\s*[+-]?\d[\d.]*,\d+\s*$/;
// What Python's str.strip() takes off.
const STRIP = /^[\s\x1c-\x1f\x85]+|[\s\x1c-\x1f\x85]+$/g;
const MAGIC = [
  ["PK\x03\x04", "a workbook (.xlsx) or zip archive, not CSV text; export the sheet as CSV UTF-8"],
  ["\x1f\x8b", "compressed by gzip, not CSV text; unpack it first"],
  ["PAR1", "a Parquet file, not CSV text"],
  ["\xd0\xcf\x11\xe0", "a workbook (.xls), not CSV text; export the sheet as CSV UTF-8"],
  ["\xff\xfe", "UTF-16, not UTF-8 text; export it as CSV UTF-8"],
  ["\xfe\xff", "UTF-16, not UTF-8 text; export it as CSV UTF-8"],
];

/** The file cannot be read as a table; the message gives the reason. */
export class NotCSV extends Error {}

/** Decodes a file's bytes; throws NotCSV. */
export function decode(buffer) {
  const head = String.fromCharCode(...new Uint8Array(buffer, 0, Math.min(4, buffer.byteLength)));
  const known = MAGIC.find(([magic]) => head.startsWith(magic));
  if (known) throw new NotCSV(`This is ${known[1]}.`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(buffer);
  } catch {
    throw new NotCSV("This is not UTF-8 text; export it as CSV UTF-8.");
  }
}

const escaped = (delimiter) => `\\u${delimiter.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Yields `{cells, line}` for each row that is not blank; a quote inside quotes is doubled. */
export function* split(text, delimiter, start = 0, line = 1) {
  const special = new RegExp(`[${escaped(delimiter)}\r\n]`, "g");
  let at = start;
  while (at < text.length) {
    const began = line;
    const cells = [];
    let quoted = false;
    for (;;) {
      if (text[at] === '"') {
        quoted = true;
        let cell = "";
        for (;;) {
          const end = text.indexOf('"', at + 1);
          if (end < 0) throw new NotCSV(`Line ${began}: a quote is opened and never closed.`);
          cell += text.slice(at + 1, end);
          at = end + 1;
          if (text[at] !== '"') break;
          cell += '"';
        }
        line += (cell.match(/\r\n|\r|\n/g) ?? []).length;
        if (at < text.length && !(text[at] === delimiter || text[at] === "\r" || text[at] === "\n")) {
          throw new NotCSV(`Line ${line}: text follows a closing quote.`);
        }
        cells.push(cell);
      } else {
        special.lastIndex = at;
        const end = special.exec(text)?.index ?? text.length;
        cells.push(text.slice(at, end));
        at = end;
      }
      if (text[at] !== delimiter) break;
      at += 1;
    }
    if (at < text.length) {
      at += text.startsWith("\r\n", at) ? 2 : 1;
      line += 1;
    }
    if (cells.length > 1 || cells[0] !== "" || quoted) yield { cells, line: began };
  }
}

function* first(rows) {
  const { value, done } = rows.next();
  if (!done) yield value;
}

/** Counts the required fields and the fields in a header separated by `delimiter`. */
function known(text, start, delimiter, fields) {
  let cells = [];
  try {
    cells = [...first(split(text, delimiter, start))][0]?.cells ?? [];
  } catch {
    // It is not this delimiter.
  }
  const columns = new Set(cells);
  const found = fields.filter((field) => columns.has(field.name));
  return [found.filter((field) => field.required).length, found.length];
}

/**
 * Parses a table: `columns`, `rows` of `{cells, line}`, and the format of the file.
 *
 * fields: `{name, required}` of the model's fields. Throws NotCSV.
 */
export function read(text, fields) {
  const bom = text.startsWith("\ufeff");
  let start = bom ? 1 : 0;
  let line = 1;
  const blank = /^\s*\n/.exec(text.slice(start))?.[0] ?? "";
  const declared = /^"?sep=([^"\r\n])"?\s*(\r\n|\r|\n)/i.exec(text.slice(start + blank.length));
  let delimiter = declared?.[1];
  if (declared) {
    start += blank.length + declared[0].length;
    line += blank.split("\n").length;
  } else {
    const scores = DELIMITERS.map((each) => known(text, start, each, fields));
    delimiter = DELIMITERS.reduce((best, each, index) => {
      const [old, now] = [scores[DELIMITERS.indexOf(best)], scores[index]];
      return now[0] > old[0] || (now[0] === old[0] && now[1] > old[1]) ? each : best;
    });
  }
  const rows = split(text, delimiter, start, line);
  const header = rows.next().value;
  if (!header) throw new NotCSV("The file is empty.");
  const columns = header.cells;
  const begins = columns[0].trimStart();
  if (begins.includes("\0")) throw new NotCSV("This is a binary file, not CSV text.");
  if (begins.startsWith("{")) throw new NotCSV("This is JSON, not CSV.");
  if (begins.startsWith("<")) throw new NotCSV("This is an HTML or XML page, not CSV.");
  const twice = [...new Set(columns.filter((column, index) => columns.indexOf(column) !== index))];
  if (twice.length) {
    throw new NotCSV(`The header has ${twice.map((each) => each || "a column without a name").join(", ")} more than once.`);
  }
  const missing = fields.filter((field) => field.required && !columns.includes(field.name));
  if (missing.length) {
    throw new NotCSV(`The header lacks the required columns ${missing.map((field) => field.name).join(", ")}.`);
  }
  // Without a required field, any table would be predicted, as typical records.
  if (!fields.some((field) => columns.includes(field.name))) throw new NotCSV(`The header has no field of the model, such as ${fields[0].name}.`);
  const lineEnd = /\r\n|\n|\r/.exec(text)?.[0] === "\r\n" ? "\r\n" : "\n";
  return { columns, rows: [...rows], delimiter, bom, lineEnd };
}

const LARGEST_CODE = 1e15;

const isNumber = (field) => field.kind === "integer" || field.kind === "number";

function number(text) {
  const stripped = text.replace(STRIP, "");
  if (!(INTEGER.test(stripped) || NUMBER.test(stripped))) return text;
  const value = Number(stripped);
  return Number.isFinite(value) ? value : text;
}

/** The ISO 8601 text of a date that is written in the format of its field; null if it is written in another way. */
function date({ kind, format }, text) {
  const pattern = format.replace(/%.|\s+|[.*+?^${}()|[\]\\/]/g, (part) => {
    if (part.startsWith("%")) return DIRECTIVES[part] ?? "(?!)";
    return /\s/.test(part) ? "\\s+" : `\\${part}`;
  });
  const found = new RegExp(`^${pattern}$`, "i").exec(text)?.groups;
  if (!found) return null;
  const two = (number) => String(number).padStart(2, "0");
  const year = found.Y ?? (Number(found.y) < 69 ? `20${found.y}` : `19${found.y}`);
  const month = found.m ?? MONTHS.indexOf((found.b ?? found.B).slice(0, 3).toLowerCase()) + 1;
  const day = `${year}-${two(month)}-${two(found.d)}`;
  const afternoon = found.p?.toLowerCase() === "pm" ? 12 : 0;
  const hour = two(found.H ?? (found.I ? (Number(found.I) % 12) + afternoon : 0));
  const time = `${hour}:${two(found.M ?? 0)}:${two(found.S ?? 0)}${found.f ? `.${found.f}` : ""}`;
  if (kind === "date") return /^[0:.]*$/.test(time) ? day : null;
  return `${day}T${time}${found.z ?? ""}`;
}

/** Converts a cell to a value of a field `{kind, codes, format}`; an invalid cell is left unchanged for the API to reject. */
export function value(field, text) {
  const stripped = text.replace(STRIP, "");
  if (stripped === "" || stripped === "NA") return null;
  if (isNumber(field)) return number(text);
  if (field.kind === "boolean") return BOOLEANS.get(stripped.toLowerCase()) ?? number(text);
  if (field.kind === "date" || field.kind === "datetime") return (field.format && date(field, stripped)) ?? stripped;
  const code = field.codes ? number(stripped) : stripped;
  return Number.isInteger(code) && Math.abs(code) <= LARGEST_CODE ? String(code) : code;
}

/** Returns what the comma in a number is, `thousands` or `decimal`; it is an error, and null if there is none. */
export function commaIn(field, text) {
  if (!isNumber(field)) return null;
  return THOUSANDS_COMMA.test(text) ? "thousands" : DECIMAL_COMMA.test(text) ? "decimal" : null;
}

/** Writes one row, with quotes where they are needed. */
export function line(cells, table) {
  const must = new RegExp(`["\r\n${escaped(table.delimiter)}]`);
  const quote = (cell) => (must.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return cells.map((cell) => quote(String(cell ?? ""))).join(table.delimiter) + table.lineEnd;
}
