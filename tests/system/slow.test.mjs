/*
 * Clients that stop reading: they are let go at the limits of the queue and of the time, and the
 * others do not notice.  The same for a worker.
 */
import assert from 'node:assert/strict';
import { Client, json, openMany } from './lib/clients.mjs';
import { ms, Node, run } from './lib/fanfare.mjs';
import { OP, RawClient, frame } from './lib/raw.mjs';
import { Sequence, numbered } from './lib/sequence.mjs';
import { after, before, describe, eventually, sleep, test } from './lib/test.mjs';

/* A client that has stopped reading.  Its socket takes little, so that this shows soon. */
async function stopped(node, target) {
	const client = await RawClient.open(node, target);
	client.socket.pause();
	return client;
}

/* The same with fanfare.json. */
async function stoppedJson(node, target) {
	const client = await RawClient.open(node, target, { 'Sec-WebSocket-Protocol': 'fanfare.json' });
	client.socket.pause();
	return client;
}

/*
 * Goes on reading until the last of the channels has told of its gap; returns the numbers of each
 * channel's messages, and checks that each message is whole and comes before its channel's gap.
 */
async function readToGaps(client, channels) {
	const got = Object.fromEntries(channels.map((c) => [c, []]));
	const gaps = new Set();
	client.socket.resume();
	while (gaps.size < channels.length) {
		const { opcode, data } = await client.frameButPing();
		assert.equal(opcode, OP.TEXT);
		const message = JSON.parse(data);
		if (message.gap) {
			assert.ok(!gaps.has(message.gap), 'told twice');
			gaps.add(message.gap);
			continue;
		}
		const sequence = new Sequence();
		sequence.take(message.data);
		sequence.assertOrdered();
		assert.ok(!gaps.has(message.channel));
		got[message.channel].push(sequence.last.get(`${message.channel} p`));
	}
	return got;
}

/* Where the numbers do not go on one by one; they never go back. */
function holes(numbers) {
	const at = [];
	for (let i = 1; i < numbers.length; i++) {
		assert.ok(numbers[i] > numbers[i - 1], 'out of order');
		if (numbers[i] !== numbers[i - 1] + 1)
			at.push(i);
	}
	return at;
}

/* Reads what is left; returns the close frame, or undefined where the connection was cut. */
async function readOut(client) {
	client.socket.resume();
	await client.end(5_000);
	for (;;) {
		const f = client.takeFrame();
		if (f === undefined || f.opcode === OP.CLOSE)
			return f;
	}
}

describe('slow: over the queue', () => {
	let node;
	before(async () => {
		node = await Node.start({
			workers: 2,
			limits: { stall: ms(60_000), close: ms(1_000), ping_interval: ms(60_000) },
			channels: [{ match: 'echo', publish: 'anyone' }],
		});
	});
	after(() => node?.stop());

	test('who does not read is let go, and others lose nothing', { timeout: 60 }, async () => {
		const good = await openMany(10, () => Client.open(node.url('/ws/flood')));
		const sequences = good.map(() => new Sequence());
		good.forEach((c, i) => { c.onMessage = (m) => sequences[i].take(m); });
		const bad = await Promise.all(Array.from({ length: 4 }, () => stopped(node, '/ws/flood')));
		assert.equal(await node.subscribers('flood'), 14);

		let n = 0;
		const end = Date.now() + 25_000;
		while (await node.subscribers('flood') > 10) {
			assert.ok(Date.now() < end, 'the slow ones are still there');
			/* Not more at once than may wait for the good ones. */
			for (let i = 0; i < 20; i++)
				await node.publish('flood', numbered('flood', 'p', ++n, 32_000));
			await Promise.all(good.map((c) => c.count(n)));
		}
		sequences.forEach((s) => s.assertComplete(n));
		for (const client of bad) {
			const close = await readOut(client);
			assert.ok(close === undefined || close.code === 1013, `${close?.code}`);
			client.destroy();
		}
		good.forEach((c) => c.terminate());
	});

	test('one message longer than the queue is no reason', async () => {
		const client = await Client.open(node.url('/ws/echo'));
		const big = 'x'.repeat(65_536);
		for (let i = 0; i < 20; i++) {
			client.send(big);
			assert.equal(await client.next(), big);
		}
		client.terminate();
	});

	test('who reads slowly, but reads, stays', { timeout: 60 }, async () => {
		const client = await RawClient.open(node, '/ws/patient');
		const text = 'x'.repeat(8_000);
		for (let i = 0; i < 60; i++) {
			client.socket.pause();
			await node.publish('patient', text);
			await node.publish('patient', text);
			await sleep(20);
			client.socket.resume();
			for (let k = 0; k < 2; k++)
				assert.equal((await client.frame()).data.length, text.length);
		}
		client.destroy();
	});

	test('a client that sends pings and does not read costs little', { timeout: 60 }, async () => {
		const client = await stopped(node, '/ws/pings');
		const pings = Buffer.concat(Array.from({ length: 2_000 }, () =>
			frame(OP.PING, 'p'.repeat(125))));
		for (let i = 0; i < 20; i++) {
			client.send(pings);
			await sleep(5);
		}
		/* The others go on. */
		const other = await Client.open(node.url('/ws/pings2'));
		await node.publish('pings2', 'hello');
		assert.equal(await other.next(), 'hello');
		other.terminate();
		client.destroy();
		await eventually(3_000, 'the client to go', async () =>
			await node.subscribers('pings') === 0);
	});
});

