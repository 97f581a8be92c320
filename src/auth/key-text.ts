import { hash, randomBytes, randomInt } from 'node:crypto';

/** The two parts of `nk_<id>_<secret>`: the id finds the key, the secret proves it. */
export type KeyParts = { id: string; secret: string };

/** How the text of a key begins; no JWT does, as the underscore comes before its first dot. */
export const KEY_PREFIX = 'nk_';
/** 36^16 ids: no two keys ever share one. */
const ID_CHARS = 16;
const ID_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';
/** 256 bits: beyond any guessing, so that a plain SHA-256 is enough to store. */
const SECRET_BYTES = 32;
const KEY_TEXT = /^nk_([a-z0-9]{16})_([A-Za-z0-9_-]{43})$/;

/** Makes up a key. */
export function makeKey(): KeyParts & { text: string } {
  const id = Array.from({ length: ID_CHARS }, () => ID_ALPHABET[randomInt(ID_ALPHABET.length)]).join('');
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  return { id, secret, text: `${KEY_PREFIX}${id}_${secret}` };
}

/** Null: this is not how a key is written. */
export function parseKey(text: string): KeyParts | null {
  const [, id, secret] = KEY_TEXT.exec(text) ?? [];
  return id === undefined || secret === undefined ? null : { id, secret };
}

/** SHA-256 of a secret: all that is stored of it. */
export function hashSecret(secret: string): Buffer<ArrayBuffer> {
  return Buffer.from(hash('sha256', secret, 'base64'), 'base64');
}
