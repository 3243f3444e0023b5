/*
 * A real browser: every readyState and event of its WebSocket, text and binary, closing, refused
 * handshakes, the demo page; EventSource and fetch, of the same and of other origins; wss with
 * compression.
 */
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { Browser } from './lib/browser.mjs';
import { certificate } from './lib/certs.mjs';
import { kill, removeDir, tempDir } from './lib/cleanup.mjs';
import { Node } from './lib/fanfare.mjs';
import { freePort } from './lib/ports.mjs';
import { after, before, describe, eventually, test } from './lib/test.mjs';

/* For a page: window.listen(url, init) is an EventSource that notes what happens to it. */
function listening() {
	window.listen = (url, init) => {
		const source = new EventSource(url, init);
		source.log = [];
		for (const type of ['open', 'message', 'binary', 'gap', 'error']) {
			source.addEventListener(type, ({ data, origin }) => source.log.push(
				{ type, state: source.readyState, ...(data === undefined ? {} : { data, origin }) }));
		}
		window.sources = [...window.sources ?? [], source];
		return window.sources.length - 1;
	};
}

/* A page that listens to url: how to see its log, and wait until it has n entries. */
async function listen(page, url, init) {
	const i = await page.evaluate(([u, o]) => window.listen(u, o), [url, init]);
	const log = () => page.evaluate((k) => window.sources[k].log, i);
	return {
		log,
		count: (n) => eventually(10_000, `${n} events`, async () => (await log()).length >= n),
		close: () => page.evaluate((k) => window.sources[k].close(), i),
	};
}