describe('slow: stalled for too long', () => {
	test('a queue that does not move is given up in time', { timeout: 60 }, async () => {
		const STALL = 1_500;
		const node = await Node.start({
			limits: { queue: 64 << 20, stall: ms(STALL), close: ms(1_000),
				ping_interval: ms(60_000) },
		});
		const good = await Client.open(node.url('/ws/stall'));
		const bad = await stopped(node, '/ws/stall');
		/* More than the kernel's buffers of both ends hold, and far less than the queue may. */
		const N = 400;
		for (let i = 0; i < N; i++)
			await node.publish('stall', 'x'.repeat(30_000));
		assert.equal(await node.subscribers('stall'), 2, 'let go too soon');
		const begun = Date.now();
		await eventually(STALL * 2 + 2_000, 'it to be let go', async () =>
			await node.subscribers('stall') === 1);
		assert.ok(Date.now() - begun < STALL * 2 + 1_500);
		await good.count(N);
		const close = await readOut(bad);
		assert.ok(close === undefined || close.code === 1013);
		bad.destroy();
		good.terminate();
		await node.stop();
	});
});

describe('slow: the close frame', () => {
	let node;
	before(async () => {
		node = await Node.start({
			limits: { queue: 256 << 10, stall: ms(60_000), close: ms(20_000),
				ping_interval: ms(60_000) },
		});
	});
	after(() => node?.stop());

	test('who reads on in time finds 1013 behind what has begun', { timeout: 60 }, async () => {
		const N = 400; /* more than the kernel's buffers and the queue hold */
		const client = await stopped(node, '/ws/kick');
		for (let n = 1; n <= N; n++)
			await node.publish('kick', numbered('kick', 'p', n, 30_000));
		const sequence = new Sequence();
		client.socket.resume();
		for (;;) {
			const f = await client.frame();
			if (f.opcode === OP.CLOSE) {
				assert.equal(f.code, 1013);
				break;
			}
			sequence.take(f.data.toString());
		}
		/* What had begun, from the first on, and nothing after that. */
		sequence.assertComplete(sequence.received);
		assert.ok(sequence.received > 0 && sequence.received < N);
		client.destroy();
	});
});

