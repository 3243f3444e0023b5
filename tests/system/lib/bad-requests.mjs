/*
 * bad-requests: what the HTTP side must refuse, by name, for tests that send each alone and for
 * those that send many at once.
 */
import { KEY, handshake } from './raw.mjs';

const only = (table, make, ...statuses) => Object.fromEntries(
	Object.entries(table).map(([name, value]) => [name, [make(value), ...statuses]]));

const manyFields = (n) =>
	Object.fromEntries(Array.from({ length: n }, (_, i) => [`X-${i}`, 'x']));

/* A handshake of exactly n bytes. */
export function longHandshake(n) {
	const least = handshake('/ws/news', { X: '' }).length;
	return handshake('/ws/news', { X: 'x'.repeat(n - least) });
}

/* Five fields are there already. */
export const handshakeOfFields = (n) => handshake('/ws/news', manyFields(n - 5));

/* name: [the request, the statuses of which one must come] */
export const badHandshakes = {
	...only({
		'no key': { 'Sec-WebSocket-Key': null },
		'two keys': { 'Sec-WebSocket-Key': [KEY, KEY] },
		'an empty key': { 'Sec-WebSocket-Key': '' },
		'a key of 15 bytes': { 'Sec-WebSocket-Key': Buffer.alloc(15).toString('base64') },
		'a key of 17 bytes': { 'Sec-WebSocket-Key': Buffer.alloc(17).toString('base64') },
		'a key that is not base64': { 'Sec-WebSocket-Key': `!${KEY.slice(1)}` },
		'no Connection': { Connection: null },
		'another Connection': { Connection: 'keep-alive' },
		'a Connection that merely contains the word': { Connection: 'upgrades' },
		'no Host': { Host: null },
		'two Hosts': { Host: ['a', 'a'] },
		'a body': { 'Content-Length': '5' },
		'a chunked body': { 'Transfer-Encoding': 'chunked' },
		'a list of subprotocols that is none': { 'Sec-WebSocket-Protocol': 'a b' },
	}, (fields) => handshake('/ws/news', fields), 400),
	...only({
		'no Upgrade': null,
		'another Upgrade': 'h2c',
	}, (Upgrade) => handshake('/ws/news', { Upgrade }), 400, 426),
	...only(Object.fromEntries(['0', '7', '8', '12', '14', '113', '255'].map((v) =>
		[`version ${v} of WebSocket`, v])),
	(version) => handshake('/ws/news', { 'Sec-WebSocket-Version': version }), 426),
	...only({
		'no version of WebSocket': null,
		'two versions of WebSocket': ['13', '13'],
		'a list of versions': '13, 13',
		'a version with a leading zero': '013',
		'a version with a sign': '+13',
		'a version that is no number': 'x',
		'an empty version': '',
	}, (version) => handshake('/ws/news', { 'Sec-WebSocket-Version': version }), 400, 426),
	...only(Object.fromEntries(['POST', 'PUT', 'OPTIONS', 'get'].map((m) =>
		[`the method ${m}`, m])),
	(method) => handshake('', {}, { line: `${method} /ws/news HTTP/1.1` }), 400, 405, 501),
	...only({
		'two spaces in the request line': 'GET  /ws/news HTTP/1.1',
		'no version of HTTP': 'GET /ws/news',
		'more after the version of HTTP': 'GET /ws/news HTTP/1.1 x',
		'a tab in the request line': 'GET\t/ws/news HTTP/1.1',
		'the absolute form': 'GET http://127.0.0.1/ws/news HTTP/1.1',
		'the asterisk form': 'GET * HTTP/1.1',
		'no leading slash': 'GET ws/news HTTP/1.1',
		'a fragment': 'GET /ws/news#x HTTP/1.1',
		'a control byte in the target': 'GET /ws/\x01 HTTP/1.1',
		'a byte above 127 in the target': 'GET /ws/\xe4 HTTP/1.1',
		'HTTP in lower case': 'GET /ws/news http/1.1',
		'an empty method': ' /ws/news HTTP/1.1',
		'a method that is no token': 'G@T /ws/news HTTP/1.1',
	}, (line) => handshake('', {}, { line }), 400),
	...only(Object.fromEntries(['2.0', '1.2', '0.9', '11.1', '1.0'].map((v) => [`HTTP/${v}`, v])),
		(version) => handshake('', {}, { line: `GET /ws/news HTTP/${version}` }), 400, 426, 505),
	...only({
		'bare line feeds': handshake().replaceAll('\r\n', '\n'),
		'one bare line feed': handshake().replace('\r\nUpgrade', '\nUpgrade'),
		'a bare carriage return': handshake().replace('\r\nUpgrade', '\rUpgrade'),
		'a space before the colon': handshake().replace('Host:', 'Host :'),
		'a folded line': handshake().replace('\r\nUpgrade', '\r\nX: a\r\n b\r\nUpgrade'),
		'a line that begins with a space': handshake().replace('Host:', ' Host:'),
		'a NUL in a value': handshake('/ws/news', { X: 'a\0b' }),
		'a control byte in a value': handshake('/ws/news', { X: 'a\x07b' }),
		'a field without a colon': handshake().replace('\r\nUpgrade', '\r\nnocolon\r\nUpgrade'),
		'a field without a name': handshake().replace('\r\nUpgrade', '\r\n: x\r\nUpgrade'),
		'a name that is no token': handshake('/ws/news', { 'a(b)': 'c' }),
	}, (head) => head, 400),
	...only({
		'no channel': '/ws',
		'an empty channel in the query': '/ws?channel=',
		'a space in a channel': '/ws/a%20b',
		'an asterisk in a channel': '/ws/a*',
		'a pattern for a channel': '/ws/%5Ba-z%5D',
		'a line feed in a channel': '/ws/a%0Ab',
		'a NUL in a channel': '/ws/a%00b',
		'a cut escape': '/ws/a%2',
		'an escape that is none': '/ws/a%zz',
		'a byte above 127 in a channel': '/ws/%C3%A4',
		'a channel of 256 bytes': `/ws/${'c'.repeat(256)}`,
		'a bad channel among good ones': '/ws?channel=a&channel=b*',
		'129 channels': `/ws?${Array.from({ length: 129 }, (_, i) => `channel=c${i}`).join('&')}`,
	}, (target) => handshake(target), 400),
	...only(Object.fromEntries(['/', '/ws/', '/wss', '/ws2/news', '/WS/news', '/pub/news',
		'/readyz'].map((target) => [`the target ${target}`, target])),
	(target) => handshake(target), 404),
	'a head of 8 KiB and a byte': [longHandshake(8_193), 431],
	'a line of 9,000 bytes without an end':
		[`GET /ws/news HTTP/1.1\r\nX: ${'x'.repeat(9_000)}`, 431],
	'a request line of 9,000 bytes without an end': [`GET /ws/${'x'.repeat(9_000)}`, 414, 431],
	'65 fields': [handshakeOfFields(65), 431],
};

