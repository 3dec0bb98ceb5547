// Puts the messages of the API into the words of people who fill in a form.

let known = [];

/** Takes pairs of a pattern and its words, of which `{1}` is the pattern's first group. */
export function learnWords(pairs) {
  known = pairs.map(([pattern, words]) => [new RegExp(`^(?:${pattern})$`), words]);
}

/** What is wrong with one field, from the messages about it. */
export function faultInWords(messages) {
  return messages
    .map((message) => {
      for (const [pattern, words] of known) {
        const found = pattern.exec(message);
        if (found) return words.replace(/\{(\d)\}/g, (_, group) => found[group]);
      }
      return message;
    })
    .join(" ");
}

/** A warning as a sentence that stands at its field, whose name it need not repeat. */
export function warningInWords({ field, code, message }) {
  let text = message.startsWith(`${field} `) ? message.slice(field.length + 1) : message;
  if (code === "imputed") text = text.replace(/^was not given/, "left empty");
  if (code === "out_of_range") text = text.replace(/\d{5,}/g, (digits) => Number(digits).toLocaleString("en-US"));
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
