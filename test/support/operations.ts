import type { Scope } from '../../src/auth/principal.ts';
import { call } from './service.ts';

/** A call as the served document describes it. */
export type Operation = {
  operationId: string;
  method: string;
  /** Like `/users/{user_id}`. */
  template: string;
  /** The scopes of which it needs one; none: it is for everyone. */
  scopes: Scope[];
  /** The names of its parameters in the query. */
  query: string[];
  /** The names of the fields of its body; null: it has none. */
  fields: string[] | null;
};

type Document = {
  paths: Record<string, Record<string, Described>>;
  components: { schemas: Record<string, { properties: object }> };
};
type Described = {
  operationId: string;
  security: Record<string, Scope[]>[];
  parameters?: { in: string; name: string }[];
  requestBody?: { content: Record<string, { schema: { $ref: string } }> };
};

/** Every call that a service documents. */
export async function listOperations(service: { url: string }): Promise<Operation[]> {
  const { paths, components } = (await call(service, 'GET', '/openapi.json')).body as Document;
  return Object.entries(paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, described]) => ({
      ...{ operationId: described.operationId, method: method.toUpperCase(), template },
      scopes: [...new Set(described.security.flatMap((requirement) => Object.values(requirement).flat()))],
      query: (described.parameters ?? []).filter((parameter) => parameter.in === 'query').map(({ name }) => name),
      fields: listFields(described, components.schemas),
    })),
  );
}

function listFields({ requestBody }: Described, schemas: Document['components']['schemas']): string[] | null {
  const schema = requestBody?.content['application/json']?.schema.$ref.replace('#/components/schemas/', '');
  return schema === undefined ? null : Object.keys(schemas[schema]?.properties ?? {});
}
