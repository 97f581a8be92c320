/**
 * Values that have broken services before. Those of a body are texts of JSON, as much of them cannot be said by a value:
 * numbers beyond any, keys given twice, faults of syntax. A text in which every character is below U+0100 may hold bytes:
 * see `toBytes`.
 */
export type Corpus = Record<FieldType, string[]>;

export type FieldType = BodyType | 'header' | 'segment' | 'query';
/** The kinds of fields of a body. */
export type BodyType = 'string' | 'integer' | 'boolean' | 'array' | 'object' | 'date-time' | 'uuid' | 'contact';

/** Values in one text, which is easier to read than hundreds of lines. */
const list = (values: string) => values.split('¦');

const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** Characters that are cut, kept, folded, reordered or refused somewhere on the way to a database and back. */
const CHARACTERS = [
  ...range(0x20).map((code) => String.fromCodePoint(code)),
  ...[0x7f, 0x80, 0x85, 0x9f, 0xa0, 0xad, 0xb5, 0xdf, 0xff, 0x130, 0x131, 0x149, 0x17f, 0x1c5, 0x1f0, 0x300, 0x345],
  ...[0x34f, 0x370, 0x3a3, 0x3c2, 0x488, 0x61c, 0x660, 0x6dd, 0x70f, 0x8e2, 0xe33, 0x115f, 0x1680, 0x17b4, 0x180e],
  ...[0x1e9e, 0x2000, 0x2007, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x202f, 0x2060],
  ...[0x2066, 0x2069, 0x206a, 0x20ac, 0x212a, 0x212b, 0x2215, 0x2260, 0x2800, 0x3000, 0x3164, 0xa9c5, 0xe000, 0xfb01],
  ...[0xfdd0, 0xfdfd, 0xfe00, 0xfe0f, 0xfeff, 0xff07, 0xff0e, 0xff0f, 0xff1c, 0xffa0, 0xfff9, 0xfffc, 0xfffd, 0xfffe],
  ...[
    0xffff, 0x10000, 0x12031, 0x1d173, 0x1f3fb, 0x1f4a9, 0x1f600, 0x1fffe, 0x1ffff, 0xe0001, 0xe0100, 0xf0000, 0x10ffff,
  ],
].map((character) => (typeof character === 'string' ? character : String.fromCodePoint(character)));

const WORDS = [
  ...list('¦ ¦  ¦null¦NULL¦nil¦undefined¦None¦NaN¦Infinity¦true¦false¦on¦off¦yes'),
  ...list('0¦1¦-1¦-0¦1e3¦0x10¦1_000¦١¦½¦1,5¦[object Object]¦[]¦{}¦""¦\'\'¦``¦~'),
  ...list('__proto__¦constructor¦prototype¦toString¦hasOwnProperty¦then¦length¦$where¦$ne¦.¦..'),
  ...[
    'CON',
    'NUL',
    'aux.txt',
    'index.php',
    'a'.repeat(256),
    'é'.repeat(999),
    '👩‍👩‍👧‍👦',
    '🏴‍☠️',
    'Z͑ͫ̓a͗l̡g̛o',
    'مرحبا',
    'שלום',
    '日本語',
    'ﷺ',
  ],
  ...list('\ufeffx¦x\ufeff¦x\u0000y¦\u202egnp.exe¦a\u0301¦\u00e1¦i̇¦ß¦SS¦ﬁ¦Ａ¦𝕬¦\u{1F1E6}\u{1F1E8}'),
];

