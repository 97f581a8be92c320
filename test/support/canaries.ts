/** What is secret or personal in a request, each with the letter that its canaries carry. */
const KINDS = {
  ...{ email: 'a', phone: 'b', payload: 'c', subject: 'd', idempotency_key: 'e' },
  ...{ api_key: 'f', wrong_api_key: 'g', jwt: 'h', wrong_jwt: 'i', password: 'j' },
  ...{ header: 'k', query: 'l', path: 'm', value: 'n', field_name: 'o' },
} as const;

type CanaryKind = keyof typeof KINDS;

const CANARY_KINDS = Object.keys(KINDS) as CanaryKind[];

/** In every canary but phone numbers and names of fields, and in nothing else. Lower case, as all is compared so. */
const MARK = 'zqcanaryqz';
/** In every name of a field, which the caller who sent it may be told. */
const NAME_MARK = 'zqfieldqz';
/** In every phone number: too many digits to be met by chance. */
const DIGITS_MARK = '8712635904';

/** How much of the surroundings is shown with what was found. */
const CONTEXT_CHARS = 60;

const SECRET_CHARS = 43;
/** With these before it, an API key of its own form. */
const KEY_ID_CHARS = 16;

export type Aviary = {
  /** Another canary of a kind, unlike all before. An e-mail address, a phone number and an API key are valid ones. */
  mint: (kind: Exclude<CanaryKind, 'jwt' | 'wrong_jwt'>) => string;
  /** Claims to sign, with a canary in each. */
  mintClaims: () => { email: string; name: string };
  /** Takes a token of `mintClaims` as a canary itself. */
  adopt: (kind: 'jwt' | 'wrong_jwt', token: string) => string;
  /** Notes which canaries are in something that is being sent. */
  note: (sent: string) => void;
  /** How many canaries of each kind were sent, each counted once. */
  sent: () => Record<CanaryKind, number>;
  /** Every place where a text has a canary, plain or encoded, with its surroundings. */
  find: (text: string) => string[];
  /** The same, for what the caller itself is answered: the names of its own fields are no finding. */
  findInProblem: (text: string, request: string) => string[];
  /** Characters searched so far. */
  searched: () => number;
};

/** Makes canaries, and finds them again. */
export function openAviary(): Aviary {
  const minted = new Map<CanaryKind, number>();
  let searched = 0;
  const tokens = new Map<string, CanaryKind>();
  const signatures = new Set<string>();
  const sent = new Map<CanaryKind, Set<string>>(CANARY_KINDS.map((kind) => [kind, new Set()]));
  const mint = (kind: CanaryKind) => {
    const serial = (minted.get(kind) ?? 0) + 1;
    minted.set(kind, serial);
    return compose(kind, serial);
  };
  const find = (text: string) => {
    searched += text.length;
    return [...findMarks(text), ...findSignatures(text, signatures)];
  };
  return {
    mint,
    mintClaims: () => ({ email: mint('email'), name: mint('value') }),
    adopt(kind, token) {
      tokens.set(token, kind);
      signatures.add(token.split('.').at(-1) ?? '');
      return token;
    },
    note(text) {
      for (const [canary, letter] of text.matchAll(MARKED)) sent.get(kindOf(letter))?.add(canary);
      for (const [token] of text.matchAll(TOKEN)) sent.get(tokens.get(token) ?? 'header')?.add(token);
    },
    sent: () => Object.fromEntries([...sent].map(([kind, seen]) => [kind, seen.size])) as Record<CanaryKind, number>,
    find,
    findInProblem: (text, request) => find(withoutOwnNames(text, request)),
    searched: () => searched,
  };
}

const MARKED = new RegExp(`(?:${MARK}|${NAME_MARK}|${DIGITS_MARK})([a-z]?)\\d{5,6}`, 'g');
const TOKEN = /\beyJ[\w-]+\.[\w-]*\.[\w-]*/g;

function kindOf(letter = ''): CanaryKind {
  return CANARY_KINDS.find((kind) => KINDS[kind] === letter) ?? 'phone';
}

function compose(kind: CanaryKind, serial: number): string {
  const text = `${MARK}${KINDS[kind]}${String(serial).padStart(6, '0')}`;
  if (kind === 'email') return `${text}@example.com`;
  if (kind === 'phone') return `+${DIGITS_MARK}${String(serial).padStart(5, '0')}`;
  if (kind === 'field_name') return text.replace(MARK, NAME_MARK);
  if (kind !== 'api_key' && kind !== 'wrong_api_key') return text;
  return `nk_${String(serial).padStart(KEY_ID_CHARS, 'k')}_${text.padEnd(SECRET_CHARS, 'x')}`;
}

function findMarks(text: string): string[] {
  const plain = text.toLowerCase();
  const decoded = decodeEscapes(plain);
  const haystacks = decoded === plain ? [plain] : [plain, decoded];
  return haystacks.flatMap((haystack) => NEEDLES.flatMap((needle) => findAll(haystack, needle)));
}

/** Percent-encoding, and the escapes of JSON and JavaScript. */
function decodeEscapes(text: string): string {
  return text.replaceAll(/%([0-9a-f]{2})|\\+u([0-9a-f]{4})|\\+x([0-9a-f]{2})/g, (_escape, percent, unicode, byte) =>
    String.fromCharCode(Number.parseInt(percent ?? unicode ?? byte, 16)).toLowerCase(),
  );
}

/** The marks as they are, in hexadecimal digits, and in base64 wherever in a longer text they begin. */
const NEEDLES = [MARK, NAME_MARK, DIGITS_MARK].flatMap((mark) => [
  mark,
  Buffer.from(mark).toString('hex'),
  ...[0, 1, 2].map((offset) => encodeBase64(mark, offset).toLowerCase()),
]);

/** The characters of base64 that do not depend on what is before and after. */
function encodeBase64(mark: string, offset: number): string {
  const encoded = Buffer.from('\0'.repeat(offset) + mark).toString('base64');
  return encoded.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + mark.length) * 8) / 6));
}

function findAll(haystack: string, needle: string): string[] {
  const found: string[] = [];
  for (let at = haystack.indexOf(needle); at >= 0; at = haystack.indexOf(needle, at + needle.length)) {
    found.push(haystack.slice(Math.max(0, at - CONTEXT_CHARS), at + needle.length + CONTEXT_CHARS));
  }
  return found;
}

/** The part of a token that is worth nothing to anybody but a thief. */
function findSignatures(text: string, signatures: Set<string>): string[] {
  return (text.match(/[\w-]{20,}/g) ?? []).filter((word) => signatures.has(word));
}

type Problem = { errors?: { pointer: string }[] };

/** A problem may name a field at fault, which is a caller's own word only if that caller sent it. */
function withoutOwnNames(text: string, request: string): string {
  if (!text.startsWith('{')) return text;
  const problem = JSON.parse(text) as Problem;
  for (const fault of problem.errors ?? []) {
    fault.pointer = fault.pointer.replaceAll(new RegExp(`${NAME_MARK}\\w*`, 'g'), (name) =>
      request.includes(name) ? '' : name,
    );
  }
  return JSON.stringify(problem);
}
