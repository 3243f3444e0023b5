/*
 * app: the application's backend as Fanfare's hooks meet it.
 */
import http from 'node:http';
import { freePort } from './ports.mjs';
import { eventually } from './test.mjs';

export class App {
	/* answers: { connect, subscribe, publish, disconnect }: functions of the event, see answer(). */
	static async start(answers = {}) {
		const app = new App();
		app.answers = answers;
		app.asked = []; /* events, as they came */
		app.requests = []; /* their heads */
		app.port = await freePort();
		await app.back();
		return app;
	}

	/*
	 * An answer is an object, sent as JSON; or { status, text } for another; undefined is {}.  It may
	 * come later, by a promise.
	 */
	async answer(req, res) {
		const event = JSON.parse(Buffer.concat(await req.toArray()));
		this.asked.push(event);
		this.requests.push({ method: req.method, url: req.url, headers: req.headers });
		const answer = await this.answers[event.event]?.(event) ?? {};
		res.statusCode = answer.status ?? 200;
		res.end(answer.text ?? (answer.status === undefined ? JSON.stringify(answer) : ''));
	}

	/* Nobody listens any more. */
	async away() {
		const closed = new Promise((resolve) => { this.server.close(resolve); });
		this.server.closeAllConnections();
		await closed;
	}

	async back() {
		this.server = http.createServer((req, res) => {
			this.answer(req, res).catch(() => res.destroy());
		});
		await new Promise((resolve, reject) => {
			this.server.on('error', reject);
			this.server.listen(this.port, '127.0.0.1', resolve);
		});
	}

	url(name) {
		return `http://127.0.0.1:${this.port}/${name}`;
	}

	/* The part `hooks` of a configuration with these hooks. */
	hooks(...names) {
		return Object.fromEntries(names.map((name) => [name, this.url(name)]));
	}

	/* The events of this kind that were asked or told. */
	of(kind) {
		return this.asked.filter((event) => event.event === kind);
	}

	/* Waits until n of a kind have come. */
	heard(kind, n = 1) {
		return eventually(5_000, `${n} of ${kind}`, () => this.of(kind).length >= n && this.of(kind));
	}

	forget() {
		this.asked = [];
		this.requests = [];
	}

	stop() {
		return this.away();
	}
}