const INJECTIONS = [
  ...list("'¦\"¦''¦\\¦\\'¦' or '1'='1¦' or 1=1 --¦1; drop table users; --¦'; select pg_sleep(9); --"),
  ...list("') or ('1'='1¦1 union select null, version()¦1/**/or/**/1=1¦$$;select 1;$$¦E'\\047'¦%¦_¦%%¦\\x27"),
  ...list("admin'--¦1)) --¦pg_sleep(9)¦x' and 1=(select count(*) from pg_class) --¦:'x'¦$1¦?¦@@version¦;--"),
  ...list('{"$gt":""}¦{"$ne":null}¦\';return true;//¦{"$where":"sleep(9000)"}¦[$ne]=1¦*)(uid=*))(|(uid=*¦*¦)(cn=*)'),
  ...list('; ls¦| id¦`id`¦$(id)¦&& sleep 9¦|| true¦$IFS¦\u0024{HOME}¦%PATH%¦> /tmp/x¦< /etc/passwd¦\nid\n'),
  ...list('{{7*7}}¦\u0024{7*7}¦<%= 7*7 %>¦#{7*7}¦{% x %}¦\u0024{jndi:ldap://127.0.0.1/x}¦*{7*7}¦@(7*7)'),
  ...list('{{constructor}}'),
  ...list('%s%s%s%n¦%x%x¦%99999d¦%n¦{0}¦%(x)s¦%.9999999f¦\\u0000¦\\0¦\\x00¦\\r\\n¦%c¦%1$s¦{:>9999}'),
  ...list('\r\nX-Injected: 1¦\n\nX¦\r¦x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n¦%0d%0aX: y¦\u560d\u560a¦\u2028X¦x\ty¦\u0085'),
  ...list('../../etc/passwd¦..\\..\\win.ini¦/etc/passwd\0.json¦....//¦%2e%2e%2f¦..%c0%af¦..%255c¦file:///etc/passwd'),
  ...list('<script>alert(1)</script>¦"><img src=x onerror=alert(1)>¦javascript:alert(1)¦<!--¦]]>¦<![CDATA[¦&lt;'),
  ...list('&#0;'),
  ...list('<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]>¦=1+1¦@SUM(1)¦+1+1¦-1+1¦|x¦\t=1¦http://127.0.0.1/'),
  ...list('http://169.254.169.254/¦gopher://x¦data:,x¦//x¦\\\\x\\y¦a@b¦Bcc: x@y¦x@y\nBcc: z¦rm -rf /¦<?php ?>'),
];

/** In a text or a path; half of them broken. */
const ENCODINGS = [
  ...list('%¦%%¦%0¦%z¦%zz¦%00¦%01¦%0a¦%0d¦%20¦%22¦%23¦%25¦%2500¦%252e¦%26¦%27¦%2B'),
  ...list('%2e¦%2F¦%2f¦%3a¦%3B¦%3f¦%5c¦%7f¦%80¦%a0¦%bf¦%c0%80¦%c0%ae¦%c1%bf¦%c2¦%c3%28'),
  ...list('%e0%80%80¦%e0%a4%a¦%e2%82¦%e2%80%ae¦%ed%a0%80¦%ed%bf%bf¦%ef%bb%bf¦%ef%bf%be¦%f0%9f%98%80¦%f0%9f'),
  ...list('%f0%80%80%80¦%f4%90%80%80¦%f8%88%80%80%80¦%fe¦%ff¦%ff%fe¦%u0000¦%u2215¦%U¦%-1¦% 1¦%1¦%xx1'),
];

const NUMBERS = [
  ...list('0¦-0¦0.0¦-0.0¦1¦-1¦2¦1.0¦1.5¦1e0¦1E0¦1e1¦10e-1¦0.1e1¦1e-1¦0e0¦0e999¦-0e-999'),
  ...range(17).flatMap((n) =>
    [7, 8, 15, 16, 31, 32, 53, 63, 64].slice(n % 3, (n % 3) + 1).map((bits) => `${2n ** BigInt(bits + n)}`),
  ),
  ...[7, 8, 15, 16, 24, 31, 32, 53, 63, 64, 127, 128, 1023, 1024].flatMap((bits) => {
    const power = 2n ** BigInt(bits);
    return [power - 1n, power, power + 1n, -power + 1n, -power, -power - 1n].map(String);
  }),
  ...list('1e9¦1e10¦2147483647.0¦2147483647.5¦2147483646.9999999999¦0.9999999999999999¦1.0000000000000001¦1e308'),
  ...list('1e309¦-1e309¦1e999¦-1e999¦1e-308¦4.9e-324¦1e-999¦1e+9¦1e-9¦1e0000001¦1e99999¦123456789e-8'),
  ...[
    `1${'0'.repeat(400)}`,
    `-1${'0'.repeat(400)}`,
    `0.${'0'.repeat(400)}1`,
    '9'.repeat(5_000),
    `1.${'3'.repeat(5_000)}`,
    '3.141592653589793',
  ],
];

