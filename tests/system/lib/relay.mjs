/*
 * relay: carries TCP connections to a port of the loopback, and does what networks do: stands still,
 * cuts, and leads elsewhere.
 */
import net from 'node:net';
import { freePort } from './ports.mjs';

export class Relay {
	static async start(target) {
		const relay = new Relay();
		relay.target = target; /* of connections to come */
		relay.held = false;
		relay.pairs = new Set();
		relay.port = await freePort();
		relay.server = net.createServer((socket) => relay.carry(socket));
		await new Promise((resolve) => {
			relay.server.listen(relay.port, '127.0.0.1', resolve);
		});
		return relay;
	}

	get url() {
		return `redis://127.0.0.1:${this.port}`;
	}

	carry(down) {
		const pair = [down];
		this.pairs.add(pair);
		const over = () => {
			pair.forEach((socket) => socket.destroy());
			this.pairs.delete(pair);
		};
		down.on('error', () => {}).on('close', over);
		if (this.held)
			return; /* a hole from the beginning */
		const up = net.connect(this.target, '127.0.0.1');
		pair.push(up);
		up.on('error', () => {}).on('close', over);
		down.pipe(up);
		up.pipe(down);
	}

	/* From here on nothing is carried and nothing ends, until cut(). */
	hold() {
		this.held = true;
		for (const pair of this.pairs) {
			for (const socket of pair)
				socket.unpipe().pause();
		}
	}

	/* Ends all connections; those to come are carried. */
	cut() {
		this.held = false;
		for (const pair of [...this.pairs])
			pair.forEach((socket) => socket.destroy());
	}

	stop() {
		this.cut();
		return new Promise((resolve) => { this.server.close(resolve); });
	}
}
