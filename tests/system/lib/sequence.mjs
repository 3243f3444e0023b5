/*
 * sequence: finds what was lost, doubled, reordered or corrupted.
 *
 * Each publisher numbers its messages on a channel 1, 2, 3…; each message carries a filler and
 * its sum, so that cut or mixed payloads show.
 */
import assert from 'node:assert/strict';
import crypto from 'node:crypto';

const sum = (text) => crypto.createHash('sha1').update(text).digest('hex').slice(0, 12);

export function numbered(channel, publisher, n, size = n % 97) {
	const body = `${channel} ${publisher} ${n} ${'x'.repeat(size)}`;
	return `${body} ${sum(body)}`;
}

/* What numbered() was given: { channel, publisher, n }; undefined: the text is not as it was made. */
export function parseNumbered(text) {
	const cut = text.lastIndexOf(' ');
	const body = text.slice(0, cut);
	if (sum(body) !== text.slice(cut + 1))
		return undefined;
	const [channel, publisher, n] = body.split(' ', 3);
	return { channel, publisher, n: Number(n) };
}

/* One for each receiver. */
export class Sequence {
	constructor() {
		this.last = new Map(); /* by channel and publisher */
		this.received = 0;
		this.lost = 0;
		this.doubled = 0; /* or out of order: seen at a number below the last */
		this.corrupt = 0;
	}

	take(text) {
		const message = parseNumbered(text);
		if (message === undefined) {
			this.corrupt++;
			return;
		}
		const { channel, publisher, n } = message;
		const key = `${channel} ${publisher}`;
		const last = this.last.get(key) ?? 0;
		this.received++;
		if (n <= last) {
			this.doubled++;
			return;
		}
		this.lost += n - last - 1;
		this.last.set(key, n);
	}

	/* Nothing wrong, and exactly `n` messages. */
	assertComplete(n) {
		const { received, lost, doubled, corrupt } = this;
		assert.deepEqual({ received, lost, doubled, corrupt },
			{ received: n, lost: 0, doubled: 0, corrupt: 0 });
	}

	/* Nothing doubled, out of order or corrupt; some may be missing. */
	assertOrdered() {
		const { doubled, corrupt } = this;
		assert.deepEqual({ doubled, corrupt }, { doubled: 0, corrupt: 0 });
	}
}
