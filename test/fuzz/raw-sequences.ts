import type { Finish } from './raw-connection.ts';

/** Bytes that are no request, or hardly one. A request in them that must not be made is named by `marker`. */
export type Sequence = {
  name: string;
  bytes: string;
  /** How many replies there are; by default one. */
  replies?: number;
  finish?: Finish;
};

/** Whole headers of a request that changes something, by which it would show that it was made. */
type Marker = string;

/** At least forty sequences. `key` is of a caller who may do everything; `marker` must not be made by any of them. */
export function listSequences(key: string, marker: Marker): Sequence[] {
  const host = 'Host: x\r\n';
  const auth = `Authorization: Bearer ${key}\r\n`;
  const get = `GET /users HTTP/1.1\r\n${host}${auth}`;
  const put = `PUT /users/7 HTTP/1.1\r\n${host}${auth}Content-Type: application/json\r\n`;
  const chunked = `${put}Transfer-Encoding: chunked\r\n`;
  const length = (text: string) => `Content-Length: ${text.length}\r\n`;
  return [
    { name: 'nothing', bytes: '' },
    { name: 'an empty line', bytes: '\r\n' },
    { name: 'garbage', bytes: 'garbage\r\n\r\n' },
    { name: 'TLS', bytes: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' },
    { name: 'SSH', bytes: 'SSH-2.0-x\r\n' },
    { name: 'the preface of HTTP/2', bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00' },
    { name: 'the protocol of a proxy', bytes: `PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n${get}\r\n` },
    { name: 'HTTP/0.9', bytes: 'GET /users\r\n' },
    { name: 'HTTP/1.0', bytes: `GET /users HTTP/1.0\r\n${auth}\r\n` },
    { name: 'HTTP/1.0 that keeps alive', bytes: `GET /users HTTP/1.0\r\n${auth}Connection: keep-alive\r\n\r\n` },
    { name: 'HTTP/2.0', bytes: `GET /users HTTP/2.0\r\n${host}\r\n` },
    { name: 'HTTP/9.9', bytes: `GET /users HTTP/9.9\r\n${host}\r\n` },
    { name: 'a version in lower case', bytes: `GET /users http/1.1\r\n${host}\r\n` },
    { name: 'no version', bytes: `GET /users \r\n${host}\r\n` },
    { name: 'a method in lower case', bytes: `get /users HTTP/1.1\r\n${host}\r\n` },
    { name: 'a method nobody knows', bytes: `BREW /users HTTP/1.1\r\n${host}\r\n` },
    { name: 'a space before the method', bytes: ` GET /users HTTP/1.1\r\n${host}\r\n` },
    { name: 'two spaces in the line', bytes: `GET  /users  HTTP/1.1\r\n${host}\r\n` },
    { name: 'tabs in the line', bytes: `GET\t/users\tHTTP/1.1\r\n${host}\r\n` },
    { name: 'a target with a space', bytes: `GET /users ${marker.split('\r\n')[0]}\r\n${host}\r\n` },
    { name: 'a target with NUL', bytes: `GET /users\x00 HTTP/1.1\r\n${host}\r\n` },
    { name: 'a target with bytes', bytes: `GET /\x80\xff\xfe HTTP/1.1\r\n${host}\r\n` },
    { name: 'a target with DEL', bytes: `GET /\x7f HTTP/1.1\r\n${host}\r\n` },
    { name: 'a target without a slash', bytes: `GET users HTTP/1.1\r\n${host}\r\n` },
    { name: 'an absolute target', bytes: `GET http://evil.example/users HTTP/1.1\r\n${host}${auth}\r\n` },
    { name: 'an absolute target of this host', bytes: `GET http://x/users?limit=1 HTTP/1.1\r\n${host}${auth}\r\n` },
    { name: 'an asterisk', bytes: `OPTIONS * HTTP/1.1\r\n${host}\r\n` },
    { name: 'GET of an asterisk', bytes: `GET * HTTP/1.1\r\n${host}\r\n` },
    { name: 'CONNECT', bytes: `CONNECT 127.0.0.1:5432 HTTP/1.1\r\n${host}\r\n${marker}` },
    { name: 'CONNECT of a path', bytes: `CONNECT /users HTTP/1.1\r\n${host}\r\n` },
    { name: 'a target of 100 kB', bytes: `GET /${'x'.repeat(100_000)} HTTP/1.1\r\n${host}\r\n` },
    { name: 'a header of 100 kB', bytes: `${get}X-Big: ${'x'.repeat(100_000)}\r\n\r\n` },
    { name: "a header's name of 100 kB", bytes: `${get}${'x'.repeat(100_000)}: 1\r\n\r\n` },
    { name: '101 headers', bytes: `${get}${'X-Many: 1\r\n'.repeat(101)}\r\n` },
    { name: '20,000 headers', bytes: `${get}${'a:b\r\n'.repeat(20_000)}\r\n` },
    { name: 'a header with NUL', bytes: `${get}X-A: a\x00b\r\n\r\n` },
    { name: 'a header with a bare CR', bytes: `${get}X-A: a\rb\r\n\r\n` },
    { name: 'a header with a bare CR and a request', bytes: `${get}X-A: a\r\r${marker}\r\n\r\n` },
    { name: 'a header without a name', bytes: `${get}: b\r\n\r\n` },
    { name: 'a header without a colon', bytes: `${get}X-A\r\n\r\n` },
    { name: 'a space before the colon', bytes: `${put}Content-Length : 2\r\n\r\n{}${marker}` },
    {
      name: 'a space before the colon of the encoding',
      bytes: `${put}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${marker}`,
    },
    { name: 'a space before the first header', bytes: `GET /users HTTP/1.1\r\n ${host}\r\n` },
    { name: 'a folded header', bytes: `${get}X-A: a\r\n b\r\n\r\n` },
    { name: 'a folded length', bytes: `${put}Content-Length:\r\n 2\r\n\r\n{}` },
    {
      name: 'a folded encoding',
      bytes: `${put}Transfer-Encoding:\r\n chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n${marker}`,
    },
    { name: 'bare line feeds', bytes: `GET /users HTTP/1.1\nHost: x\n${auth.replace('\r', '')}\n` },
    { name: 'bare carriage returns', bytes: `GET /users HTTP/1.1\rHost: x\r\r` },
    { name: 'no Host', bytes: 'GET /users HTTP/1.1\r\n\r\n' },
    { name: 'two Hosts', bytes: `${get}Host: y\r\n\r\n` },
    { name: 'an empty Host', bytes: `GET /users HTTP/1.1\r\nHost:\r\n${auth}\r\n` },
    { name: 'a Host with a path', bytes: `GET /users HTTP/1.1\r\nHost: x/../y\r\n${auth}\r\n` },
    { name: 'a length and chunks', bytes: `${chunked}Content-Length: 5\r\n\r\n0\r\n\r\n${marker}` },
    {
      name: 'chunks and a length',
      bytes: `${put}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n${marker}`,
    },
    { name: 'two lengths', bytes: `${put}Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}${marker}` },
    { name: 'two lengths that are the same', bytes: `${put}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}` },
    { name: 'two lengths in one', bytes: `${put}Content-Length: 2, 2\r\n\r\n{}` },
    { name: 'a negative length', bytes: `${put}Content-Length: -1\r\n\r\n{}${marker}` },
    { name: 'a length with a sign', bytes: `${put}Content-Length: +2\r\n\r\n{}${marker}` },
    { name: 'a length in hex', bytes: `${put}Content-Length: 0x2\r\n\r\n{}${marker}` },
    { name: 'a length beyond 64 bits', bytes: `${put}Content-Length: 18446744073709551618\r\n\r\n{}${marker}` },
    { name: 'a length of no number', bytes: `${put}Content-Length: x\r\n\r\n{}${marker}` },
    { name: 'an empty length', bytes: `${put}Content-Length:\r\n\r\n{}${marker}` },
    { name: 'a length of 10 GB', bytes: `${put}Content-Length: 10000000000\r\n\r\n{}` },
    { name: 'a length that is too long', bytes: `${put}Content-Length: 99\r\n\r\n{}` },
    { name: 'the encoding twice', bytes: `${chunked}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${marker}` },
    { name: 'chunked, then identity', bytes: `${chunked}Transfer-Encoding: identity\r\n\r\n0\r\n\r\n${marker}` },
    { name: 'an encoding nobody knows', bytes: `${put}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${marker}` },
    { name: 'an encoding before chunked', bytes: `${put}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n` },
    { name: 'chunked before an encoding', bytes: `${put}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n${marker}` },
    { name: 'an encoding with a tab', bytes: `${put}Transfer-Encoding:\tchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n` },
    {
      name: 'an encoding with a vertical tab',
      bytes: `${put}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${marker}`,
    },
    { name: 'an encoding in HTTP/1.0', bytes: `${chunked.replace('1.1', '1.0')}\r\n0\r\n\r\n` },
    { name: 'chunks as they should be', bytes: `${chunked}\r\n2\r\n{}\r\n0\r\n\r\n` },
    { name: 'an extension of a chunk', bytes: `${chunked}\r\n2;a=b\r\n{}\r\n0\r\n\r\n` },
    { name: 'an extension of 100 kB', bytes: `${chunked}\r\n2;${'a'.repeat(100_000)}\r\n{}\r\n0\r\n\r\n${marker}` },
    { name: 'an extension with a line feed', bytes: `${chunked}\r\n2;\n{}\r\n0\r\n\r\n${marker}` },
    { name: 'a size of no number', bytes: `${chunked}\r\nx\r\n{}\r\n0\r\n\r\n${marker}` },
    { name: 'a negative size', bytes: `${chunked}\r\n-2\r\n{}\r\n0\r\n\r\n${marker}` },
    { name: 'a size beyond 64 bits', bytes: `${chunked}\r\n10000000000000002\r\n{}\r\n0\r\n\r\n${marker}` },
    { name: 'a size with a space', bytes: `${chunked}\r\n2 \r\n{}\r\n0\r\n\r\n` },
    { name: 'a size with 0x', bytes: `${chunked}\r\n0x2\r\n{}\r\n0\r\n\r\n${marker}` },
    { name: 'a size that is too small', bytes: `${chunked}\r\n1\r\n{}\r\n0\r\n\r\n${marker}` },
    { name: 'a size that is too large', bytes: `${chunked}\r\n99\r\n{}\r\n0\r\n\r\n` },
    { name: 'a size with a bare line feed', bytes: `${chunked}\r\n2\n{}\n0\n\n${marker}` },
    { name: 'a chunk without its end', bytes: `${chunked}\r\n2\r\n{}0\r\n\r\n${marker}` },
    { name: 'trailers', bytes: `${chunked}Trailer: X-A\r\n\r\n2\r\n{}\r\n0\r\nX-A: 1\r\nContent-Length: 9\r\n\r\n` },
    { name: 'a trailer of 100 kB', bytes: `${chunked}\r\n2\r\n{}\r\n0\r\nX-A: ${'x'.repeat(100_000)}\r\n\r\n` },
    { name: 'a request as a body', bytes: `${put}${length(marker)}\r\n${marker}` },
    { name: 'a request as the body of GET', bytes: `${get}${length(marker)}\r\n${marker}` },
    { name: 'a request as a chunk', bytes: `${chunked}\r\n${marker.length.toString(16)}\r\n${marker}\r\n0\r\n\r\n` },
    {
      name: 'a request as the body of an unknown path',
      bytes: `POST /nothing HTTP/1.1\r\n${host}${length(marker)}\r\n${marker}`,
    },
    {
      name: 'a request as the body of a refused one',
      bytes: `${put.replace('PUT', 'PATCH')}${length(marker)}\r\n${marker}`,
    },
    {
      name: 'an upgrade to h2c',
      bytes: `${get}Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`,
    },
    {
      name: 'an upgrade to a websocket',
      bytes: `${get}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\n`,
    },
    { name: 'an upgrade with a body', bytes: `${put}Upgrade: x\r\nConnection: Upgrade\r\n${length('{}')}\r\n{}` },
    { name: '100-continue', bytes: `${put}Expect: 100-continue\r\n${length('{}')}\r\n{}` },
    { name: 'another expectation', bytes: `${put}Expect: 200-ok\r\n${length('{}')}\r\n{}` },
    { name: 'an expectation of nothing', bytes: `${put}Expect:\r\n${length('{}')}\r\n{}` },
    { name: '100-continue without a body', bytes: `${get}Expect: 100-continue\r\n\r\n` },
    { name: 'half a line', bytes: 'GET /us' },
    { name: 'half of the headers', bytes: get },
    { name: 'half a body', bytes: `${put}Content-Length: 20\r\n\r\n{"email":` },
    { name: 'half a connection, closed in the headers', bytes: get, finish: 'end' },
    {
      name: 'half a connection, closed in the body',
      bytes: `${put}Content-Length: 20\r\n\r\n{"email":`,
      finish: 'end',
    },
    { name: 'half a connection, closed before the reply', bytes: `${get}\r\n`, finish: 'end' },
    { name: 'a reset in the headers', bytes: get, finish: 'reset' },
    { name: 'a reset in the body', bytes: `${put}Content-Length: 20\r\n\r\n{"email":`, finish: 'reset' },
    { name: 'a reset before the reply', bytes: `${get}\r\n`, finish: 'reset' },
    { name: 'garbage after a request', bytes: `${get}\r\n\x00\x01\x02`, replies: 2 },
    { name: 'empty lines between requests', bytes: `${get}\r\n\r\n\r\n${get}\r\n`, replies: 2 },
    { name: 'a close between requests', bytes: `${get}Connection: close\r\n\r\n${marker}`, finish: 'open' },
  ];
}
