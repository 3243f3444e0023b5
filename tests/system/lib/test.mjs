/*
 * test: Node's runner with a time limit on each test and on each file, and small waiting helpers.
 *
 * TEST_SLOWNESS multiplies every limit; sanitizer builds set it.
 */
import nodeTest from 'node:test';
import { runCleanups } from './cleanup.mjs';

export { after, before, describe } from 'node:test';

export const slowness = Number(process.env.TEST_SLOWNESS ?? 1);

/* As node:test's, with `timeout` in seconds; 30 unless given. */
export function test(name, options, fn) {
	if (typeof options === 'function') {
		fn = options;
		options = {};
	}
	const seconds = options.timeout ?? 30;
	return nodeTest(name, { ...options, timeout: seconds * 1000 * slowness }, fn);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/* Rejects if the promise has not settled after ms (times slowness). */
export async function within(ms, what, promise) {
	let timer;
	const late = new Promise((_, reject) => {
		timer = setTimeout(
			() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms * slowness);
	});
	try {
		return await Promise.race([promise, late]);
	} finally {
		clearTimeout(timer);
	}
}

/* Calls fn until it returns something true, and returns that. */
export async function eventually(ms, what, fn) {
	const end = Date.now() + ms * slowness;
	for (;;) {
		const value = await fn();
		if (value)
			return value;
		if (Date.now() > end)
			throw new Error(`${what}: not within ${ms} ms`);
		await sleep(15);
	}
}

/* A file that hangs, say in a hook, ends here and takes its processes along. */
setTimeout(() => {
	console.error('the whole file took too long');
	runCleanups();
	process.exit(99);
}, 280_000 * slowness).unref();