describe('browser', () => {
	let node;
	let browser;
	let page;
	before(async () => {
		node = await Node.start({
			workers: 2,
			demo: { enabled: true },
			limits: { message: 1 << 20 },
			channels: [
				{ match: 'echo', publish: 'anyone' },
				{ match: 'demo:*', publish: 'anyone' },
				{ match: 'closed', subscribe: 'nobody' },
			],
		});
		browser = await Browser.start();
		page = await browser.page();
		await page.goto(`http://127.0.0.1:${node.ports.public}/`);
		/* Helpers for the scripts below: a socket that notes what happens to it. */
		await page.evaluate(() => {
			window.noted = (path, protocols) => {
				const ws = new WebSocket(`ws://${location.host}${path}`, protocols);
				ws.log = [`${ws.readyState}`];
				for (const type of ['open', 'message', 'error', 'close'])
					ws.addEventListener(type, () => ws.log.push(`${type} ${ws.readyState}`));
				return ws;
			};
			window.next = (ws, type) => new Promise((resolve, reject) => {
				ws.addEventListener(type, resolve, { once: true });
				setTimeout(() => reject(new Error(`no ${type}: ${ws.log}`)), 8_000);
			});
		});
	});
	after(async () => {
		await browser?.stop();
		await node?.stop();
	});

	test('every readyState and event, in order', async () => {
		const got = await page.evaluate(async () => {
			const ws = window.noted('/ws/echo');
			const constants = [ws.CONNECTING, ws.OPEN, ws.CLOSING, ws.CLOSED];
			await window.next(ws, 'open');
			const { protocol, extensions } = ws;
			ws.send('hello');
			const message = await window.next(ws, 'message');
			ws.close(4321, 'that is all');
			ws.log.push(`${ws.readyState}`);
			const close = await window.next(ws, 'close');
			return {
				constants, protocol, extensions, data: message.data, origin: message.origin,
				code: close.code, wasClean: close.wasClean, log: ws.log,
			};
		});
		assert.deepEqual(got, {
			constants: [0, 1, 2, 3],
			protocol: '',
			extensions: '',
			data: 'hello',
			origin: `ws://127.0.0.1:${node.ports.public}`,
			code: 4321,
			wasClean: true,
			log: ['0', 'open 1', 'message 1', '2', 'close 3'],
		});
	});

	test('what the backend publishes arrives', async () => {
		const got = page.evaluate(async () => {
			const ws = window.noted('/ws/news');
			await window.next(ws, 'open');
			window.opened = true;
			const first = (await window.next(ws, 'message')).data;
			const second = (await window.next(ws, 'message')).data;
			ws.close();
			return [first, second instanceof Blob, [...new Uint8Array(await second.arrayBuffer())]];
		});
		await page.waitForFunction(() => window.opened);
		await node.publish('news', 'äß€😀');
		await node.publish('news', Buffer.from([0, 255, 10]), 'application/octet-stream');
		assert.deepEqual(await got, ['äß€😀', true, [0, 255, 10]]);
	});

	test('binary as Blob and as ArrayBuffer, sent as each kind', async () => {
		const got = await page.evaluate(async () => {
			const ws = window.noted('/ws/echo');
			await window.next(ws, 'open');
			const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
			const results = [];
			for (const binaryType of ['blob', 'arraybuffer']) {
				ws.binaryType = binaryType;
				for (const data of [bytes, bytes.buffer, new Blob([bytes]),
					new DataView(bytes.buffer, 10, 20), new Uint8Array(0)]) {
					ws.send(data);
					const echo = (await window.next(ws, 'message')).data;
					const back = echo instanceof Blob ? await echo.arrayBuffer() : echo;
					results.push([echo.constructor.name, [...new Uint8Array(back)]]);
				}
			}
			ws.close();
			return results;
		});
		const all = Array.from({ length: 256 }, (_, i) => i);
		const each = [all, all, all, all.slice(10, 30), []];
		assert.deepEqual(got,
			['Blob', 'ArrayBuffer'].flatMap((type) => each.map((b) => [type, b])));
	});

	test('text of every length class, bufferedAmount goes back to 0', async () => {
		const got = await page.evaluate(async () => {
			const ws = window.noted('/ws/echo');
			await window.next(ws, 'open');
			const same = [];
			for (const n of [0, 1, 125, 126, 65_535, 65_536, 1 << 20]) {
				const text = 'x'.repeat(n);
				ws.send(text);
				const queued = ws.bufferedAmount;
				const echo = (await window.next(ws, 'message')).data;
				same.push([echo === text, queued <= n, ws.bufferedAmount]);
			}
			ws.close();
			return same;
		});
		for (const one of got)
			assert.deepEqual(one, [true, true, 0]);
	});

	test('a message too large: 1009', async () => {
		const got = await page.evaluate(async () => {
			const ws = window.noted('/ws/echo');
			await window.next(ws, 'open');
			ws.send('x'.repeat((1 << 20) + 1));
			const { code, wasClean } = await window.next(ws, 'close');
			return { code, wasClean };
		});
		assert.deepEqual(got, { code: 1009, wasClean: true });
	});

	test('publishing without the right: 1008 with a reason', async () => {
		const got = await page.evaluate(async () => {
			const ws = window.noted('/ws/news');
			await window.next(ws, 'open');
			ws.send('hello');
			const { code, reason, wasClean } = await window.next(ws, 'close');
			return { code, reason, wasClean, log: ws.log };
		});
		assert.equal(got.code, 1008);
		assert.notEqual(got.reason, '');
		assert.equal(got.wasClean, true);
		assert.deepEqual(got.log, ['0', 'open 1', 'close 3']);
	});

	test('close without arguments: 1005', async () => {
		const got = await page.evaluate(async () => {
			const ws = window.noted('/ws/news');
			await window.next(ws, 'open');
			ws.close();
			const { code, reason, wasClean } = await window.next(ws, 'close');
			return { code, reason, wasClean };
		});
		/* A server may answer an empty close with an empty one or with 1000. */
		assert.ok([1000, 1005].includes(got.code));
		assert.deepEqual(got, { code: got.code, reason: '', wasClean: true });
	});

	test('the subprotocol fanfare.json', async () => {
		const got = await page.evaluate(async () => {
			const ws = window.noted('/ws', ['other', 'fanfare.json']);
			await window.next(ws, 'open');
			const ask = async (command) => {
				ws.send(JSON.stringify(command));
				return JSON.parse((await window.next(ws, 'message')).data);
			};
			const answers = [ws.protocol, await ask({ subscribe: 'news', id: 1 }),
				await ask({ publish: 'echo', data: { a: 1 } }), await ask({ unsubscribe: 'news' })];
			ws.close(1000);
			return answers;
		});
		assert.deepEqual(got, ['fanfare.json', { subscribed: 'news', id: 1 }, { published: 'echo' },
			{ unsubscribed: 'news' }]);
	});

	test('a refused handshake: error, then close with 1006', async () => {
		for (const target of ['/ws/closed', '/ws', '/ws/a%20b', '/nothing']) {
			const got = await page.evaluate(async (path) => {
				const ws = window.noted(path);
				const { code, reason, wasClean } = await window.next(ws, 'close');
				return { code, reason, wasClean, log: ws.log };
			}, target);
			assert.deepEqual(got,
				{ code: 1006, reason: '', wasClean: false, log: ['0', 'error 3', 'close 3'] });
		}
	});

	test('a page of another site is refused', async () => {
		const other = await browser.page();
		await other.route('http://evil.example/', (route) =>
			route.fulfill({ body: '<p>evil</p>', contentType: 'text/html' }));
		await other.goto('http://evil.example/');
		const code = await other.evaluate((port) => new Promise((resolve) => {
			const ws = new WebSocket(`ws://127.0.0.1:${port}/ws/news`);
			ws.onopen = () => resolve('open');
			ws.onclose = (event) => resolve(event.code);
		}), node.ports.public);
		assert.equal(code, 1006);
		await other.close();
	});

	test('50 sockets of one page', async () => {
		const got = page.evaluate(async () => {
			const all = Array.from({ length: 50 }, () => window.noted('/ws/fifty'));
			await Promise.all(all.map((ws) => window.next(ws, 'open')));
			const messages = all.map((ws) => window.next(ws, 'message'));
			window.fifty = true;
			const data = (await Promise.all(messages)).map((m) => m.data);
			all.forEach((ws) => ws.close());
			return data;
		});
		await page.waitForFunction(() => window.fifty);
		await node.publish('fifty', 'hello');
		assert.deepEqual(await got, Array.from({ length: 50 }, () => 'hello'));
	});

	test('EventSource: text, binary, gaps, and its own reconnecting', async () => {
		await page.evaluate(listening);
		const source = await listen(page, '/sse/news?channel=other');
		await source.count(1);
		await node.publish('news', 'one\r\ntwo\n');
		await node.publish('other', '');
		await node.publish('news', 'äß€😀');
		await node.publish('news', Buffer.from([0, 255, 10]), 'application/octet-stream');
		await source.count(5);
		const old = node.role('hub');
		kill(old);
		await node.replaced('hub', old);
		await source.count(7);
		const origin = `http://127.0.0.1:${node.ports.public}`;
		const log = await source.log();
		assert.deepEqual(log.slice(0, 5), [
			{ type: 'open', state: 1 },
			{ type: 'message', state: 1, data: 'one\ntwo\n', origin },
			{ type: 'message', state: 1, data: '', origin },
			{ type: 'message', state: 1, data: 'äß€😀', origin },
			{ type: 'binary', state: 1, data: 'AP8K', origin },
		]);
		assert.deepEqual(log.slice(5).map((e) => `${e.type} ${e.data}`).sort(),
			['gap news', 'gap other']);
		/* A stream that ends is opened again by the browser, after some seconds. */
		const workers = [node.role('worker 0'), node.role('worker 1')];
		workers.forEach((pid) => kill(pid));
		await source.count(9);
		assert.deepEqual((await source.log()).slice(7),
			[{ type: 'error', state: 0 }, { type: 'open', state: 1 }]);
		await node.ready();
		await node.publish('news', 'back again');
		await source.count(10);
		await source.close();
	});

	test('EventSource: refused for good', async () => {
		await page.evaluate(listening);
		for (const target of ['/sse/closed', '/sse', '/sse/a%20b', '/nothing']) {
			const source = await listen(page, target);
			await source.count(1);
			assert.deepEqual(await source.log(), [{ type: 'error', state: 2 }]);
		}
	});

	describe('the demo page', () => {
		let demo;
		before(async () => {
			demo = await browser.page();
			await demo.goto(`http://127.0.0.1:${node.ports.public}/`);
		});

		const text = () => demo.evaluate(() => document.body.innerText);
		const shows = (what) => eventually(5_000, `the page to show ${what}`, async () =>
			(await text()).includes(what));

		test('connects by itself', async () => {
			/* The page of the tests above is one. */
			await eventually(5_000, 'two subscribers', async () =>
				await node.subscribers('demo:news') === 2);
			await browser.screenshot(demo, 'demo-connected');
		});

		test('shows what a POST publishes', async () => {
			await node.publish('demo:news', 'posted from a backend');
			await shows('posted from a backend');
		});

		test('shows what it publishes itself, and the latency', async () => {
			await demo.locator('#text').fill('typed into the page');
			await demo.keyboard.press('Enter');
			const row = demo.locator('#messages li', { hasText: 'typed into the page' });
			await row.waitFor();
			assert.match(await row.innerText(), /\d\s*ms/);
			await eventually(3_000, 'the latency', async () =>
				/\d ms/.test(await demo.locator('#median').innerText()));
			await browser.screenshot(demo, 'demo-messages');
		});

		test('publishes JSON as JSON, by the button', async () => {
			await demo.locator('#text').fill('{"a": [1, 2]}');
			await demo.locator('#send').click();
			await shows('{"a":[1,2]}');
		});

		test('subscribes to another channel and leaves it', async () => {
			await demo.locator('#channel').fill('demo:other');
			await demo.keyboard.press('Enter');
			await eventually(5_000, 'the subscriber', async () =>
				await node.subscribers('demo:other') === 1);
			await node.publish('demo:other', 'to the other');
			await shows('to the other');
			await demo.getByLabel('Unsubscribe from demo:other').click();
			await eventually(5_000, 'no subscriber', async () =>
				await node.subscribers('demo:other') === 0);
		});

		test('comes back after the server was away', async () => {
			const old = [node.role('worker 0'), node.role('worker 1')];
			old.forEach((pid) => kill(pid));
			await node.replaced('worker 0', old[0]);
			await node.replaced('worker 1', old[1]);
			/* This page and the one of the tests above. */
			await eventually(8_000, 'the subscribers', async () =>
				await node.readyStatus() === 200 && await node.subscribers('demo:news') === 2);
			await node.publish('demo:news', 'back again');
			await shows('back again');
		});

		test('shows markup as text', async () => {
			await node.publish('demo:news', '<img src=x onerror="window.hit=1"><b>bold</b>');
			await shows('<b>bold</b>');
			assert.equal(await demo.evaluate(() => window.hit), undefined);
		});

		test('has no errors, and fits a phone', async () => {
			assert.deepEqual(demo.errors, []);
			await demo.setViewportSize({ width: 375, height: 700 });
			const wide = await demo.evaluate(() =>
				document.documentElement.scrollWidth - window.innerWidth);
			assert.ok(wide <= 0, `${wide} pixels too wide`);
			await browser.screenshot(demo, 'demo-phone');
		});
	});
});