describe('slow: what may be left out', () => {
	const STALL = 500;
	const N = 400;
	const SIZE = 30_000; /* N of them are more than the kernel's buffers and the queue hold */
	let node;
	before(async () => {
		node = await Node.start({
			limits: { queue: 256 << 10, stall: ms(STALL), ping_interval: ms(60_000) },
			channels: [{ match: 'old*', slow: 'drop-oldest' }, { match: 'new*', slow: 'latest' }],
		});
	});
	after(() => node?.stop());

	const publishAll = async (channels, from, to) => {
		for (let n = from; n <= to; n++) {
			for (const channel of channels)
				await node.publish(channel, numbered(channel, 'p', n, SIZE));
		}
	};

	/* One more message comes behind all that waited. */
	const assertLive = async (client, channel) => {
		await node.publish(channel, numbered(channel, 'p', N + 1));
		const { data } = await client.frameButPing();
		assert.equal(JSON.parse(data).data, numbered(channel, 'p', N + 1));
	};

	test('drop-oldest: a beginning, a hole, the newest without a hole, and word of it',
		{ timeout: 60 }, async () => {
			const client = await stoppedJson(node, '/ws/old1');
			await publishAll(['old1'], 1, N);
			/* Standing still is no reason to end it. */
			await sleep(STALL * 3);
			assert.equal(await node.subscribers('old1'), 1);
			const { old1 } = await readToGaps(client, ['old1']);
			assert.equal(old1[0], 1);
			assert.equal(old1.at(-1), N);
			assert.equal(holes(old1).length, 1);
			assert.ok(old1.length - holes(old1)[0] >= 4, 'less was kept than may wait');
			await assertLive(client, 'old1');
			client.destroy();
		});

	test('latest: at the end the last message of each channel', { timeout: 60 }, async () => {
		const channels = ['new1', 'new2', 'new3'];
		const client = await stoppedJson(
			node, `/ws?${channels.map((c) => `channel=${c}`).join('&')}`);
		await publishAll(channels, 1, N);
		await sleep(STALL * 3);
		assert.equal(await node.subscribers('new2'), 1);
		const got = await readToGaps(client, channels);
		for (const channel of channels) {
			assert.equal(got[channel].at(-1), N);
			assert.ok(holes(got[channel]).length <= 2, 'it caught up in between');
			assert.ok(got[channel].length < N);
		}
		for (const channel of channels)
			await assertLive(client, channel);
		client.destroy();
	});

	test('channels with different rules on one connection', { timeout: 60 }, async () => {
		const client = await stoppedJson(node, '/ws?channel=old2&channel=new4');
		await publishAll(['old2', 'new4'], 1, N);
		const { old2, new4 } = await readToGaps(client, ['old2', 'new4']);
		assert.equal(old2.at(-1), N);
		assert.equal(new4.at(-1), N);
		const [hole] = holes(old2);
		assert.ok(old2.length - hole >= 4);
		assert.equal(new4.filter((n) => n >= old2[hole]).length, 1);
		await assertLive(client, 'old2');
		client.destroy();
	});

	test('who has no words for a gap goes on without', { timeout: 60 }, async () => {
		const client = await stopped(node, '/ws/new5');
		await publishAll(['new5'], 1, N);
		client.socket.resume();
		const numbers = [];
		while (numbers.at(-1) !== N) {
			const sequence = new Sequence();
			sequence.take((await client.frameButPing()).data.toString());
			sequence.assertOrdered();
			numbers.push(sequence.last.get('new5 p'));
		}
		assert.ok(numbers.length < N);
		await node.publish('new5', 'on');
		assert.equal((await client.frameButPing()).data.toString(), 'on');
		client.destroy();
	});

	test('a rule that is not known, and default where there is none', async () => {
		for (const slow of ['default', 'sometimes']) {
			const { code, stderr } = await run(['check', '--set', `limits.slow=${slow}`]);
			assert.notEqual(code, 0);
			assert.match(stderr, /limits\.slow/);
		}
	});
});

describe('slow: a worker that stands still', () => {
	/* Whether the worker of this client answers. */
	const answers = (client) => new Promise((resolve) => {
		client.ws.once('pong', () => resolve(true));
		client.ws.ping();
		setTimeout(() => resolve(false), 1_000);
	});

	test('its queue is bounded, the others go on, and its clients are told of the gap',
		{ timeout: 60 }, async () => {
			const node = await Node.start({
				workers: 2,
				limits: { link_queue: 1 << 20, queue: 32 << 20, commands: 0 },
				channels: [{ match: 'echo', publish: 'anyone' }],
			});
			const clients = await openMany(12, () => json(node, '/ws/echo'));
			for (const client of clients) {
				client.sequence = new Sequence();
				client.gaps = 0;
				client.onMessage = (m) => {
					const { data, gap } = JSON.parse(m);
					if (data !== undefined)
						client.sequence.take(data);
					else if (gap === 'echo')
						client.gaps++;
				};
			}
			const stuck = node.role('worker 1');
			const N = 300;
			process.kill(stuck, 'SIGSTOP');
			let waiting;
			let going;
			try {
				const live = await Promise.all(clients.map(answers));
				waiting = clients.filter((_, i) => !live[i]);
				going = clients.filter((_, i) => live[i]);
				assert.ok(going.length > 0 && waiting.length > 0);
				for (let n = 1; n <= N; n++) {
					const data = numbered('echo', 'p', n, 30_000);
					going[0].send(JSON.stringify({ publish: 'echo', data }));
					await eventually(5_000, `message ${n}`, () =>
						going[0].sequence.last.get('echo p') === n);
				}
				await eventually(5_000, 'the others', () =>
					going.every((c) => c.sequence.last.get('echo p') === N));
				going.forEach((c) => c.sequence.assertComplete(N));
			} finally {
				process.kill(stuck, 'SIGCONT');
			}
			/* What comes before its queue is empty may be left out too. */
			await eventually(5_000, 'word of the gap', () => waiting.every((c) => c.gaps > 0));
			const last = numbered('echo', 'p', N + 1);
			going[0].send(JSON.stringify({ publish: 'echo', data: last }));
			await eventually(5_000, 'the last message', () =>
				clients.every((c) => c.sequence.last.get('echo p') === N + 1));
			for (const client of waiting) {
				assert.equal(client.gone, undefined);
				client.sequence.assertOrdered();
				assert.ok(client.sequence.lost > 0, 'all of it was kept');
			}
			going.forEach((c) => assert.equal(c.gaps, 0));
			clients.forEach((c) => c.terminate());
			await node.stop();
		});
});
