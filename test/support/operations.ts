import type { Scope } from '../../src/auth/principal.ts';
import { call } from './service.ts';

/** A call as the served document describes it. */
export type Operation = {
  operationId: string;
  method: string;
  /** Like `/users/{user_id}`. */
  template: string;
  /** Whether it answers with a stream of events, of which HEAD could show nothing. */
  isStream: boolean;
  /** The scopes of which it needs one; none: it is for everyone. */
  scopes: Scope[];
  /** The names of its parameters in the query. */
  query: string[];
  /** The names of the fields of its body, or of each line of it; null: it has none. */
  fields: string[] | null;
  /** What its body is; JSON where there is none. */
  mediaType: string;
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
  responses: Record<string, { content?: object }>;
};

/** Every call that a service documents. */
export async function listOperations(service: { url: string }): Promise<Operation[]> {
  const { paths, components } = (await call(service, 'GET', '/openapi.json')).body as Document;
  return Object.entries(paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, described]) => ({
      ...{ operationId: described.operationId, method: method.toUpperCase(), template },
      isStream: 'text/event-stream' in (described.responses['200']?.content ?? {}),
      scopes: [...new Set(described.security.flatMap((requirement) => Object.values(requirement).flat()))],
      query: (described.parameters ?? []).filter((parameter) => parameter.in === 'query').map(({ name }) => name),
      fields: listFields(described, components.schemas),
      mediaType: Object.keys(described.requestBody?.content ?? {})[0] ?? 'application/json',
    })),
  );
}

function listFields({ requestBody }: Described, schemas: Document['components']['schemas']): string[] | null {
  const schema = Object.values(requestBody?.content ?? {})[0]?.schema.$ref.replace('#/components/schemas/', '');
  return schema === undefined ? null : Object.keys(schemas[schema]?.properties ?? {});
}
