// Numbers as a person reads them.

export const LOCALE = "en-US";

/** Functions that write a value of `unit`: `full` to the unit, `short` for axes, `signed` for differences. */
export function writer(unit) {
  const currency = Intl.supportedValuesOf("currency").includes(unit);
  const style = currency ? { style: "currency", currency: unit, currencyDisplay: "narrowSymbol" } : {};
  const suffix = currency ? "" : ` ${unit}`;
  const whole = new Intl.NumberFormat(LOCALE, { ...style, maximumFractionDigits: 0 });
  const fine = new Intl.NumberFormat(LOCALE, { ...style, minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const compact = new Intl.NumberFormat(LOCALE, { ...style, notation: "compact", maximumSignificantDigits: 3 });
  const bare = (value) => (Math.abs(value) >= 1000 ? whole : fine).format(value);
  return {
    full: (value) => bare(value) + suffix,
    bare,
    short: (value) => compact.format(value),
    signed: (value) => (value < 0 ? "−" : "+") + bare(Math.abs(value)),
  };
}

/** A difference in per cent, with its sign. */
export function percent(value) {
  const size = Math.abs(value);
  return `${value < 0 ? "−" : "+"}${size >= 9.95 ? size.toFixed(0) : size.toFixed(1)} %`;
}

/** `count` with its noun. */
export function counted(count, noun, plural = `${noun}s`) {
  return `${count.toLocaleString(LOCALE)} ${count === 1 ? noun : plural}`;
}