/** What some parsers of numbers read. In JSON none is one, but as a text. */
const NO_NUMBERS = [
  ...list('NaN¦Infinity¦-Infinity¦+1¦01¦-01¦00¦.5¦5.¦1e¦1e+¦0x1¦0b1¦0o7¦1_0¦1 0¦- 1¦--1'),
  ...list('1n¦1L¦1f¦1d¦٣¦１¦²¦½¦Ⅷ¦1,000¦1;¦1#¦1/1¦1+1¦1-1¦0x¦1e1e1¦1.1.1¦−1¦∞¦inf'),
];

const DATES = [
  ...list('1970-01-01¦2026-01-01¦2026-01-01T00:00¦2026-01-01T00:00:00¦2026-01-01T00:00:00Z¦2026-01-01 00:00:00Z'),
  ...list('2026-01-01t00:00:00z¦20260101T000000Z¦2026-W01-1¦2026-001¦2026¦2026-1-1T0:0:0Z¦+2026-01-01T00:00:00Z'),
  ...list('0000-01-01T00:00:00Z¦0001-01-01T00:00:00Z¦-000001-01-01T00:00:00Z¦-271821-04-20T00:00:00Z'),
  ...list('+275760-09-13T00:00:00Z'),
  ...list('+275760-09-13T00:00:00.001Z¦1582-10-10T00:00:00Z¦1900-02-29T00:00:00Z¦1999-12-31T23:59:59.999Z'),
  ...list('9998-12-31T23:59:59Z'),
  ...list('9999-12-31T23:59:59Z¦9999-12-31T23:59:59.999-23:59¦10000-01-01T00:00:00Z¦99999-01-01T00:00:00Z'),
  ...list('2038-01-19T03:14:08Z'),
  ...list('2026-01-01T24:00:00Z¦2026-01-01T25:00:00Z¦2026-01-01T00:60:00Z¦2026-01-01T00:00:60Z¦2016-12-31T23:59:60Z'),
  ...[
    '2026-01-01T00:00:00.Z',
    '2026-01-01T00:00:00,5Z',
    `2026-01-01T00:00:00.${'9'.repeat(300)}Z`,
    '2026-01-01T00:00:00.0000000001Z',
  ],
  ...list('2026-01-01T00:00:00+00:00¦2026-01-01T00:00:00-00:00¦2026-01-01T00:00:00+14:00¦2026-01-01T00:00:00+23:59'),
  ...list('2026-01-01T00:00:00-23:59¦2026-01-01T00:00:00+24:00¦2026-01-01T00:00:00+0000¦2026-01-01T00:00:00+00'),
  ...list('2026-01-01T00:00:00 Z'),
  ...list('now¦today¦infinity¦-infinity¦epoch¦allballs¦yesterday¦J2451187¦0¦1700000000¦1e12¦٢٠٢٦-٠١-٠١T٠٠:٠٠:٠٠Z'),
  ...list('2026-01-01T00:00:00[Europe/Vienna]¦2026-01-01T00:00:00Z[u-ca=hebrew]¦Thu, 01 Jan 2026 00:00:00 GMT¦P1D'),
  ...list('1/1/26¦BC'),
  ...range(14).map((month) => `2026-${String(month).padStart(2, '0')}-31T00:00:00Z`),
  ...range(60).map((n) => `${String(1990 + n)}-02-29T23:59:59.${n}+0${n % 10}:30`),
  ...range(33).map((day) => `2027-06-${String(day).padStart(2, '0')}T0${day % 10}:59:59Z`),
];

const UUID = '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';

