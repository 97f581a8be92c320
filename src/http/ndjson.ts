import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ServiceError } from '../errors.ts';

/** One JSON text a line (https://github.com/ndjson/ndjson-spec). */
export const NDJSON = 'application/x-ndjson';

/**
 * Adds routes that take NDJSON and nothing else, and read it themselves as it arrives. All others go on taking JSON alone.
 * Fastify checks nothing of the body: the schema of it, which is that of a line, is for the document.
 */
export async function acceptNdjson(app: FastifyInstance, addRoutes: (scope: FastifyInstance) => void): Promise<void> {
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(NDJSON, (_request, payload, done) => done(null, payload));
    scope.setValidatorCompiler(() => () => true);
    scope.addHook('onRequest', async (request, reply) => refuseOtherTypes(request, reply));
    addRoutes(scope);
  });
}

/** @throws ServiceError unsupported_media_type, with what is taken instead (RFC 9110, section 15.5.16) */
function refuseOtherTypes({ headers }: FastifyRequest, reply: FastifyReply): void {
  const type = headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
  if (type !== NDJSON) throw new ServiceError('unsupported_media_type', `The request body must be ${NDJSON}.`);
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  if (encoding !== 'identity') {
    // A compressed body hides how large it is.
    void reply.header('accept-encoding', 'identity');
    throw new ServiceError('unsupported_media_type', 'The request body must come without a Content-Encoding.');
  }
}