/* A request to publish; fields: null leaves one out, others replace or add. */
export function post(channel, body, fields = {}) {
	const all = { Host: 'a', 'Content-Length': Buffer.byteLength(body), ...fields };
	const lines = Object.entries(all).filter(([, v]) => v !== null).map(([k, v]) => `${k}: ${v}`);
	return `POST /pub/${channel} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body}`;
}

export const chunked = (...chunks) =>
	`${chunks.map((c) => `${c.length.toString(16)}\r\n${c}\r\n`).join('')}0\r\n\r\n`;

export const CHUNKED = { 'Content-Length': null, 'Transfer-Encoding': 'chunked' };

/*
 * name: a request to publish to the channel, of whose length two servers could think differently;
 * it must be refused, and what is sent behind it must not be taken for a request.
 */
export const smuggled = (channel) => ({
	'two different lengths': post(channel, '', { 'Content-Length': '0\r\nContent-Length: 5' }),
	'two equal lengths': post(channel, 'hello', { 'Content-Length': '5\r\nContent-Length: 5' }),
	'a list of lengths': post(channel, 'hello', { 'Content-Length': '5, 5' }),
	'a length and chunks': post(channel, chunked('a'), { 'Transfer-Encoding': 'chunked' }),
	'chunks and a length': post(channel, chunked('a'), { ...CHUNKED, 'content-length': '3' }),
	xchunked: post(channel, chunked('a'), { ...CHUNKED, 'Transfer-Encoding': 'xchunked' }),
	'chunked twice': post(channel, chunked('a'),
		{ ...CHUNKED, 'Transfer-Encoding': 'chunked, chunked' }),
	'two fields of encoding': post(channel, chunked('a'),
		{ ...CHUNKED, 'Transfer-Encoding': 'chunked\r\nTransfer-Encoding: chunked' }),
	'identity, chunked': post(channel, chunked('a'),
		{ ...CHUNKED, 'Transfer-Encoding': 'identity, chunked' }),
	'gzip, chunked': post(channel, chunked('a'),
		{ ...CHUNKED, 'Transfer-Encoding': 'gzip, chunked' }),
	'a vertical tab before chunked': post(channel, chunked('a'),
		{ ...CHUNKED, 'Transfer-Encoding': '\x0bchunked' }),
	'chunked in quotes': post(channel, chunked('a'),
		{ ...CHUNKED, 'Transfer-Encoding': '"chunked"' }),
	'a space before the colon': post(channel, 'hello').replace('Length:', 'Length :'),
	'a bare line feed': post(channel, 'hello').replace('\r\nContent', '\nContent'),
	'a bare line feed at the end': post(channel, 'hello').replace('\r\n\r\n', '\n\n'),
	'a folded field': post(channel, 'hello').replace('Length: 5', 'Length:\r\n 5'),
	'a negative length': post(channel, '', { 'Content-Length': '-1' }),
	'a length with a sign': post(channel, 'hello', { 'Content-Length': '+5' }),
	'a length in hex': post(channel, 'hello', { 'Content-Length': '0x5' }),
	'a length with a space in it': post(channel, 'hello', { 'Content-Length': '5 5' }),
	'an empty length': post(channel, '', { 'Content-Length': '' }),
	'a huge length': post(channel, '', { 'Content-Length': '18446744073709551621' }),
	'a chunk in decimal with a sign': post(channel, '+5\r\nhello\r\n0\r\n\r\n', CHUNKED),
	'a chunk of 0x5': post(channel, '0x5\r\nhello\r\n0\r\n\r\n', CHUNKED),
	'a negative chunk': post(channel, '-5\r\nhello\r\n0\r\n\r\n', CHUNKED),
	'a chunk without a size': post(channel, '\r\nhello\r\n0\r\n\r\n', CHUNKED),
	'a huge chunk': post(channel, '10000000000000005\r\nhello\r\n0\r\n\r\n', CHUNKED),
	'a chunk with a bare line feed': post(channel, '5\nhello\r\n0\r\n\r\n', CHUNKED),
	'a chunk longer than it says': post(channel, '3\r\nhello\r\n0\r\n\r\n', CHUNKED),
	'a space after a chunk size': post(channel, '5 \r\nhello\r\n0\r\n\r\n', CHUNKED),
	'a NUL in a field': post(channel, 'hello', { X: 'a\0b' }),
	'no Host': post(channel, 'hello', { Host: null }),
	'two Hosts': post(channel, 'hello', { Host: 'a\r\nHost: a' }),
	'chunks in HTTP/1.0': post(channel, chunked('a'), CHUNKED).replace('HTTP/1.1', 'HTTP/1.0'),
});
