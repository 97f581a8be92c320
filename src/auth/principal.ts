import { ServiceError } from '../errors.ts';

/** What a caller may be allowed to do; each route names the one it needs. */
const SCOPES = {
  'preferences:read': 'Read preferences.',
  'preferences:write': 'Create, change, import and delete preferences.',
  'users:read': 'Read users, addresses included.',
  'users:write': 'Store, import and erase users.',
  'notifications:read': 'Read one’s own notifications.',
  'notifications:read:all': 'Read everyone’s notifications.',
  'notifications:send': 'Notify users by their ids; pause, resume, cancel and retry one’s own.',
  'notifications:broadcast': 'Notify everyone; pause, resume, cancel and retry one’s own.',
  'notifications:control': 'Pause, resume, cancel and retry anyone’s notifications that one may read.',
  'audit:read': 'Read who changed what.',
  'metrics:read': 'Read the metrics.',
} as const;

export type Scope = keyof typeof SCOPES;

/** Every scope, in the order of the table. */
export const SCOPE_NAMES = Object.keys(SCOPES) as [Scope, ...Scope[]];

/** A caller who is known. */
export type Principal = {
  /** `key:` and a name, `jwt:` and a subject or its hash, or `anonymous`. At most 128 printable ASCII characters, as SNS wants of a message group. */
  id: string;
  scopes: ReadonlySet<Scope>;
  /** Recipients a day on each channel; null: what the service's configuration says. */
  dailyRecipients: number | null;
};

/** Everyone, where authentication is off. */
export const ANONYMOUS: Principal = { id: 'anonymous', scopes: new Set(SCOPE_NAMES), dailyRecipients: null };

/** The scopes among names. Others are ignored: what another version of this service, or another service, may know. */
export function pickScopes(names: string[]): ReadonlySet<Scope> {
  return new Set(names.filter((name): name is Scope => Object.hasOwn(SCOPES, name)));
}

/** @throws ServiceError scope_missing, naming the scopes of which one is needed, unless the principal has one of them */
export function requireScope({ scopes }: Principal, ...anyOf: Scope[]): void {
  if (anyOf.some((scope) => scopes.has(scope))) return;
  const names = anyOf.map((scope) => `\`${scope}\``).join(' or ');
  throw new ServiceError('scope_missing', `This call needs the scope ${names}.`, { members: { scopes: anyOf } });
}
