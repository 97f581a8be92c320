/** What one line shows of a foreign text, in characters. */
const TEXT_CHARS_MAX = 100;

const numbers = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** A foreign text on one line and of bounded length, without what a terminal would obey instead of show. */
export function showLine(text: string, charsMax = TEXT_CHARS_MAX): string {
  const shown = Array.from(text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\s]+/gu, ' ').trim());
  return shown.length <= charsMax ? shown.join('') : `${shown.slice(0, charsMax - 1).join('')}…`;
}

/** A whole number with separators: 1,000,000. */
export function showNumber(value: number): string {
  return numbers.format(value);
}

/** A length of time by its two largest units: 8 s, 1 min 4 s, 2 h 5 min. */
export function showDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${showNumber(Math.floor(whole / 3_600))} h ${Math.floor((whole % 3_600) / 60)} min`;
}