const UUIDS = [
  ...[
    UUID,
    UUID.toUpperCase(),
    UUID.replaceAll('-', ''),
    `{${UUID}}`,
    `urn:uuid:${UUID}`,
    ` ${UUID}`,
    `${UUID} `,
    `${UUID}\0`,
    `${UUID}\n`,
  ],
  ...list('00000000-0000-0000-0000-000000000000¦ffffffff-ffff-ffff-ffff-ffffffffffff'),
  ...list('FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF'),
  ...range(16).map((digit) => UUID.replace('-7c', `-${digit.toString(16)}c`)),
  ...range(16).map((digit) => UUID.replace('-9d', `-${digit.toString(16)}d`)),
  ...range(36).flatMap((at) => ['g', '-', '', '\u0660'].map((part) => UUID.slice(0, at) + part + UUID.slice(at + 1))),
  ...range(36).map((length) => UUID.slice(0, length)),
];

const CONTACTS = [
  ...list('a@b¦@¦a@¦@b¦a@b.c¦a@b.co¦a.@b.co¦.a@b.co¦a..b@c.de¦a@b..co¦a@-b.co¦a@b-.co¦a@b.co.¦a@b.1'),
  ...list('a b@c.de¦"a b"@c.de¦"a@b"@c.de¦a(x)@b.co¦a@b.co,c@d.co¦a@b.co;c@d.co¦<a@b.co>¦A <a@b.co>¦mailto:a@b.co'),
  ...list(
    'a@[127.0.0.1]¦a@[IPv6:::1]¦a@127.0.0.1¦a@localhost¦ä@b.co¦a@ä.co¦a@xn--4ca.co¦用户@例子.公司¦a@b.co\n¦\na@b.co',
  ),
  ...list("a@b.co\0¦a\0@b.co¦a@b.co\r\nBcc: c@d.co¦a%0a@b.co¦a+b@c.de¦o'a@b.co¦a!b@c.de¦a%b@c.de¦a`b@c.de"),
  ...list('a@b.co%00'),
  ...[64, 65, 127, 128, 248, 249, 250, 254, 255, 320, 5_000].flatMap((n) => [
    `${'a'.repeat(n)}@b.co`,
    `a@${'b'.repeat(n)}.co`,
  ]),
  ...[20, 60, 84, 85, 500].flatMap((n) => [
    `a@${'b.'.repeat(n)}co`,
    `${'a.'.repeat(n)}a@b.co`,
    `${'a'.repeat(n)}${'-'.repeat(n)}@`,
  ]),
  ...list('+¦+0¦+1¦+01234567¦+123456¦+1234567¦+12345678¦+123456789012345¦+1234567890123456¦++15550000¦15550000'),
  ...list('0015550000¦+1 555 0000¦+1-555-0000¦+1(555)0000¦+1.555.0000¦+1555000x¦+1555０000¦+١٥٥٥٠٠٠٠¦+15550000;ext=1'),
  ...list('tel:+15550000¦+15550000\n¦ +15550000¦+15550000 ¦+1555\u20000000¦\uff0b15550000¦+1e10¦+0x1234567'),
  ...list('+1555\u00000000'),
];

/** JSON that is valid and has the shape of anything. */
const SHAPES = [
  ...list('null¦true¦false¦""¦"x"¦0¦-1¦1.5¦[]¦{}¦[[]]¦[{}]¦{"a":1}¦[null]¦[0]¦[1,1]¦[-1]¦["1"]'),
  ...list('[1.5]¦[1e999]¦[true]¦[[1]]¦[1,[2]]¦[1,"2"]¦{"length":1}¦{"0":1}¦{"0":1,"length":1}¦{"a":{"b":{"c":{}}}}'),
  ...list('{"$gt":1}¦{"toString":1}¦{"valueOf":1}¦{"toJSON":1}¦{"then":1}¦{"inspect":1}¦{"constructor":1}¦{"":1}'),
  ...list('{" ":1}'),
  ...list('{"a":1,"a":2}¦{"user_id":1,"user_id":2}¦{"hasOwnProperty":1}¦{"__defineGetter__":1}¦{"\\u0000":1}'),
  ...list('{"\\ud800":1}'),
  ...list('{"__proto__":1}¦{"__proto__":{"a":1}}¦{"\\u005f_proto__":1}¦{"a":{"__proto__":null}}'),
  ...list('{"constructor":{"prototype":1}}'),
  ...list('{"prototype":{}}¦[{"__proto__":1}]¦["email","email"]¦["sms"]¦["fax"]¦["EMAIL"]¦["email",null]'),
  ...list('["\\u0000"]¦["\\ud800"]'),
  ...[2, 10, 15, 16, 17, 18, 100, 2_000].flatMap((n) => [
    '['.repeat(n) + ']'.repeat(n),
    `${'{"a":'.repeat(n)}1${'}'.repeat(n)}`,
    `${'[{"a":'.repeat(n)}1${'}]'.repeat(n)}`,
  ]),
  ...[100, 1_000, 5_000].flatMap((n) => [
    `[${range(n).join()}]`,
    `[${'1,'.repeat(n)}1]`,
    `[${'{},'.repeat(n)}{}]`,
    `{${range(n)
      .map((key) => `"k${key}":1`)
      .join()}}`,
    `{"${'k'.repeat(n)}":1}`,
    `["${'x'.repeat(n)}"]`,
  ]),
];

