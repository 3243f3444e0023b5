/*
 * The checker of the delivery tests finds what it is there to find, and every test that
 * docs/DELIVERY.md names as a proof exists.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Checker } from './lib/checker.mjs';
import { numbered } from './lib/sequence.mjs';
import { describe, test } from './lib/test.mjs';

const top = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..');

describe('the checker', () => {
	/* A reader of channel c to whom messages of publisher p come by number, at the positions n. */
	function stream(options) {
		const checker = new Checker(options);
		const reader = checker.reader('ann', 'c');
		const take = (n, position = { epoch: 'E', offset: n }) =>
			reader.take(numbered('c', 'p', n), position);
		reader.stands({ epoch: 'E', offset: 0 });
		return { checker, reader, take };
	}

	/* Exactly these problems are found, and nothing else. */
	function finds(checker, last, problems) {
		const none = { lost: 0, doubled: 0, reordered: 0, corrupt: 0, misplaced: 0 };
		checker.publishes('c', 'p', last);
		assert.throws(() => checker.assertComplete(), assert.AssertionError);
		assert.deepEqual(checker.problems, { ...none, ...problems });
	}

	function passes(checker, last) {
		checker.publishes('c', 'p', last);
		assert.ok(checker.complete());
		checker.assertComplete();
	}

	test('lets a good stream pass', () => {
		const { checker, take } = stream();
		[1, 2, 3].forEach((n) => take(n));
		passes(checker, 3);
		assert.deepEqual(checker.figures(), { received: 3, missing: 0, told: {} });
	});

	test('finds a lost message', () => {
		const { checker, take } = stream();
		take(1);
		take(3, { epoch: 'E', offset: 2 });
		finds(checker, 3, { lost: 1 });
	});

	test('finds a lost position', () => {
		const { checker, take } = stream();
		take(1);
		take(2, { epoch: 'E', offset: 3 });
		finds(checker, 2, { misplaced: 1 });
	});

	test('finds that the last message is missing, and all of them', () => {
		const { checker, take } = stream();
		[1, 2].forEach((n) => take(n));
		finds(checker, 3, { lost: 1 });
		finds(stream().checker, 1, { lost: 1 });
	});

	test('finds a message that came twice', () => {
		const { checker, take } = stream();
		[1, 2].forEach((n) => take(n));
		take(2, { epoch: 'E', offset: 3 });
		finds(checker, 2, { doubled: 1 });
	});

	test('finds messages in the wrong order', () => {
		const { checker, take } = stream();
		take(1);
		take(3, { epoch: 'E', offset: 2 });
		take(2, { epoch: 'E', offset: 3 });
		finds(checker, 3, { reordered: 1 });
	});

	test('finds messages of the right order at wrong positions', () => {
		const { checker, take } = stream();
		take(1, { epoch: 'E', offset: 2 });
		take(2, { epoch: 'E', offset: 1 });
		finds(checker, 2, { misplaced: 2 });
	});

	test('finds that the first message did not follow the position that was told', () => {
		const { checker, reader, take } = stream();
		reader.stands({ epoch: 'E', offset: 4 });
		take(1, { epoch: 'E', offset: 6 });
		finds(checker, 1, { misplaced: 1 });
	});

	test('finds a corrupt message, a cut one, and one of another channel', () => {
		for (const wrong of [
			numbered('c', 'p', 2).replace('x', 'y'),
			numbered('c', 'p', 2).slice(0, -1),
			numbered('d', 'p', 2),
			'',
		]) {
			const { checker, reader, take } = stream();
			take(1);
			reader.take(wrong, { epoch: 'E', offset: 2 });
			finds(checker, 1, { corrupt: 1 });
		}
	});

	test('finds an epoch that changed without a word', () => {
		const { checker, take } = stream();
		take(1);
		take(2, { epoch: 'F', offset: 2 });
		finds(checker, 2, { misplaced: 1 });
	});

	test('finds two subscribers who have different messages at one position', () => {
		const { checker, reader, take } = stream();
		const other = checker.reader('bob', 'c');
		checker.publishes('c', 'q', 1);
		take(1);
		reader.take(numbered('c', 'q', 1), { epoch: 'E', offset: 2 });
		other.take(numbered('c', 'q', 1), { epoch: 'E', offset: 1 });
		other.take(numbered('c', 'p', 1), { epoch: 'E', offset: 2 });
		finds(checker, 1, { misplaced: 2 });
	});

	test('finds an answer to a publisher that names another position', () => {
		const { checker, take } = stream();
		[1, 2].forEach((n) => take(n));
		checker.place({ channel: 'c', publisher: 'p', n: 2 }, { epoch: 'E', offset: 1 }, 'p');
		finds(checker, 2, { misplaced: 1 });
	});

	test('a word excuses what is missing before the next message', () => {
		const { checker, reader, take } = stream();
		take(1);
		reader.told('gap');
		take(4, { epoch: 'F', offset: 9 });
		take(5, { epoch: 'F', offset: 10 });
		passes(checker, 5);
		assert.deepEqual(checker.figures(), { received: 3, missing: 2, told: { gap: 1 } });
	});

	test('a word excuses nothing behind the next message', () => {
		const { checker, reader, take } = stream();
		reader.told('gap');
		take(2);
		take(4, { epoch: 'E', offset: 4 });
		finds(checker, 4, { lost: 1, misplaced: 1 });
	});

	test('a word that comes after the hole excuses nothing', () => {
		const { checker, reader, take } = stream();
		take(1);
		take(3, { epoch: 'E', offset: 2 });
		reader.told('gap');
		take(4, { epoch: 'E', offset: 3 });
		finds(checker, 4, { lost: 1 });
	});

	test('a word excuses no repetition, unless what was delivered can be lost', () => {
		for (const repeats of [false, true]) {
			const { checker, reader, take } = stream({ repeats });
			[1, 2].forEach((n) => take(n));
			reader.told('gap');
			take(2, { epoch: 'F', offset: 2 });
			if (repeats) {
				take(3, { epoch: 'F', offset: 3 });
				passes(checker, 3);
			} else {
				finds(checker, 2, { doubled: 1 });
			}
		}
		const { checker, take } = stream({ repeats: true });
		[1, 2].forEach((n) => take(n));
		take(2, { epoch: 'E', offset: 3 });
		finds(checker, 2, { doubled: 1 });
	});

	test('a message that nobody knows of may be missing, but not its neighbour', () => {
		for (const unanswered of [2, 4]) {
			const checker = new Checker();
			const reader = checker.reader('ann', 'c');
			[1, 3].forEach((n) => reader.take(numbered('c', 'p', n)));
			checker.unanswered('c', 'p', unanswered);
			if (unanswered === 2)
				passes(checker, 3);
			else
				finds(checker, 3, { lost: 1 });
		}
	});

	test('publishers are told apart', () => {
		const { checker, reader } = stream();
		for (const [publisher, n, offset] of [['p', 1, 1], ['q', 1, 2], ['q', 2, 3], ['p', 2, 4]])
			reader.take(numbered('c', publisher, n), { epoch: 'E', offset });
		checker.publishes('c', 'q', 2);
		passes(checker, 2);
		checker.publishes('c', 'q', 3);
		assert.ok(!checker.complete());
		finds(checker, 2, { lost: 1 });
	});
});