describe('browser: pages of other origins', () => {
	const KEY = 'a-key-of-at-least-16';
	let pages;
	let node;
	let browser;
	let good;
	let bad;
	before(async () => {
		const port = await freePort();
		pages = http.createServer((req, res) => res.setHeader('Content-Type', 'text/html').end('<p>'));
		pages.listen(port, '127.0.0.1');
		node = await Node.start({ api: { key: KEY }, origins: [`http://localhost:${port}`] });
		browser = await Browser.start();
		good = await browser.page();
		await good.goto(`http://localhost:${port}/`);
		bad = await browser.page();
		await bad.goto(`http://127.0.0.1:${port}/`);
		for (const page of [good, bad])
			await page.evaluate(listening);
	});
	after(async () => {
		pages?.close();
		await browser?.stop();
		await node?.stop();
	});

	const url = (target) => `http://127.0.0.1:${node.ports.public}${target}`;
	const publish = (text) => node.request('POST', '/pub/news',
		{ body: text, headers: { 'X-API-Key': KEY } });

	/* What fetch tells the page: status and body, or the name of the error. */
	const fetched = (page, target, init) => page.evaluate(async ([u, i]) => {
		try {
			const answer = await fetch(u, i);
			return { status: answer.status, body: await answer.text() };
		} catch (error) {
			return error.name;
		}
	}, [url(target), init]);

	test('EventSource of one that is let in', async () => {
		const source = await listen(good, url('/sse/news'));
		await source.count(1);
		await publish('to another origin');
		await source.count(2);
		assert.deepEqual(await source.log(), [{ type: 'open', state: 1 },
			{ type: 'message', state: 1, data: 'to another origin', origin: url('') }]);
		await source.close();
	});

	test('EventSource of one that is not', async () => {
		const source = await listen(bad, url('/sse/news'));
		await source.count(1);
		assert.deepEqual(await source.log(), [{ type: 'error', state: 2 }]);
	});

	test('EventSource with credentials is refused by the browser', async () => {
		const source = await listen(good, url('/sse/news'), { withCredentials: true });
		await source.count(1);
		assert.deepEqual(await source.log(), [{ type: 'error', state: 2 }]);
	});

	test('a stream by fetch, with a header of its own', async () => {
		const got = await good.evaluate(async (u) => {
			const answer = await fetch(u, { headers: { 'Last-Event-ID': 'a:1' } });
			const reader = answer.body.getReader();
			const { value } = await reader.read();
			await reader.cancel();
			return [answer.status, new TextDecoder().decode(value)];
		}, url('/sse/news'));
		assert.deepEqual(got, [200, ': open\n\n']);
	});

	test('POST /pub with the key', async () => {
		const source = await listen(good, url('/sse/news'));
		await source.count(1);
		for (const headers of [{ 'X-API-Key': KEY, 'Content-Type': 'application/json' },
			{ Authorization: `Bearer ${KEY}` }]) {
			const answer = await fetched(good, '/pub/news', { method: 'POST', headers, body: '{"a":1}' });
			assert.deepEqual(answer, { status: 200, body: '{}\n' });
		}
		/* It reads what went wrong, too. */
		const { status, body } = await fetched(good, '/pub/news', { method: 'POST', body: 'x' });
		assert.equal(status, 401);
		assert.equal(JSON.parse(body).error.code, 401);
		/* The other page cannot, nor does what it sends arrive. */
		for (const headers of [{ 'X-API-Key': KEY }, { 'Content-Type': 'text/plain' }]) {
			assert.equal(await fetched(bad, '/pub/news', { method: 'POST', headers, body: 'bad' }),
				'TypeError');
		}
		await publish('last');
		await source.count(4);
		const data = (await source.log()).slice(1).map((e) => e.data);
		assert.deepEqual(data, ['{"a":1}', '{"a":1}', 'last']);
		await source.close();
	});
});

