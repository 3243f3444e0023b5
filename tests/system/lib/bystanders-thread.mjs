/*
 * bystanders-thread: the subscribers and the publisher of bystanders.mjs, which starts this as a
 * thread and asks it by messages { type, value }.
 */
import http from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';
import WebSocket from 'ws';
import { Sequence, numbered } from './sequence.mjs';

const { n, rate, channel, client, headers, url, port } = workerData;

const tell = (type, value) => parentPort.postMessage({ type, value });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(ms, 0)));

const sentAt = [0]; /* when message i left */
const latency = { calm: [] };
const refused = [];
let phase = 'calm';
let sent = 0;
let stopping = false;

class Bystander {
	constructor() {
		this.sequence = new Sequence();
		this.gone = null;
		this.ws = new WebSocket(url, {
			perMessageDeflate: false, handshakeTimeout: 20_000, ...client });
		this.ws.on('message', (data) => this.take(data.toString()));
		this.ws.on('close', (code) => { this.gone ??= code; });
		this.opened = new Promise((resolve, reject) => {
			this.ws.on('open', resolve);
			this.ws.on('error', reject);
		});
	}

	take(text) {
		this.sequence.take(text);
		const number = this.sequence.last.get(`${channel} p`);
		if (number !== undefined)
			latency[phase].push(performance.now() - sentAt[number]);
	}

	result() {
		const { received, lost, doubled, corrupt } = this.sequence;
		return { received, lost, doubled, corrupt, gone: this.gone };
	}
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function post(body) {
	return new Promise((resolve) => {
		const req = http.request({
			host: '127.0.0.1', port, agent, method: 'POST',
			path: `/pub/${encodeURIComponent(channel)}`,
			headers: { 'Content-Type': 'text/plain', 'Content-Length': Buffer.byteLength(body),
				...headers },
		}, (res) => {
			res.resume();
			res.on('end', () => resolve(res.statusCode));
			res.on('error', (error) => resolve(error.code));
		});
		req.on('error', (error) => resolve(error.code ?? error.message));
		req.end(body);
	});
}

async function publish() {
	const begun = performance.now();
	while (!stopping) {
		/* One that is late is sent at once. */
		await sleep(begun + sent * 1000 / rate - performance.now());
		sentAt.push(performance.now());
		const status = await post(numbered(channel, 'p', ++sent));
		if (status !== 200)
			refused.push(`${sent}: ${status}`);
	}
}

const tenths = (ms) => Math.round(ms * 10) / 10;

function quantiles(all) {
	const sorted = Float64Array.from(all).sort();
	const at = (q) => tenths(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]);
	return sorted.length === 0 ? { n: 0 }
		: { n: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

const all = Array.from({ length: n }, () => new Bystander());
/* Whoever is gone waits for nothing more; the others get 5 s for what is under way. */
const complete = () => all.every((b) =>
	b.gone !== null || b.sequence.received + b.sequence.doubled + refused.length >= sent);

async function stop(publishing) {
	stopping = true;
	await publishing;
	for (let i = 0; i < 500 && !complete(); i++)
		await sleep(10);
	await sleep(50); /* for what comes twice */
	const receivers = all.map((b) => b.result());
	all.forEach((b) => b.ws.terminate());
	agent.destroy();
	tell('stop', { sent, refused, receivers, latency: Object.fromEntries(
		Object.entries(latency).map(([name, list]) => [name, quantiles(list)])) });
}

try {
	await Promise.all(all.map((b) => b.opened));
	all.forEach((b) => b.ws.on('error', () => {}));
	const publishing = publish();
	while (!all.every((b) => b.sequence.received > 0))
		await sleep(5);
	parentPort.on('message', ({ type, value }) => {
		if (type === 'phase') {
			phase = value;
			latency[phase] ??= [];
			tell('phase');
		} else if (type === 'stop') {
			stop(publishing);
		}
	});
	tell('ready');
} catch (error) {
	tell('error', error.message);
}
