import helmet from '@fastify/helmet';
import type { FastifyInstance } from 'fastify';

/** What a browser may do with a reply of the API: nothing. */
const NOTHING = { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] };

/** What our own pages have in common: all they load is ours, and nobody puts them into a frame. */
const PAGE = {
  ...NOTHING,
  ...{ 'script-src': ["'self'"], 'connect-src': ["'self'"], 'base-uri': ["'none'"], 'form-action': ["'none'"] },
  // Both have small pictures in their style sheets.
  ...{ 'style-src': ["'self'"], 'img-src': ["'self'", 'data:'] },
};

/** Swagger UI, as the `config` of its routes. */
export const SWAGGER_UI_HEADERS = { helmet: { contentSecurityPolicy: { useDefaults: false, directives: PAGE } } };

/** ReDoc writes its own style sheet, and searches in a worker that it makes of a text. */
const REDOC = { ...PAGE, 'style-src': ["'self'", "'unsafe-inline'"], 'worker-src': ['blob:'] };

/** ReDoc, likewise. */
export const REDOC_HEADERS = { helmet: { contentSecurityPolicy: { useDefaults: false, directives: REDOC } } };

/** What a reply has to say that comes from no route: nobody keeps it, and no browser makes anything of it. */
export const BARE_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/** Adds the security headers to every reply, and `no-store`, which what is no data may replace. */
export async function secureReplies(app: FastifyInstance): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: { useDefaults: false, directives: NOTHING },
    xFrameOptions: { action: 'deny' },
    // For whoever ends TLS to say: over plain HTTP it must not be sent (RFC 6797, section 7.2).
    strictTransportSecurity: false,
  });
  app.addHook('onRequest', (_request, reply, done) => {
    void reply.header('cache-control', 'no-store');
    done();
  });
}
