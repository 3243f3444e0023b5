/*
 * Commands that are meant to hurt: JSON that no parser likes, names that collide, floods of
 * subscriptions, names that are something else to Redis, and what is not allowed.
 */
import assert from 'node:assert/strict';
import { cpuTime, openFds, withstand } from './lib/bystanders.mjs';
import { Client, json } from './lib/clients.mjs';
import { Node, ms } from './lib/fanfare.mjs';
import { RawClient, handshake } from './lib/raw.mjs';
import { Redis } from './lib/redis.mjs';
import { after, before, describe, eventually, sleep, test } from './lib/test.mjs';

/* --- JSON --------------------------------------------------------------------------------- */

const DEEP = 'JSON nested too deep';
const TWICE = 'duplicate key in JSON';
const RANGE = 'number out of range in JSON';
const NUL = 'NUL in a JSON string';
const MALFORMED = 'malformed JSON';
const COMMAND = 'a command is a JSON object';
const ONE = 'one command a message';

const publish = (data) => `{"publish":"echo","data":${data},"id":7}`;
const nested = (depth) => '['.repeat(depth) + ']'.repeat(depth);
const MILLION = 1_000_000;

/* [name, text, message]; the code is 400 in all of them. */
const MALICIOUS = [
	['33 deep', publish(nested(32)), DEEP],
	['2,049 deep', publish(nested(2_048)), DEEP],
	['a million deep', publish(nested(MILLION)), DEEP],
	['a million deep and never closed', '['.repeat(MILLION), DEEP],
	['a million objects deep', '{"a":'.repeat(MILLION), DEEP],
	['closed more often than opened', ']'.repeat(MILLION), MALFORMED],
	['a key twice', '{"publish":"echo","data":1,"data":2}', TWICE],
	['a command twice', '{"subscribe":"a","subscribe":"b"}', TWICE],
	['a key twice, once escaped', '{"subscribe":"a","s\\u0075bscribe":"b"}', TWICE],
	['a key twice within data', publish('{"a":1,"b":{"c":1,"c":1}}'), TWICE],
	['two commands', '{"subscribe":"a","unsubscribe":"b"}', ONE],
	['NUL in a string', '{"subscribe":"a\\u0000b"}', NUL],
	['NUL in data', publish('"\\u0000"'), NUL],
	['NUL in a key', '{"subscribe\\u0000":"a"}', NUL],
	['NUL as it is', '{"subscribe":"a\0b"}', MALFORMED],
	['NUL at the end', '{"subscribe":"nul"}\0', MALFORMED],
	['1e400', publish('1e400'), RANGE],
	['-1e400', publish('[-1e400]'), RANGE],
	['2^63', publish('9223372036854775808'), RANGE],
	['-2^63 - 1', publish('-9223372036854775809'), RANGE],
	['a number of 100,000 digits', publish('9'.repeat(100_000)), RANGE],
	['2^63 as the id', '{"subscribe":"range","id":9223372036854775808}', RANGE],
	['a high surrogate alone', publish('"\\ud800"'), MALFORMED],
	['a low surrogate alone', publish('"\\udc00"'), MALFORMED],
	['a high surrogate and a letter', publish('"\\ud800x"'), MALFORMED],
	['two high surrogates', publish('"\\ud800\\ud800"'), MALFORMED],
	['surrogates in the channel', '{"subscribe":"\\ud800"}', MALFORMED],
	['a byte order mark', '\ufeff{"subscribe":"bom"}', MALFORMED],
	['nothing', '', MALFORMED],
	['white space', ' \t\r\n', MALFORMED],
	['a comma too many', '{"subscribe":"a",}', MALFORMED],
	['a comment', '{"subscribe":"a"/**/}', MALFORMED],
	['NaN', publish('NaN'), MALFORMED],
	['a leading zero', publish('01'), MALFORMED],
	['two values', '{"subscribe":"a"}{"subscribe":"b"}', MALFORMED],
	['a control character in a string', publish('"\t"'), MALFORMED],
	['an array', '[{"subscribe":"a"}]', COMMAND],
	['a string', '"subscribe"', COMMAND],
	['null', 'null', COMMAND],
	['a channel that is none', '{"subscribe":["a"]}', 'the channel must be a string'],
	['an id that is none', '{"subscribe":"a","id":{}}', 'id must be a string or an integer'],
	['a real id', '{"subscribe":"a","id":1.5}', 'id must be a string or an integer'],
	['an endless id', `{"subscribe":"a","id":"${'x'.repeat(100_000)}"}`, 'id is too long'],
	['a member from nowhere', '{"subscribe":"a","__proto__":1}', 'unknown member'],
];