describe('docs/DELIVERY.md', () => {
	const text = fs.readFileSync(path.join(top, 'docs/DELIVERY.md'), 'utf8');
	/* `system/chaos.test.mjs: its name`, or `contract/test_engine_history.c: its_name`. */
	const REFERENCE = /`((?:system|contract|unit|model)\/[^:`\s]+)(?:: ([^`]+))?`/gu;

	const escaped = (name) => name.replace(/[.*+?^${}()|[\]\\]/gu, '\\$&');

	/* The names of tests are written out in their files, so that this and the reader find them. */
	function exists(file, name) {
		const whole = path.join(top, 'tests', file);
		if (!fs.existsSync(whole))
			return false;
		if (name === undefined)
			return file.startsWith('model/');
		const source = fs.readFileSync(whole, 'utf8');
		return (file.endsWith('.c')
			? new RegExp(`^(?:Test|CASE)\\(\\w+, ${escaped(name)}[,)]`, 'mu')
			: new RegExp(`\\btest\\(\\s*'${escaped(name)}',`, 'u')).test(source);
	}

	test('every test that it names exists', (t) => {
		const all = [...text.matchAll(REFERENCE)];
		const missing = all.filter(([, file, name]) => !exists(file, name)).map(([whole]) => whole);
		assert.deepEqual(missing, []);
		assert.ok(all.length >= 20, `${all.length} tests are named`);
		t.diagnostic(`${all.length} references`);
	});

	test('every row of its tables names a test', () => {
		const rows = text.split('\n')
			.filter((line, i, all) => line.startsWith('|') && !/^\|[-:| ]+\|$/u.test(line)
				&& !/^\|[-:| ]+\|$/u.test(all[i + 1] ?? ''));
		assert.ok(rows.length >= 20, `${rows.length} rows`);
		assert.deepEqual(rows.filter((row) => row.match(REFERENCE) === null), []);
	});

	test('a name that no test has is found', () => {
		assert.ok(exists('system/delivery.test.mjs', 'a name that no test has is found'));
		assert.ok(!exists('system/delivery.test.mjs', 'a name that no test ha'));
		assert.ok(!exists('system/delivery.test.mjs', undefined));
		assert.ok(!exists('system/nowhere.test.mjs', 'a name'));
		assert.ok(!exists('contract/test_engine.c', 'no_such_test'));
	});
});