/** What no parser of JSON may take, and what it must not choke on. */
const SYNTAX = [
  ...list('¦ ¦{¦}¦[¦]¦"¦"\\¦"\\u¦"\\u00¦"\\x41"¦"\\a"¦\'x\'¦`x`¦{,}¦[,]¦[1,]¦{"a":1,}¦{"a"}'),
  ...list('{"a":}¦{:1}¦{a:1}¦{\'a\':1}¦{"a" 1}¦{"a":1 "b":2}¦[1 2]¦[1;2]¦{"a";1}¦{}}¦{}{}¦[]]¦1 1¦nul¦nulll'),
  ...list('True¦NONE¦undefined¦tru¦truee¦//x\n1¦/*x*/1¦#x\n1¦1//x¦<x/>¦x=1&y=2¦---\na: 1¦\u00a01¦\ufeff1¦1\ufeff'),
  ...list('\u000b1¦\f1¦"\n"¦"\t"¦"\u0000"¦"\u001f"¦\u0000¦1\u0000¦[\u0000]¦{"\n":1}¦{"a":1\u0000}¦{"a":\u20281}'),
  ...list('\u2028'),
  ...list('*¦(1)¦!1¦@¦$¦%¦^¦&¦-¦+¦=¦;¦:¦,¦\\¦|¦?¦<¦>¦~¦()¦function(){}¦new Date¦/x/'),
];

/** Bytes that are no UTF-8, or that some decoders read as something else, in a text of JSON or alone. */
const BYTES = [
  ...list('80¦bf¦c0¦c080¦c1bf¦c2¦c328¦e0¦e080¦e08080¦e0a0¦e28228¦eda080¦edb080¦eda080edb080¦efbbbf'),
  ...list('f0¦f09f¦f09f98¦f0808080¦f0288cbc¦f4908080¦f5808080¦f888808080¦fc8480808080¦fe¦ff¦fffe¦feff¦fffe0000'),
  ...list('0000feff¦2b2f7638¦f7644c¦dd736673¦0efeff¦fbee28¦84319533¦1f8b0800¦504b0304¦7b00¦007b¦2200ff22'),
].map((hex) => Buffer.from(hex, 'hex').toString('latin1'));