describe('JSON', () => {
	let node;
	before(async () => {
		node = await Node.start({
			workers: 2,
			limits: { message: 16 << 20, body: 16 << 20, commands: 0 },
			channels: [{ match: 'echo', publish: 'anyone' }],
		});
	});
	after(() => node?.stop());

	test('each has its fixed error, and the connection lives on', { timeout: 60 }, (t) =>
		withstand(t, node, async () => {
			const client = await json(node);
			for (const [name, text, message] of MALICIOUS) {
				const { error } = await client.ask(text);
				assert.deepEqual(error, { code: 400, message }, name);
			}
			assert.deepEqual(await client.ask({ subscribe: 'alive' }), { subscribed: 'alive' });
			await client.close();
			assert.equal(await node.subscribers('a'), 0);
		/* The C library keeps some of what messages of 6 MB took. */
		}, { memory: { slack: 8 << 20 } }));

	test('what is just within the limits is taken', async () => {
		const client = await json(node, '/ws/echo');
		for (const data of [nested(31), '9223372036854775807', '-9223372036854775808', '1e308',
			'"\\ud83d\\ude00"', '{"a":{"a":{"a":1}}}']) {
			client.send(publish(data));
			const both = [await client.next(), await client.next()].sort();
			assert.deepEqual(both,
				[`{"channel":"echo","data":${data}}`, '{"published":"echo","id":7}'].sort());
		}
		await client.close();
	});

	/* The payload of a backend, too, meets clients who read JSON. */
	test('a payload that no parser likes arrives as a string', async () => {
		const client = await json(node, '/ws/payload');
		for (const text of [nested(33), '['.repeat(100_000), '"\\ud800"', '{"a":1', '1 2', 'NaN']) {
			await node.publish('payload', text);
			assert.deepEqual(await client.nextJson(), { channel: 'payload', data: text });
		}
		await client.close();
	});

	test('with the usual limit a million deep is too big', async () => {
		const small = await Node.start();
		const client = await json(small);
		client.send(nested(MILLION));
		assert.equal((await client.closed).code, 1009);
		await small.stop();
	});
});

/* --- names that collide ------------------------------------------------------------------- */

/* The hashes without a key that servers have used, all 32 bits wide. */
const djb2 = {
	first: 5381,
	block: 2,
	step: (h, text) => [...text].reduce((x, c) => (Math.imul(x, 33) + c.charCodeAt(0)) | 0, h),
};
const fnv1a = {
	first: 0x811c9dc5 | 0,
	block: 4,
	step: (h, text) =>
		[...text].reduce((x, c) => Math.imul(x ^ c.charCodeAt(0), 0x01000193), h),
};
const rotate = (x, n) => (x << n) | (x >>> (32 - n));
const murmur3 = {
	first: 0, /* the seed */
	block: 8, /* two words: of one, no two collide */
	step: (h, text) => {
		for (let i = 0; i < text.length; i += 4) {
			const k = text.charCodeAt(i) | text.charCodeAt(i + 1) << 8 |
				text.charCodeAt(i + 2) << 16 | text.charCodeAt(i + 3) << 24;
			h ^= Math.imul(rotate(Math.imul(k, 0xcc9e2d51), 15), 0x1b873593);
			h = (Math.imul(rotate(h, 13), 5) + 0xe6546b64) | 0;
		}
		return h;
	},
};

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function randomText(n) {
	let text = '';
	while (text.length < n)
		text += LETTERS[Math.floor(Math.random() * LETTERS.length)];
	return text;
}

/*
 * 2^bits names with one hash.  Two blocks that lead from one state to the same next are found by
 * the birthday paradox; each such pair doubles the number of names.
 */
