/*
 * crowd: many WebSocket clients in processes of their own, so that neither the files of one process
 * nor its event loop is the limit.
 *
 * Crowd.start() runs this very file as a program for each process.
 */
import { fork } from 'node:child_process';
import net from 'node:net';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { kill, track, untrack } from './cleanup.mjs';
import { handshake } from './raw.mjs';
import { slowness } from './test.mjs';

const self = fileURLToPath(import.meta.url);

export class Crowd {
	/*
	 * n clients of `target` in `processes` processes, none connected yet.  The node listens on
	 * 0.0.0.0: each process has another address of the loopback to connect to, since 28,000 ports
	 * are too few for old connections and new.
	 */
	static async start(node, target, n, processes) {
		const crowd = new Crowd();
		crowd.n = n;
		crowd.children = Array.from({ length: processes }, (_, i) => {
			const share = Math.floor(n / processes) + (i < n % processes ? 1 : 0);
			const child = fork(self, [JSON.stringify(
				{ share, target, port: node.ports.public, host: `127.0.0.${i + 1}` })]);
			track(child.pid);
			/* Clients have machines of their own; here they must not take the server's time. */
			os.setPriority(child.pid, 19);
			return child;
		});
		await crowd.ask('hello', 10_000);
		return crowd;
	}

	/* Asks all, and returns their answers.  Rejects after so long, or when one of them ends. */
	ask(what, ms) {
		return Promise.all(this.children.map((child) => new Promise((resolve, reject) => {
			const timer = setTimeout(
				() => done(reject, new Error(`${what}: not within ${ms} ms`)), ms * slowness);
			const onMessage = (value) => done(resolve, value);
			const onExit = (code, signal) => done(reject, new Error(`${what}: ${code ?? signal}`));
			function done(how, value) {
				clearTimeout(timer);
				child.off('message', onMessage).off('exit', onExit);
				how(value);
			}
			child.on('message', onMessage).on('exit', onExit);
			child.send(what);
		})));
	}

	/* Connects all, 200 at a time in each process.  Rejects unless each has its 101. */
	connect(ms) {
		return this.ask('connect', ms);
	}

	/*
	 * Drops all and connects all again at once, again and again where one is refused.  Returns the
	 * milliseconds that the last of all took.
	 */
	async reconnect(ms) {
		return Math.max(...await this.ask('reconnect', ms));
	}

	/* How many have got `text` as a message since they connected. */
	async heard() {
		return (await this.ask('heard', 10_000)).reduce((sum, n) => sum + n, 0);
	}

	async leave() {
		await this.ask('leave', 20_000);
		for (const child of this.children) {
			kill(child.pid);
			untrack(child.pid);
		}
	}
}

/* --- in the process --------------------------------------------------------------------------- */

function serve({ share, target, port, host }) {
	const request = handshake(target);
	let sockets = [];
	let heard = 0;

	/* Resolves when it is served; tries again when it is refused. */
	const open = (i) => new Promise((resolve) => {
		const socket = net.connect({ host, port });
		let served = false;
		sockets[i] = socket;
		socket.on('connect', () => socket.write(request));
		socket.on('data', (data) => {
			if (served) {
				heard++;
			} else if (data.includes('HTTP/1.1 101 ')) {
				served = true;
				resolve();
			} else {
				socket.destroy();
			}
		});
		socket.on('error', () => {});
		socket.on('close', () => {
			if (!served)
				setTimeout(() => open(i).then(resolve), 200 + Math.random() * 800);
		});
	});

	const actions = {
		async hello() {},
		async connect() {
			for (let i = 0; i < share; i += 200) {
				await Promise.all(Array.from({ length: Math.min(200, share - i) },
					(_, k) => open(i + k)));
			}
		},
		async reconnect() {
			const old = sockets;
			sockets = [];
			heard = 0;
			const begun = performance.now();
			old.forEach((socket) => socket.destroy());
			await Promise.all(Array.from({ length: share }, (_, i) => open(i)));
			return performance.now() - begun;
		},
		async heard() {
			return heard;
		},
		async leave() {
			sockets.forEach((socket) => socket.destroy());
			await new Promise((resolve) => setTimeout(resolve, 100));
		},
	};
	process.on('message', (what) => actions[what]().then((value) => process.send(value ?? 0)));
	process.on('disconnect', () => process.exit(0));
}

if (process.argv[1] === self && process.send)
	serve(JSON.parse(process.argv[2]));
