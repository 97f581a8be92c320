import { isUtf8 } from 'node:buffer';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import type { Document } from '../support/contract.ts';
import type { Reply } from '../support/service.ts';
import type { Input } from './request.ts';

/** Says of a reply whether it grants a request whose body the document does not allow. */
export function createRequestJudge(document: Document): (input: Input, reply: Reply) => string[] {
  // Of the other formats the document says by a pattern what it means.
  const ajv = new Ajv2020({ strict: false, logger: false });
  addFormats.default(ajv, ['date-time', 'uuid']);
  ajv.addSchema(document, 'document');
  return ({ route, method, body }, { status }) => {
    const [ownMethod = '', template = ''] = route.split(' ');
    // By another method it is another request.
    if (status >= 300 || body === null || method !== ownMethod) return [];
    const path = encodeURIComponent(template.replaceAll('/', '~1'));
    const schema = 'requestBody/content/application~1json/schema';
    const validate: ValidateFunction | undefined = ajv.getSchema(
      `document#/paths/${path}/${method.toLowerCase()}/${schema}`,
    );
    return validate === undefined || isAllowed(validate, body) ? [] : ['grants what the document does not allow'];
  };
}

function isAllowed(validate: ValidateFunction, body: Buffer): boolean {
  if (!isUtf8(body)) return false;
  try {
    return validate(JSON.parse(body.toString().replace(/^\ufeff/, '')));
  } catch {
    return false;
  }
}