function colliding({ first, block, step }, bits) {
	let names = [''];
	let state = first;
	for (let i = 0; i < bits; i++) {
		const seen = new Map();
		for (;;) {
			const text = randomText(block);
			const next = step(state, text);
			const twin = seen.get(next);
			if (twin !== undefined && twin !== text) {
				names = names.flatMap((name) => [name + twin, name + text]);
				state = next;
				break;
			}
			seen.set(next, text);
		}
	}
	return names;
}

describe('names that collide', () => {
	const BITS = 16;
	const EACH = 100;
	let node;
	before(async () => {
		node = await Node.start({ limits: { head: 65_536, handshake: ms(60_000) } });
	});
	after(() => node?.stop());

	/* Subscribes to all the names and leaves again.  Returns the seconds of CPU that it took. */
	async function cost(names) {
		const pids = [node.role('hub'), node.role('worker 0')];
		const used = () => pids.reduce((sum, pid) => sum + cpuTime(pid), 0);
		const fds = openFds(pids[1]);
		const begun = used();
		const clients = [];
		const targets = [];
		for (let i = 0; i < names.length; i += EACH) {
			const list = names.slice(i, i + EACH).map((name) => `channel=${name}`);
			targets.push(`/ws?${list.join('&')}`);
		}
		while (targets.length > 0) {
			clients.push(...await Promise.all(
				targets.splice(0, 50).map((target) => RawClient.open(node, target))));
		}
		assert.equal(await node.subscribers(names[0]), 1);
		clients.forEach((client) => client.destroy());
		await eventually(30_000, 'all to leave', async () => {
			await sleep(50);
			return openFds(pids[1]) <= fds;
		});
		assert.equal(await node.subscribers(names.at(-1)), 0);
		return used() - begun;
	}

	test('cost what any others do', { timeout: 120 }, async (t) => {
		const bad = [djb2, fnv1a, murmur3].flatMap((hash) => {
			const names = colliding(hash, BITS);
			const one = hash.step(hash.first, names[0]);
			assert.ok(names.every((name) => hash.step(hash.first, name) === one));
			assert.equal(new Set(names).size, names.length);
			return names;
		});
		/* Some more, so that they are 200,000. */
		bad.push(...colliding(djb2, 12));
		assert.ok(bad.length > 200_000);
		const good = bad.map((name) => randomText(name.length));
		let ratio = Infinity;
		let least = [Infinity, Infinity];
		for (let i = 0; i < 3 && ratio > 1.5; i++) {
			least = [Math.min(least[0], await cost(good)), Math.min(least[1], await cost(bad))];
			ratio = least[1] / least[0];
		}
		t.diagnostic(`random ${least[0].toFixed(2)} s, colliding ${least[1].toFixed(2)} s`);
		assert.ok(ratio <= 1.5, `${ratio} times the cost`);
	});
});

/* --- floods of subscriptions -------------------------------------------------------------- */

