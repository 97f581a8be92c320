import { SCOPES, type Scope } from './principal.ts';

/** The scopes among names. Others are ignored: what another version of this service, or another service, may know. */
export function pickScopes(names: string[]): ReadonlySet<Scope> {
  return new Set(names.filter((name): name is Scope => Object.hasOwn(SCOPES, name)));
}
