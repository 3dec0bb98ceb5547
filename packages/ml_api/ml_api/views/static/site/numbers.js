// Formats numbers for display.

export const LOCALE = "en-US";

const [TINY, LARGE, HUGE] = [1e-6, 1e7, 1e15];
const DIGITS = 3; // significant digits of a number below 1

/**
 * Returns functions that format a value of the target, of any magnitude: `full` with its unit, `bare` without,
 * `short` for axes, `brief` and `signed` for columns, `cell` for tables, `stored` for files: money to the cent.
 *
 * unit: a currency code, another unit, or empty. spread: range of usual values, which must be distinguishable.
 */
export function writer(unit, spread = 0) {
  const currency = Intl.supportedValuesOf("currency").includes(unit);
  const style = currency ? { style: "currency", currency: unit, currencyDisplay: "narrowSymbol" } : {};
  const suffix = currency || !unit ? "" : ` ${unit}`;
  const resolution = spread > 0 ? Math.ceil(-Math.log10(spread / 100)) : 0;
  const decimals = (count) => {
    const fractions = Math.min(15, Math.max(count, resolution));
    return new Intl.NumberFormat(LOCALE, { ...style, minimumFractionDigits: fractions, maximumFractionDigits: fractions });
  };
  const [whole, fine] = [decimals(0), decimals(2)];
  const significant = new Intl.NumberFormat(LOCALE, { ...style, maximumSignificantDigits: DIGITS });
  const scientific = new Intl.NumberFormat(LOCALE, { ...style, notation: "scientific", maximumSignificantDigits: DIGITS });
  const compact = new Intl.NumberFormat(LOCALE, { ...style, notation: "compact", maximumSignificantDigits: 3 });
  const plain = new Intl.NumberFormat(LOCALE, { ...style, minimumFractionDigits: 0, maximumFractionDigits: Math.min(15, Math.max(0, resolution)) });
  const compactFine = new Intl.NumberFormat(LOCALE, { ...style, notation: "compact", maximumSignificantDigits: 5 });

  const isExtreme = (size) => size >= HUGE || (size > 0 && size < TINY);
  const format = (size) => {
    if (isExtreme(size)) return scientific;
    if (size >= 1000) return whole;
    return size === 0 || size >= 0.1 ? fine : significant;
  };
  const shortFormat = (size) => {
    if (isExtreme(size)) return scientific;
    return resolution > 0 && size < LARGE ? plain : compact;
  };
  const write = (value, chosen) => chosen.format(value).replace("-", "−");
  const bare = (value) => write(value, format(Math.abs(value)));
  const brief = (value) => (Math.abs(value) < LARGE || isExtreme(Math.abs(value)) ? bare(value) : write(value, compactFine));
  return {
    full: (value) => bare(value) + suffix,
    bare,
    brief,
    cell: (value) => write(value, Math.abs(value) >= 0.1 && !isExtreme(Math.abs(value)) ? fine : format(Math.abs(value))),
    stored: (value) => (currency && Math.abs(value) >= 1 && Math.abs(value) < HUGE ? value.toFixed(2) : String(value)),
    short: (value) => write(value, shortFormat(Math.abs(value))),
    signed: (value) => (value < 0 ? "−" : "+") + brief(Math.abs(value)),
  };
}

/** Formats a difference in per cent, with its sign. */
export function percent(value) {
  const size = Math.abs(value);
  return `${value < 0 ? "−" : "+"}${size >= 9.95 ? size.toFixed(0) : size.toFixed(1)} %`;
}

/** Formats `count` with its noun. */
export function counted(count, noun, plural = `${noun}s`) {
  return `${count.toLocaleString(LOCALE)} ${count === 1 ? noun : plural}`;
}