/* Passes bytes on to a port, and counts those that come back. */
async function counting(to) {
	const counter = { bytes: 0, port: await freePort() };
	counter.server = net.createServer((client) => {
		const server = net.connect(to, '127.0.0.1');
		server.on('data', (data) => { counter.bytes += data.length; });
		client.on('error', () => server.destroy());
		server.on('error', () => client.destroy());
		client.pipe(server).pipe(client);
	}).listen(counter.port, '127.0.0.1');
	return counter;
}

describe('browser: wss with compression', () => {
	let dir;
	let node;
	let counter;
	let browser;
	let page;
	before(async () => {
		dir = tempDir('tls');
		const ca = certificate(dir, 'authority');
		const cert = certificate(dir, 'server', { names: ['localhost', '127.0.0.1'], ca });
		/* Chromium trusts this one key, whoever has signed it. */
		const key = crypto.createPublicKey(fs.readFileSync(cert.pem));
		const pin = crypto.createHash('sha256').update(key.export({ type: 'spki', format: 'der' }))
			.digest('base64');
		const ports = { public: await freePort(), internal: await freePort() };
		const secure = await freePort();
		node = await Node.start({
			demo: { enabled: true },
			deflate: { enabled: true },
			tls: { certificates: [cert.item] },
			listen: { public: [`127.0.0.1:${ports.public}`, `127.0.0.1:${secure} tls`] },
			channels: [{ match: 'echo', publish: 'anyone' }],
		}, { ports });
		counter = await counting(secure);
		browser = await Browser.start({ args: [`--ignore-certificate-errors-spki-list=${pin}`] });
		page = await browser.page();
		await page.goto(`https://127.0.0.1:${secure}/`);
	});
	after(async () => {
		counter?.server.close();
		await browser?.stop();
		await node?.stop();
		removeDir(dir);
	});

	/* Texts of 1 KiB as a backend might send them. */
	const texts = Array.from({ length: 100 }, (_, i) => JSON.stringify({
		id: i,
		items: Array.from({ length: 22 }, (_, k) => ({ name: `item ${k}`, price: 100 + i * k,
			currency: 'EUR' })),
	}));

	test('messages arrive compressed', async () => {
		const opened = await page.evaluate((port) => new Promise((resolve, reject) => {
			window.got = [];
			window.ws = new WebSocket(`wss://127.0.0.1:${port}/ws/news`);
			window.ws.onopen = () => resolve(window.ws.extensions);
			window.ws.onmessage = (event) => window.got.push(event.data);
			window.ws.onclose = (event) => reject(new Error(`closed with ${event.code}`));
		}), counter.port);
		assert.match(opened, /^permessage-deflate/);
		const before = counter.bytes;
		for (const text of texts)
			await node.publish('news', text, 'application/json');
		await page.waitForFunction((n) => window.got.length === n, texts.length);
		assert.deepEqual(await page.evaluate(() => window.got), texts);
		const plain = texts.reduce((sum, text) => sum + text.length, 0);
		assert.ok(texts.every((text) => text.length >= 1_000));
		const used = counter.bytes - before;
		assert.ok(used < plain / 2, `${used} of ${plain} bytes`);
	});

	test('what the page sends compressed is echoed', async () => {
		const got = await page.evaluate(async ([port, all]) => {
			const ws = new WebSocket(`wss://127.0.0.1:${port}/ws/echo`);
			const echoes = [];
			await new Promise((resolve) => { ws.onopen = resolve; });
			const done = new Promise((resolve, reject) => {
				ws.onmessage = ({ data }) => {
					if (echoes.push(data) === all.length)
						resolve();
				};
				ws.onclose = (event) => reject(new Error(`closed with ${event.code}`));
			});
			all.forEach((text) => ws.send(text));
			await done;
			return echoes;
		}, [counter.port, texts]);
		assert.deepEqual(got, texts);
	});

	test('EventSource by https', async () => {
		await page.evaluate(listening);
		const source = await listen(page, '/sse/news');
		await source.count(1);
		await node.publish('news', 'secure');
		await source.count(2);
		assert.equal((await source.log())[1].data, 'secure');
		await source.close();
	});
});
