// The record in the address. Only the fragment has it, which no request carries: no server and no log sees an input.

/**
 * Returns the `pairs` of name and text of the record in a fragment, and its `options` behind a semicolon, by name; null
 * if it names a part of the page. Both are encoded as forms are, without semicolons of their own.
 */
export function readFragment(fragment) {
  if (fragment.length > 1 && !fragment.includes("=")) return null;
  const [record, options = ""] = fragment.slice(1).split(";");
  return { pairs: [...new URLSearchParams(record)], options: new Map(new URLSearchParams(options)) };
}

/** Writes pairs of name and text, of a record and of options, as a fragment. */
export function writeFragment(pairs, options) {
  const behind = options.length ? `;${new URLSearchParams(options)}` : "";
  return pairs.length || behind ? `#${new URLSearchParams(pairs)}${behind}` : "";
}

/** Keeps the address up to date with a form; entries of the history have the name of the example they start from. */
export class AddressBar {
  /**
   * `options()` returns pairs to be written beside the record; `onMove(found, start)` is called with what
   * `readFragment` finds when the browser goes back or forward, or to another fragment.
   */
  constructor(fields, options, onMove) {
    Object.assign(this, { fields, options });
    addEventListener("popstate", () => {
      const found = readFragment(location.hash);
      if (found) onMove(found, this.start);
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
    return location.pathname + location.search + writeFragment(this.fields.changes(), this.options());
  }

  replace(start = null) {
    this.write("replaceState", { start, depth: this.depth });
  }

  push(start = null) {
    this.write("pushState", { start, depth: this.depth + 1 });
  }

  write(method, state) {
    try {
      history[method](state, "", this.url);
    } catch {
      // Firefox and Safari allow some 20 calls a second, a key that is held down makes more; the next one writes it all.
    }
  }
}