describe('floods of subscriptions', () => {
	let redis;
	let node;
	before(async () => {
		redis = await Redis.start({ unix: true });
		node = await Node.start({
			workers: 2, redis: { url: redis.url }, limits: { commands: 0 },
		});
	});
	after(async () => {
		await node?.stop();
		await redis?.stop();
	});

	/* What this node is subscribed to in Redis, which is what the hub's maps hold. */
	const inRedis = async () => (await redis.cli('PUBSUB', 'CHANNELS')).split('\n').filter(Boolean)
		.filter((name) => !name.startsWith('fanfare:bystanders')).sort();

	/* The maps of worker, hub and engine are empty but for what was there before. */
	async function expectEmpty(old, names) {
		await eventually(10_000, 'Redis to be as before', async () =>
			JSON.stringify(await inRedis()) === JSON.stringify(old));
		for (const name of names)
			assert.equal(await node.subscribers(name), 0, name);
	}

	test('10,000 subscriptions of one connection: 128 are had', { timeout: 60 }, async (t) => {
		const N = 10_000;
		const old = await inRedis();
		await withstand(t, node, async () => {
			const client = await json(node);
			for (let i = 0; i < N; i++)
				client.send(`{"subscribe":"many:${i}","id":${i}}`);
			await client.count(N, 30_000);
			const answers = client.messages.map((m) => JSON.parse(m));
			assert.deepEqual(answers.map((a) => a.id).sort((a, b) => a - b),
				Array.from({ length: N }, (_, i) => i));
			assert.equal(answers.filter((a) => a.subscribed).length, 128);
			assert.ok(answers.filter((a) => !a.subscribed).every((a) =>
				a.error.code === 429 && a.error.message === 'too many'));
			assert.equal((await inRedis()).length, old.length + 128);
			await client.close();
		}, { memory: true });
		await expectEmpty(old, ['many:0', 'many:127', 'many:128', 'many:9999']);
	});

	test('10,000 a second on and off', { timeout: 60 }, async (t) => {
		const N = 10_000;
		const old = await inRedis();
		await withstand(t, node, async () => {
			const client = await json(node);
			for (let i = 0; i < N; i++) {
				client.send(`{"subscribe":"flip:${i}","id":"+${i}"}`);
				client.send(`{"unsubscribe":"flip:${i}","id":"-${i}"}`);
				if (i % 100 === 99)
					await sleep(10);
			}
			/* Each has one answer; a subscription that was taken back is told so. */
			await client.count(2 * N, 30_000);
			const ids = new Set();
			for (const answer of client.messages.map((m) => JSON.parse(m))) {
				ids.add(answer.id);
				if (answer.id[0] === '-')
					assert.equal(answer.unsubscribed, `flip:${answer.id.slice(1)}`);
				else if (answer.error)
					assert.equal(answer.error.code, 409);
				else
					assert.equal(answer.subscribed, `flip:${answer.id.slice(1)}`);
			}
			assert.equal(ids.size, 2 * N);
			/* Empty although the connection is still there, and still good. */
			await expectEmpty(old, ['flip:0', `flip:${N - 1}`]);
			client.taken = client.messages.length;
			assert.deepEqual(await client.ask({ subscribe: 'same' }), { subscribed: 'same' });
			await client.close();
		}, { memory: true });
		await expectEmpty(old, ['same']);
	});

	test('one channel on and off, and what is published amid it', { timeout: 60 }, async (t) => {
		await withstand(t, node, async () => {
			const client = await json(node);
			for (let i = 0; i < 2_000; i++) {
				client.send('{"subscribe":"blink"}');
				client.send('{"unsubscribe":"blink"}');
				if (i % 50 === 0)
					await node.publish('blink', `"${i}"`);
			}
			client.send('{"subscribe":"blink","id":"last"}');
			await eventually(10_000, 'the last answer', () =>
				client.messages.includes('{"subscribed":"blink","id":"last"}'));
			client.taken = client.messages.length;
			await node.publish('blink', '"end"');
			assert.deepEqual(await client.nextJson(), { channel: 'blink', data: 'end' });
			await client.close();
		}, { memory: true });
		await expectEmpty(await inRedis(), ['blink']);
	});

	test('the usual rate holds them back', { timeout: 60 }, async (t) => {
		const usual = await Node.start({ redis: { url: redis.url } });
		await withstand(t, usual, async () => {
			const client = await json(usual);
			const begun = Date.now();
			for (let i = 0; i < 10_000; i++)
				client.send('{"unsubscribe":"nothing"}');
			await sleep(2_000);
			const most = 100 + 50 * ((Date.now() - begun) / 1_000) + 50;
			assert.ok(client.messages.length >= 100, `only ${client.messages.length} answers`);
			assert.ok(client.messages.length <= most, `${client.messages.length} answers`);
			client.terminate();
		}, { memory: true });
		await usual.stop();
	});
});

/* --- names that mean something to Redis --------------------------------------------------- */

