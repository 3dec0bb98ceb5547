// The request in three languages, to be pasted as it is; where keys are needed, with one in place of KEY.

const pretty = (record) => JSON.stringify([record], null, 2);
// Strings and numbers are written alike in JSON and in Python; a line of a string ends with its quote.
const python = (record) => pretty(record).replace(/: (true|false)(,?)$/gm, (_, word, comma) => `: ${word === "true" ? "True" : "False"}${comma}`);

export const snippets = {
  curl: (url, record, needsKey) =>
    `curl '${url.replaceAll("'", "%27")}' \\\n  -H 'Content-Type: application/json' \\\n${needsKey ? "  -H 'X-API-Key: KEY' \\\n" : ""}  -d '${pretty(record).replaceAll("'", "'\\''")}'\n`,
  python: (url, record, needsKey) =>
    `import json\nimport urllib.request\n\nrecords = ${python(record)}\nrequest = urllib.request.Request(\n    ${JSON.stringify(url)},\n    json.dumps(records).encode(),\n    {"Content-Type": "application/json"${needsKey ? ', "X-API-Key": "KEY"' : ""}},\n)\nwith urllib.request.urlopen(request) as response:\n    print(json.load(response)["predictions"])\n`,
  javascript: (url, record, needsKey) =>
    `const records = ${pretty(record)};\nconst response = await fetch(${JSON.stringify(url)}, {\n  method: "POST",\n  headers: { "Content-Type": "application/json"${needsKey ? ', "X-API-Key": "KEY"' : ""} },\n  body: JSON.stringify(records),\n});\nconsole.log((await response.json()).predictions);\n`,
};
