/** What a secret looks like. `value` is the part that is compared with `PLACEHOLDERS`, the whole match where it is missing. */
const SECRETS: { kind: string; pattern: RegExp }[] = [
  { kind: 'private key', pattern: /-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----/g },
  { kind: 'AWS access key', pattern: /\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/g },
  { kind: 'API key', pattern: /\bnk_[A-Za-z0-9_-]{16}_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])/g },
  { kind: 'JWT', pattern: /\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}/g },
  { kind: 'npm token', pattern: /\bnpm_[A-Za-z0-9]{36}\b/g },
  { kind: 'GitHub token', pattern: /\b(?:gh[oprsu]_[A-Za-z0-9]{36,}|github_pat_\w{22,})/g },
  { kind: 'Slack token', pattern: /\bxox[abeprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com\/services\/T\w+\/B\w+\/\w+/g },
  {
    kind: 'password in a URL',
    pattern: /\b[a-z][a-z0-9+.-]{1,30}:\/\/[^\s:/@'"`]{0,200}:(?<value>[^\s@/'"`]{1,200})@/gi,
  },
  { kind: 'password in a URL', pattern: /[?&](?:password|passwd|pwd)=(?<value>[^\s&'"`]{1,200})/gi },
  {
    kind: 'assigned secret',
    pattern:
      /(?:secret|token|passw(?:or)?d|credential|(?:api|access|private|auth)[_-]?key)\w{0,40}["'`]?\s{0,4}[:=]\s{0,4}["'`]?(?<value>[A-Za-z0-9+/_=.-]{20,200})/gi,
  },
];

/** What stands for a secret in documents, examples and tests, and opens nothing. */
const PLACEHOLDERS = new Set([
  ...['password', 'secret', 'none', 'postgres'],
  // AWS's own examples, in its documentation.
  ...['AKIAIOSFODNN7EXAMPLE', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'],
]);
/** A value that is put in when the code runs, or a place to fill in. */
const FILLED_IN = /^(?:\$\{|\$[A-Z_]+$|<|\.\.\.|…|%s)/;

/** Files that are secrets as a whole; `.env.example` has no values. */
const SECRET_FILE =
  /(?:^|\/)(?:\.env(?!\.example$)(?:\..+)?|\.npmrc|\.pgpass|id_(?:rsa|ecdsa|ed25519)|.+\.(?:pem|key|p12|pfx|jks))$/;

/** Names and sentences have few digits and repeat themselves; 20 random characters of hex have 3.3 bits each, of base64 4. */
const MIN_DIGITS = 3;
const MIN_BITS_PER_CHARACTER = 3.2;

/**
 * What looks like a secret in a file, as lines that do not repeat it.
 *
 * @param path - from the repository's root.
 */
export function findSecrets(path: string, text: string): string[] {
  const found = SECRETS.flatMap(({ kind, pattern }) =>
    [...text.matchAll(pattern)]
      .filter(({ 0: match, groups }) => isSecret(kind, groups?.['value'] ?? match))
      .map(({ index }) => `${path}:${text.slice(0, index).split('\n').length} ${kind}`),
  );
  return SECRET_FILE.test(path) ? [`${path} is no file to commit`, ...found] : found;
}

function isSecret(kind: string, value: string): boolean {
  if (PLACEHOLDERS.has(value) || FILLED_IN.test(value)) return false;
  return kind !== 'assigned secret' || isRandom(value);
}

/** Whether a text looks drawn at random rather than written. */
function isRandom(text: string): boolean {
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  const shares = [...counts.values()].map((count) => count / text.length);
  const bits = shares.reduce((sum, share) => sum - share * Math.log2(share), 0);
  return text.replace(/\D/g, '').length >= MIN_DIGITS && bits >= MIN_BITS_PER_CHARACTER;
}
