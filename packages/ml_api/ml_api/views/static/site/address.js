// The record in the address. Only the fragment has it, which no request carries: no server and no log sees an input.

/** Returns the pairs of name and text in a fragment; null if it names a part of the page. */
export function readFragment(fragment) {
  if (fragment.length < 2) return [];
  return fragment.includes("=") ? [...new URLSearchParams(fragment.slice(1))] : null;
}

/** Writes pairs of name and text as a fragment. */
export function writeFragment(pairs) {
  return pairs.length ? `#${new URLSearchParams(pairs)}` : "";
}

/** Keeps the address up to date with a form; entries of the history have the name of the example they start from. */
export class AddressBar {
  /** `onMove(pairs, start)` is called when the browser goes back or forward, or to another fragment. */
  constructor(fields, onMove) {
    this.fields = fields;
    addEventListener("popstate", () => {
      const pairs = readFragment(location.hash);
      if (pairs) onMove(pairs, this.start);
    });
  }

  /** Name of the example that the record is, if it was not changed since. */
  get start() {
    return history.state?.start ?? null;
  }

  /** Number of entries of this page to go back to. */
  get depth() {
    return history.state?.depth ?? 0;
  }

  get url() {
    return location.pathname + location.search + writeFragment(this.fields.changes());
  }

  replace(start = null) {
    history.replaceState({ start, depth: this.depth }, "", this.url);
  }

  push(start = null) {
    history.pushState({ start, depth: this.depth + 1 }, "", this.url);
  }
}
