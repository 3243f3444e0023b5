/*
 * A real browser: every readyState and event of its WebSocket, text and binary, closing, refused
 * handshakes, and the demo page.
 */
import assert from 'node:assert/strict';
import { Browser } from './lib/browser.mjs';
import { kill } from './lib/cleanup.mjs';
import { Node } from './lib/fanfare.mjs';
import { after, before, describe, eventually, test } from './lib/test.mjs';

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
