/** By which code SNS refused a message for good, and what it said. */
export type Refusal = { code: string; reason: string };

/** A user who was not told, because SNS refused their message. */
export type Failure = Refusal & { user_id: number };

/** Kept of a code and of a reason, in characters: SNS says it in a sentence, and a page may have 5,000 of them. */
const CODE_CHARS_MAX = 100;
const REASON_CHARS_MAX = 500;

const HIDDEN = '[hidden]';

/** Words, as far as a text that quotes JSON has them, apart from what quotes them. */
const WORD = /[^\s"<>]+/g;
/** Phone numbers are kept in E.164, in which seven digits are few. Account ids in ARNs go with them. */
const NUMBER = /\+?\d{7,}/g;
/** What JSON in the database cannot hold, or a terminal would obey. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}]+/gu;

/**
 * What is kept of a refusal. SNS may quote the message that it refused, and with it the addresses of its recipients: those
 * are in no manifest, no list and no log, so that whatever looks like one is taken out before anybody sees it.
 */
export function describeRefusal(code: string, reason: string): Refusal {
  return { code: cut(hideAddresses(code), CODE_CHARS_MAX), reason: cut(hideAddresses(reason), REASON_CHARS_MAX) };
}

function hideAddresses(text: string): string {
  return text
    .replace(UNPRINTABLE, ' ')
    .replace(WORD, (word) => (/@|%40/.test(word) ? HIDDEN : word.replace(NUMBER, HIDDEN)));
}

/** Not in the middle of a character, half of which is none to the database. */
function cut(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : `${text.slice(0, charsMax - 1).replace(/\p{Cs}$/u, '')}…`;
}