describe('names that mean something to Redis', () => {
	const MARK = 'zqx';
	const NAMES = [
		`${MARK}\r`, `${MARK}\n`, `${MARK}\r\nPUBLISH fanfare:victim ${MARK}\r\n`,
		`*1\r\n$4\r\n${MARK}\r\n`, `${MARK}\0`, `\0${MARK}`, `${MARK} a`, ` ${MARK}`, `${MARK}\t`,
		`${MARK}*`, '*', `${MARK}?`, `${MARK}[a-z]`, `${MARK}\\`, `${MARK}\\*`,
		'__keyspace@0__:*', `__keyspace@0__:${MARK}*`, '__keyevent@0__:*', `${MARK}é`, `${MARK}"`,
		`${MARK}'`, `${MARK}%`, `${MARK}&`, `${MARK}{}`, `${MARK}\x7f`, `${MARK}\x1b[31m`,
		MARK.padEnd(256, 'x'),
	];
	let redis;
	let node;
	let monitor;
	let lines;
	before(async () => {
		redis = await Redis.start({ unix: true });
		node = await Node.start({
			redis: { url: redis.url },
			limits: { commands: 0 },
			channels: [{ match: '*', publish: 'anyone' }],
		});
		lines = [];
		monitor = await redis.connect();
		await monitor.monitor((line) => lines.push(line));
	});
	after(async () => {
		monitor?.close();
		await node?.stop();
		await redis?.stop();
	});

	/* Waits until all that was sent before is in `lines`. */
	async function monitored(text) {
		await node.publish('sentinel', text);
		await eventually(5_000, 'MONITOR', () => lines.some((line) => line.includes(text)));
	}

	/* The status of a handshake, or of what else is asked for on the public listener. */
	async function status(target, fields) {
		const client = await RawClient.connect(node.ports.public);
		client.send(handshake(target, fields));
		const answer = await client.response();
		client.destroy();
		return answer.status;
	}

	const plain = { Upgrade: null, Connection: null, 'Sec-WebSocket-Key': null,
		'Sec-WebSocket-Version': null };

	test('are refused on every way in', { timeout: 60 }, async () => {
		const client = await json(node);
		for (const name of NAMES) {
			const what = JSON.stringify(name);
			const encoded = encodeURIComponent(name).replaceAll('*', '%2A').replaceAll("'", '%27');
			assert.equal(await status(`/ws/${encoded}`), 400, `path: ${what}`);
			assert.equal(await status(`/ws?channel=${encoded}`), 400, `query: ${what}`);
			assert.equal(await status(`/ws?channel=good&channel=${encoded}`), 400, `second: ${what}`);
			assert.equal(await status(`/sse/${encoded}`, plain), 400, `sse, path: ${what}`);
			assert.equal(await status(`/sse?channel=${encoded}`, plain), 400, `sse, query: ${what}`);
			for (const method of ['POST', 'GET']) {
				const answer = await node.request(method, `/pub/${encoded}`,
					method === 'POST' ? { body: MARK } : {});
				assert.equal(answer.status, 400, `${method}: ${what}`);
			}
			const refused = { error: { code: 400, message: name.includes('\0')
				? 'NUL in a JSON string' : 'not a channel name' } };
			assert.deepEqual(await client.ask({ subscribe: name }), refused, what);
			assert.deepEqual(await client.ask({ publish: name, data: MARK }), refused, what);
			const { error } = await client.ask({ unsubscribe: name });
			assert.ok(error.code === 404 || name.includes('\0'), what);
		}
		await client.close();
	});

	/* As they are, no request line can hold most of them; none may get through. */
	test('are refused unencoded', { timeout: 60 }, async () => {
		for (const name of NAMES) {
			const client = await RawClient.connect(node.ports.public);
			client.send(Buffer.from(handshake(`/ws/${name}`)));
			const answer = await client.response();
			/* What follows "?" is a query, and without its name there is no channel. */
			if (name === `${MARK}?`)
				assert.equal(answer.status, 101);
			else
				assert.equal(answer.status, 400, JSON.stringify(name));
			client.destroy();
		}
	});

	test('leave no trace in Redis', { timeout: 60 }, async () => {
		await monitored('first');
		const seen = lines.filter((line) => !line.includes('"PING"'));
		const traces = seen.filter((line) =>
			new RegExp(`PSUBSCRIBE|keyspace|keyevent|victim|${MARK}[^"]|[^"]${MARK}"`, 'i').test(line)
			&& !line.includes(`fanfare:${MARK}"`));
		assert.deepEqual(traces, []);
		assert.ok(seen.some((line) => line.includes('sentinel')), 'nothing was monitored');
	});

	test('a name that is allowed is one, with the prefix before it', async () => {
		const name = `__keyspace@0__:${MARK}`;
		const begun = lines.length;
		const client = await Client.open(node.url(`/ws/${encodeURIComponent(name)}`));
		await redis.cli('PUBLISH', name, 'not for clients');
		await redis.cli('PUBLISH', `fanfare:${name}`, 'for clients');
		assert.equal(await client.next(), 'for clients');
		await monitored('second');
		const mine = lines.slice(begun).filter((line) =>
			/SUBSCRIBE/i.test(line) && line.includes(MARK));
		assert.ok(mine.length > 0);
		for (const line of mine)
			assert.match(line, /"fanfare:__keyspace@0__:zqx"/);
		await client.close();
	});
});