const HEADER_VALUES = [
  ...list('wait=0¦wait=1¦wait="1"¦wait=-1¦wait=x¦wait¦wait=¦Wait=1¦wait=1,wait=0¦respond-async¦return=minimal'),
  ...list('wait=0x1'),
  ...list('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01¦00-0-0-0¦ff-x'),
  ...list('00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01'),
  ...list('Bearer¦Bearer ¦bearer x¦Bearer nk_¦Bearer nk__¦Bearer nk_x_y¦Bearer nk_x_y_z¦Basic eDp5¦Bearer a.b.c'),
  ...list('Bearer ..¦Negotiate x'),
  ...[
    'Bearer eyJhbGciOiJub25lIn0.e30.',
    'Bearer  x',
    'Bearer\tx',
    'Bearer x y',
    'Digest username="x"',
    `Bearer ${'x'.repeat(8_000)}`,
    'null',
    'Bearer null',
  ],
  ...list('application/json¦APPLICATION/JSON¦application/json;charset=utf-8¦application/json; charset=utf-16'),
  ...list('application/json;;¦application/json,text/plain'),
  ...list('application/problem+json¦application/x-www-form-urlencoded¦multipart/form-data'),
  ...list('multipart/form-data; boundary=¦text/plain¦text/html¦*/*¦/'),
  ...list('application/¦/json¦application/jsonp¦application/json5¦application/ld+json¦;¦application/json; a="b'),
  ...list('application/json; =¦a/b;c'),
  ...list('gzip¦br¦deflate¦zstd¦identity¦gzip, gzip¦chunked¦x¦*¦q=0¦text/html;q=2¦en-GB,xx;q=x¦bytes=0-¦bytes=-1'),
  ...list('bytes=9-1'),
  ...list('127.0.0.1¦::1¦1.2.3.4, 5.6.7.8¦unknown¦999.9.9.9¦for=x¦https¦localhost:0¦evil.example¦"abc"¦W/"abc"'),
  ...list('DELETE¦TRACE'),
  ...list('Thu, 01 Jan 1970 00:00:00 GMT¦no-cache¦max-age=-1¦a=b¦a=b; c="d¦__proto__=1¦(¦)¦,¦,,¦=¦;=¦"¦\\¦"\\"¦\t'),
  ...list('\t\t'),
  ...[1, 63, 64, 65, 127, 128, 200, 255, 256, 1_000, 5_000, 10_000].map((n) => 'k'.repeat(n)),
];

const QUERIES = [
  ...list('¦?¦&¦=¦&&¦==¦x¦x=¦=x¦x=1&x=2¦x[]=1¦x[0]=1¦x[a][b]=1¦x.y=1¦x;y¦x=1;y=2¦#¦?x¦x=?¦x==1¦+¦x=+'),
  ...list('__proto__=1¦__proto__[x]=1¦constructor=1¦constructor[prototype][x]=1¦prototype=1¦toString=1'),
  ...list('hasOwnProperty=1¦=&=&=¦%¦%=%'),
  ...['limit', 'cursor', 'status', 'user_id', 'object'].flatMap((name) => [
    ...[
      name,
      `${name}=`,
      `${name}&${name}`,
      `${name}=1&${name}=2`,
      `${name}[]=1`,
      `${name}[a]=1`,
      `${name.toUpperCase()}=1`,
      ` ${name}=1`,
      `${name}%00=1`,
    ],
    ...[
      `${name} =1`,
      `%${name.charCodeAt(0).toString(16)}${name.slice(1)}=1`,
      `${name}=1%00`,
      `${name}=%31`,
      `${name}=1&x=1`,
      `${name}=null`,
      `${name}=[]`,
    ],
    ...[
      `${name}={}`,
      `${name}=1.0`,
      `${name}=1e1`,
      `${name}=-1`,
      `${name}=+1`,
      `${name}=%201`,
      `${name}=0x1`,
      `${name}=NaN`,
      `${name}=99999999999`,
    ],
  ]),
  ...[10, 500, 2_000].flatMap((n) => [
    '&'.repeat(n),
    'a&'.repeat(n),
    '='.repeat(n),
    'a=1&'.repeat(n),
    `${'a'.repeat(n)}=1`,
    `a=${'%41'.repeat(n)}`,
  ]),
];

const SEGMENTS = [
  ...list('1¦0¦-1¦2147483647¦2147483648¦1.0¦1e0¦01¦0x1¦+1¦ 1¦1 ¦1%20¦%31¦1%2f¦1;a=b¦1,2¦1.json¦*¦:id¦{id}'),
  ...list(".¦..¦...¦./1¦../users¦%2e¦%2e%2e¦//¦1//¦/1¦\\¦1\\2¦~¦~root¦1?x¦1#x¦@¦!¦$¦&¦'¦(¦)¦;¦=¦|"),
  ...[64, 99, 100, 101, 128, 255, 256, 1_000, 5_000].flatMap((n) => ['9'.repeat(n), 'x'.repeat(n), '%41'.repeat(n)]),
];

