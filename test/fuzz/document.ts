import type { Document } from '../support/contract.ts';

/** What is used of JSON Schema. */
export type Schema = {
  $ref?: string;
  type?: string;
  format?: string;
  pattern?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  example?: unknown;
};

export type Parameter = { in: 'path' | 'query' | 'header'; name: string; required?: boolean; schema: Schema };

/** A call of the document. */
export type Operation = {
  /** Like `PUT /users/{user_id}`. */
  route: string;
  method: string;
  template: string;
  parameters: Parameter[];
  /** The schema of its body, or of a line of it; null: it has none. */
  body: Schema | null;
  mediaType: string;
};

type Described = {
  parameters?: Parameter[];
  requestBody?: { content: Record<string, { schema: Schema }> };
};

/** Every call of a document, with its schemas in place of references to them. */
export function listOperations({ paths, components }: Document): Operation[] {
  return Object.entries(paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, described]) => {
      const { parameters = [], requestBody } = described as unknown as Described;
      const [mediaType = '', media] = Object.entries(requestBody?.content ?? {})[0] ?? [];
      const body = media?.schema;
      return {
        ...{ route: `${method.toUpperCase()} ${template}`, method: method.toUpperCase(), template, parameters },
        body: body === undefined ? null : resolve(body, components.schemas),
        mediaType,
      };
    }),
  );
}

function resolve(schema: Schema, schemas: Record<string, unknown>): Schema {
  const name = schema.$ref?.replace('#/components/schemas/', '');
  return name === undefined ? schema : (schemas[name] as Schema);
}
