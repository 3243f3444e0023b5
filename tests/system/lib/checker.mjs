/*
 * checker: holds what subscribers received against what was published: each gets every message once
 * and in order, or is told that some may be missing.
 *
 * Messages are those of sequence.mjs.  There is one Checker for a test and one Reader for each channel
 * of each subscriber.  "Told" excuses what is missing before the next message, and nothing else.
 */
import assert from 'node:assert/strict';
import { parseNumbered } from './sequence.mjs';

const SHOWN = 20; /* problems that are told in full */

const print = ({ epoch, offset }) => `${epoch}:${offset}`;

export class Checker {
	/*
	 * repeats: whether a message may come a second time behind a word of what is missing.  So it
	 * is where Redis loses what it had delivered already, and the publisher, who had no answer,
	 * tries again.
	 */
	constructor({ repeats = false } = {}) {
		this.repeats = repeats;
		this.readers = [];
		this.problems = { lost: 0, doubled: 0, reordered: 0, corrupt: 0, misplaced: 0 };
		this.shown = [];
		this.tried = new Map(); /* by channel: by publisher: its last number */
		this.unsure = new Set(); /* messages of which nobody knows whether they were published */
		this.placed = new Map(); /* by channel: which message has which position */
	}

	reader(name, channel) {
		const reader = new Reader(this, name, channel);
		this.readers.push(reader);
		return reader;
	}

	/* The publisher is about to publish its nth message. */
	publishes(channel, publisher, n) {
		const last = this.tried.get(channel) ?? new Map();
		this.tried.set(channel, last.set(publisher, n));
	}

	/* The publisher has no answer, or a refusal, and does not try again. */
	unanswered(channel, publisher, n) {
		this.unsure.add(`${channel} ${publisher} ${n}`);
	}

	/* A message has this position: so says a subscriber, or the answer to its publisher. */
	place({ channel, publisher, n }, position, who) {
		const places = this.placed.get(channel) ?? new Map();
		this.placed.set(channel, places);
		const at = print(position);
		const message = `${publisher} ${n}`;
		const known = places.get(at);
		if (known === undefined)
			places.set(at, message);
		else if (known !== message)
			this.problem('misplaced', `${who}: ${message} at ${at} of ${channel}, where ${known} is`);
	}

	problem(kind, text) {
		this.problems[kind]++;
		if (this.shown.length < SHOWN)
			this.shown.push(`${kind}: ${text}`);
	}

	/* { received, missing: what was told of and is missing, told: { why: times } }, of all. */
	figures() {
		const sum = { received: 0, missing: 0, told: {} };
		for (const reader of this.readers) {
			sum.received += reader.received;
			sum.missing += reader.forgiven;
			for (const [why, n] of Object.entries(reader.words))
				sum.told[why] = (sum.told[why] ?? 0) + n;
		}
		return sum;
	}

	/* Whether each reader has each publisher's last message. */
	complete() {
		return this.readers.every((reader) => reader.behind().length === 0);
	}

	/* At the end: nothing went wrong, and each reader has each publisher's last message. */
	assertComplete() {
		for (const reader of this.readers) {
			reader.close();
			for (const [publisher, n] of reader.behind()) {
				const last = reader.last.get(publisher)?.n ?? 0;
				this.problem('lost', `${reader.name}: ${publisher} ${n}, ${last} is the last`);
			}
		}
		const none = Object.fromEntries(Object.keys(this.problems).map((kind) => [kind, 0]));
		assert.deepEqual(this.problems, none, `\n${this.shown.join('\n')}\n`);
	}
}

class Reader {
	constructor(checker, name, channel) {
		this.checker = checker;
		this.name = `${name}, ${channel}`;
		this.channel = channel;
		this.position = undefined; /* where it stands; undefined: not known */
		this.sure = false; /* whether the next message must be the one behind the position */
		this.last = new Map(); /* by publisher: the last number, and how often told before it */
		this.holes = new Map(); /* by publisher: numbers that are missing without a word */
		this.times = 0; /* told */
		this.words = {};
		this.received = 0;
		this.forgiven = 0;
	}

	/* Messages may be missing before the next. */
	told(why) {
		this.times++;
		this.sure = false;
		this.words[why] = (this.words[why] ?? 0) + 1;
	}

	/* The server has said where the channel stands, and that what comes next is behind that. */
	stands(position) {
		this.position = position;
		this.sure = true;
	}

	/* position: undefined on a plain channel. */
	take(text, position) {
		const message = parseNumbered(text);
		if (message?.channel !== this.channel) {
			this.checker.problem('corrupt', `${this.name}: ${text.slice(0, 100)}`);
			return;
		}
		this.received++;
		if (position !== undefined) {
			this.checker.place(message, position, this.name);
			this.step(position);
		}
		this.count(message);
	}

	/* Positions rise by one, and an epoch does not change without a word. */
	step(position) {
		const last = this.position;
		if (this.sure && (position.epoch !== last.epoch || position.offset !== last.offset + 1)) {
			this.checker.problem('misplaced',
				`${this.name}: ${print(position)} behind ${print(last)}`);
		}
		this.stands(position);
	}

	count({ publisher, n }) {
		const last = this.last.get(publisher) ?? { n: 0, times: 0 };
		const told = last.times !== this.times;
		if (n > last.n + 1) {
			if (told)
				this.forgiven += n - last.n - 1;
			else
				this.miss(publisher, last.n + 1, n);
		} else if (n <= last.n && !(told && this.checker.repeats)) {
			const late = this.holes.get(publisher)?.delete(n);
			this.checker.problem(late ? 'reordered' : 'doubled',
				`${this.name}: ${publisher} ${n} behind ${last.n}`);
			return;
		}
		this.last.set(publisher, { n, times: this.times });
	}

	miss(publisher, from, to) {
		const holes = this.holes.get(publisher) ?? new Set();
		this.holes.set(publisher, holes);
		for (let n = from; n < to; n++)
			holes.add(n);
	}

	/* The publishers whose last message is not the last that came, each with its number. */
	behind() {
		return [...this.checker.tried.get(this.channel) ?? []]
			.filter(([publisher, n]) => this.last.get(publisher)?.n !== n);
	}

	/* What is missing for good is lost, unless its publisher does not know of it either. */
	close() {
		for (const [publisher, holes] of this.holes) {
			for (const n of holes) {
				if (!this.checker.unsure.has(`${this.channel} ${publisher} ${n}`))
					this.checker.problem('lost', `${this.name}: ${publisher} ${n}`);
			}
		}
	}
}