/** What a text of JSON says: a text, also one with lone surrogates. */
const quote = (value: string) => JSON.stringify(value);

/** A JSON text in which a byte is written as it is. */
const quoteBytes = (bytes: string) => `"${bytes}"`;

const SURROGATES = [
  '"\\ud800"',
  '"\\udc00"',
  '"\\udfff"',
  '"\\udc00\\ud800"',
  '"a\\ud800b"',
  '"\\ud83d"',
  '"\\ude00\\ud83d"',
  '"\\uD800\\u0041"',
];

const TEXTS = [...WORDS, ...INJECTIONS, ...CHARACTERS];
/** What stands for any field of the wrong kind. */
const ANYTHING = [...SHAPES, ...SYNTAX, ...BYTES, ...BYTES.map(quoteBytes), ...SURROGATES];
const quoted = (values: string[]) => values.map(quote);
/** Characters of a text above U+00FF are written as their bytes, so that the whole is bytes. */
const encode = (text: string) => Buffer.from(text, 'utf8').toString('latin1');
const encodeTexts = (texts: string[]) => texts.map(encode);

const LONG = [254, 255, 256, 998, 999, 5_000, 65_536].flatMap((n) => [quote('x'.repeat(n)), quote('😀'.repeat(n / 2))]);

/** The values of each kind of field: at least 300 each, every one once. */
export const CORPUS: Corpus = {
  string: distinct([...encodeTexts([...quoted([...TEXTS, ...ENCODINGS]), ...LONG]), ...latin(ANYTHING)]),
  integer: distinct([
    ...NUMBERS,
    ...encodeTexts([...NO_NUMBERS, ...quoted([...NUMBERS.slice(0, 60), ...NO_NUMBERS])]),
    ...latin(ANYTHING),
  ]),
  boolean: distinct([...encodeTexts([...quoted(WORDS), ...NUMBERS.slice(0, 60), ...NO_NUMBERS]), ...latin(ANYTHING)]),
  array: distinct([
    ...latin(ANYTHING),
    ...encodeTexts(NUMBERS.map((number) => `[1,${number}]`)),
    ...encodeTexts(quoted(WORDS).map((word) => `[${word}]`)),
  ]),
  object: distinct([...latin(ANYTHING), ...encodeTexts(quoted(TEXTS).map((key) => `{${key}:1}`))]),
  'date-time': distinct([...encodeTexts(quoted([...DATES, ...WORDS])), ...latin(ANYTHING)]),
  uuid: distinct([...encodeTexts(quoted([...UUIDS, ...WORDS])), ...latin(ANYTHING)]),
  contact: distinct([
    ...encodeTexts(quoted([...CONTACTS, ...CHARACTERS.map((char) => `a${char}@b.co`), ...WORDS])),
    ...latin(ANYTHING),
  ]),
  header: distinct([
    ...HEADER_VALUES,
    ...encodeTexts(TEXTS),
    ...UUIDS.slice(0, 12),
    ...NO_NUMBERS.map(encode),
    ...latin(BYTES),
  ]),
  segment: distinct([
    ...SEGMENTS,
    ...encodeTexts([...TEXTS, ...ENCODINGS, ...UUIDS]),
    ...NUMBERS.slice(0, 60),
    ...latin(BYTES),
  ]),
  query: distinct([
    ...QUERIES,
    ...encodeTexts([...TEXTS, ...ENCODINGS].map((text) => `limit=${text}`)),
    ...BYTES.map((bytes) => `cursor=${bytes}`),
  ]),
};

/** Texts of bytes are as they have to be; a character above those becomes its bytes. */
function latin(texts: string[]): string[] {
  return texts.map((text) => (/[^\0-\xff]/.test(text) ? encode(text) : text));
}

function distinct(values: string[]): string[] {
  return [...new Set(values)];
}

/** The bytes that a value of the corpus stands for. */
export function toBytes(value: string): Buffer {
  return Buffer.from(value, 'latin1');
}