/* --- what is not allowed ------------------------------------------------------------------ */

describe('what is not allowed', () => {
	let node;
	before(async () => {
		node = await Node.start({
			limits: { commands: 0 },
			channels: [
				{ match: 'secret*', subscribe: 'nobody', publish: 'nobody' },
				{ match: 'drop*', subscribe: 'nobody', publish: 'anyone' },
				{ match: '*', subscribe: 'anyone', publish: 'nobody' },
			],
		});
	});
	after(() => node?.stop());

	/* All of an answer but the time. */
	async function refusal(target, fields) {
		const client = await RawClient.connect(node.ports.public);
		client.send(handshake(target, fields));
		const { status, text, body } = await client.response();
		client.destroy();
		return { status, text: text.replace(/^Date: .*$/m, 'Date'), body };
	}

	const json = { 'Sec-WebSocket-Protocol': 'fanfare.json' };
	const sse = { Upgrade: null, Connection: null, 'Sec-WebSocket-Key': null,
		'Sec-WebSocket-Version': null };

	test('a subscription is denied, whether or not the channel was ever used', async () => {
		await node.publish('secret:used', 'a message');
		for (const prefix of ['/ws/', '/ws?channel=', '/ws?channel=free&channel=']) {
			for (const fields of [{}, json]) {
				const used = await refusal(`${prefix}secret:used`, fields);
				assert.equal(used.status, 403);
				assert.deepEqual(await refusal(`${prefix}secret:none`, fields), used);
			}
		}
		const used = await refusal('/sse/secret:used', sse);
		assert.equal(used.status, 403);
		assert.deepEqual(await refusal('/sse/secret:none', sse), used);
		const client = await Client.open(node.url(), 'fanfare.json');
		for (const name of ['secret:used', 'secret:none'])
			assert.deepEqual(await client.ask({ subscribe: name, id: 1 }),
				{ error: { code: 403, message: 'not allowed' }, id: 1 });
		assert.equal(await node.subscribers('secret:used'), 0);
		assert.equal(await node.subscribers('free'), 0, 'half of a refused handshake stayed');
		await client.close();
	});

	test('a channel that clients publish to is still not theirs to read', async () => {
		const client = await Client.open(node.url(), 'fanfare.json');
		assert.deepEqual(await client.ask({ publish: 'drop:a', data: 1 }), { published: 'drop:a' });
		for (const name of ['drop:a', 'drop:none'])
			assert.deepEqual(await client.ask({ subscribe: name }),
				{ error: { code: 403, message: 'not allowed' } });
		await client.close();
	});

	test('a publish is denied, whether or not anyone listens', async () => {
		const listener = await Client.open(node.url('/ws/room:full'));
		const client = await Client.open(node.url(), 'fanfare.json');
		const refused = { error: { code: 403, message: 'not allowed' } };
		for (const name of ['room:full', 'room:empty', 'secret:used'])
			assert.deepEqual(await client.ask({ publish: name, data: 1 }), refused);
		/* Nor does it help to be subscribed. */
		assert.deepEqual(await client.ask({ subscribe: 'room:full' }), { subscribed: 'room:full' });
		assert.deepEqual(await client.ask({ publish: 'room:full', data: 1 }), refused);

		const closes = [];
		for (const name of ['room:full', 'room:empty']) {
			const raw = await Client.open(node.url(`/ws/${name}`));
			raw.send('mine');
			closes.push(await raw.closed);
		}
		assert.equal(closes[0].code, 1008);
		assert.deepEqual(closes[1], closes[0]);

		await node.publish('room:full', 'the end');
		assert.equal(await listener.next(), 'the end');
		await client.close();
		await listener.close();
	});

	test('backends alone publish over HTTP', async () => {
		for (const name of ['room:full', 'room:none']) {
			const answer = await node.request('POST', `/pub/${name}`, { body: 'x', public: true });
			assert.equal(answer.status, 404);
		}
		const asked = await node.request('GET', '/pub/room:full', { public: true });
		assert.equal(asked.status, 404);
	});
});
