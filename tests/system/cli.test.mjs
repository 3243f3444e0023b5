/*
 * The command line: sub, pub, check, help, version, and what it says to wrong options.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { kill, removeDir, tempDir, track, untrack } from './lib/cleanup.mjs';
import { Client } from './lib/clients.mjs';
import { Node, binary, environment, run } from './lib/fanfare.mjs';
import { after, before, describe, eventually, test, within } from './lib/test.mjs';

describe('cli: without a node', () => {
	let dir;
	before(() => { dir = tempDir('cli'); });
	after(() => removeDir(dir));

	function file(text) {
		const name = path.join(dir, 'c.yaml');
		fs.writeFileSync(name, text);
		return name;
	}

	test('version', async () => {
		for (const args of [['--version'], ['version']]) {
			const { code, stdout } = await run(args);
			assert.equal(code, 0);
			assert.match(stdout, /^fanfare \d+\.\d+/);
		}
	});

	test('help', async () => {
		for (const args of [['--help'], ['help'], ['-h']]) {
			const { code, stdout } = await run(args);
			assert.equal(code, 0);
			for (const word of ['sub', 'pub', 'check', '-c', '--set'])
				assert.ok(stdout.includes(word), word);
		}
	});

	test('help config names every option', async () => {
		const { code, stdout } = await run(['help', 'config']);
		assert.equal(code, 0);
		for (const key of ['workers', 'listen.public', 'listen.internal', 'redis.url',
			'redis.prefix', 'api.key', 'origins', 'demo.enabled', 'log.level',
			'limits.message', 'limits.queue', 'limits.subscriptions', 'channels'])
			assert.ok(stdout.includes(key), key);
	});

	test('wrong commands and options: a message and a code that is not 0', async () => {
		for (const args of [['dance'], ['--dance'], ['-x'], ['sub'], ['pub'], ['check', '--dance'],
			['help', 'dance'], ['-c'], ['--set'], ['sub', '--dance', 'a']]) {
			const { code, stdout, stderr } = await run(args);
			assert.ok(code > 0, `${args}: ${code}`);
			assert.notEqual(stderr, '', `${args}`);
			assert.equal(stdout, '', `${args}`);
		}
	});

	test('check prints the effective configuration, which is one again', async () => {
		const name = file('workers: 3\nlimits:\n  message: 1000\n'
			+ 'channels:\n- match: "a:*"\n  publish: anyone\n');
		const { code, stdout, stderr } = await run(['check', '-c', name]);
		assert.equal(code, 0, stderr);
		assert.match(stdout, /^workers: 3$/m);
		assert.match(stdout, /message: 1000\b/);
		assert.match(stdout, /a:\*/);
		const again = await run(['check', '-c', file(stdout)]);
		assert.equal(again.code, 0, again.stderr);
		assert.equal(again.stdout, stdout);
	});

	test('environment and --set: later beats earlier', async () => {
		const name = file('workers: 3\nlimits: { message: 1000, queue: 500000 }\n');
		const { code, stdout, stderr } = await run(
			['check', '-c', name, '--set', 'limits.queue=700000',
				'--set', 'listen.public=["127.0.0.1:1234", "127.0.0.1:1235"]'],
			{ env: { FANFARE_WORKERS: '5', FANFARE_LIMITS_QUEUE: '600000' } });
		assert.equal(code, 0, stderr);
		assert.match(stdout, /^workers: 5$/m);
		assert.match(stdout, /message: 1000\b/);
		assert.match(stdout, /queue: 700000\b/);
		assert.match(stdout, /127\.0\.0\.1:1235/);
	});

	test('secrets are not printed', async () => {
		const { code, stdout } = await run(['check', '--set', 'api.key=sesame-0123456789',
			'--set', 'redis.url=redis://:sesame@127.0.0.1:6379']);
		assert.equal(code, 0);
		assert.doesNotMatch(stdout, /sesame/);
	});

	const wrong = {
		'an unknown key, with the nearest': ['workers: 1\nlimits:\n  mesage: 5\n',
			/c\.yaml:3: .*mesage.*limits\.message|c\.yaml:3: .*limits\.mesage.*message/],
		'an unknown section': ['limitz:\n  message: 5\n', /c\.yaml:1: .*limit/],
		'a wrong type': ['workers: many\n', /c\.yaml:1: .*workers/],
		'a list for a number': ['workers: [1]\n', /c\.yaml:1: .*workers/],
		'out of range': ['\nworkers: -1\n', /c\.yaml:2: .*workers/],
		'too large': ['limits:\n  message: 99999999999\n', /c\.yaml:2: .*limits\.message/],
		'no YAML': ['workers: [\n', /c\.yaml:\d+: /],
		'an unknown key of a rule': ['channels:\n- match: a\n  publsh: anyone\n',
			/c\.yaml:3: .*publsh.*publish/],
		'a wrong word in a rule': ['channels:\n- match: a\n  publish: everyone\n',
			/c\.yaml:3: .*anyone/],
		'a key twice': ['workers: 1\nworkers: 2\n', /c\.yaml:2: .*workers/],
		'a bad address': ['listen:\n  public: ["nonsense"]\n', /listen\.public: .*nonsense/],
	};
	for (const [name, [text, message]] of Object.entries(wrong)) {
		test(`check refuses ${name}`, async () => {
			const { code, stdout, stderr } = await run(['check', '-c', file(text)]);
			assert.equal(code, 1);
			assert.match(stderr, message);
			assert.equal(stdout, '');
		});
	}

	test('unknown names in the environment and of --set are refused', async () => {
		const env = await run(['check'], { env: { FANFARE_WORKER: '2' } });
		assert.equal(env.code, 1);
		assert.match(env.stderr, /FANFARE_WORKERS?/);
		const set = await run(['check', '--set', 'worker=2']);
		assert.equal(set.code, 1);
		assert.match(set.stderr, /workers/);
	});

	test('a file that is not there', async () => {
		for (const command of [[], ['check']]) {
			const { code, stderr } = await run([...command, '-c', '/nonexistent/f.yaml']);
			assert.equal(code, 1);
			assert.match(stderr, /\/nonexistent\/f\.yaml.*No such file/);
		}
	});
});

describe('cli: sub and pub', () => {
	let node;
	let dir;
	before(async () => {
		dir = tempDir('cli');
		node = await Node.start({ workers: 2, channels: [{ match: 'echo', publish: 'anyone' }] });
	});
	after(async () => {
		await node?.stop();
		removeDir(dir);
	});

	const where = () => ({
		env: { ...process.env, ...environment(dir) },
		set: ['-c', node.file],
	});

	/* `fanfare sub` in the background. */
	async function sub(...channels) {
		const { env, set } = where();
		const child = spawn(binary, ['sub', ...set, ...channels], { env });
		track(child.pid);
		const it = { child, stdout: '', stderr: '' };
		child.stdout.setEncoding('utf8').on('data', (s) => { it.stdout += s; });
		child.stderr.setEncoding('utf8').on('data', (s) => { it.stderr += s; });
		it.exited = new Promise((resolve) => {
			child.on('close', (code, signal) => resolve({ code, signal }));
		});
		it.exited.then(() => untrack(child.pid));
		for (const channel of channels) {
			await eventually(5_000, `sub ${channel}: ${it.stderr}`, async () =>
				await node.subscribers(channel) === 1);
		}
		return it;
	}

	test('sub prints what is published, by pub, POST and a client', async () => {
		const it = await sub('echo');
		const { env, set } = where();
		const pub = await run(['pub', ...set, 'echo', 'from pub'], { env });
		assert.equal(pub.code, 0, pub.stderr);
		await eventually(3_000, 'from pub', () => it.stdout.includes('from pub'));
		await node.publish('echo', 'from POST');
		await eventually(3_000, 'from POST', () => it.stdout.includes('from POST'));
		const client = await Client.open(node.url('/ws/echo'));
		client.send('from a client');
		await eventually(3_000, 'from a client', () => it.stdout.includes('from a client'));
		client.terminate();
		kill(it.child.pid, 'SIGINT');
		await within(3_000, 'the end of sub', it.exited);
	});

	test('sub of several channels', async () => {
		const it = await sub('one', 'two');
		await node.publish('one', 'first');
		await eventually(3_000, 'first', () => it.stdout.includes('first'));
		await node.publish('two', 'second');
		await eventually(3_000, 'second', () => it.stdout.includes('second'));
		kill(it.child.pid, 'SIGTERM');
		await within(3_000, 'the end of sub', it.exited);
	});

	test('pub takes its message from standard input', async () => {
		const client = await Client.open(node.url('/ws/stdin'));
		const { env, set } = where();
		const { code, stderr } = await run(['pub', ...set, 'stdin'],
			{ env, input: 'from standard input' });
		assert.equal(code, 0, stderr);
		assert.equal((await client.next()).trim(), 'from standard input');
		client.terminate();
	});

	test('pub and sub say what is wrong', async () => {
		const { env, set } = where();
		for (const args of [['pub', ...set, 'a b', 'x'], ['sub', ...set, 'a b']]) {
			const { code, stderr } = await run(args, { env });
			assert.ok(code > 0);
			assert.notEqual(stderr, '');
		}
	});

	test('sub ends with a message when the server goes', async () => {
		const other = await Node.start({});
		const { env } = where();
		const gone = run(['sub', '--no-reconnect', '-c', other.file, 'news'], { env });
		await eventually(5_000, 'sub', async () => await other.subscribers('news') === 1);
		const file = fs.readFileSync(other.file);
		await other.stop();
		assert.ok(file.length > 0);
		const { code, stderr } = await gone;
		assert.ok(code > 0);
		assert.notEqual(stderr, '');
	});

	test('pub without a server: a message and a code that is not 0', async () => {
		const other = await Node.start({});
		fs.copyFileSync(other.file, path.join(dir, 'gone.yaml'));
		await other.stop();
		const { env } = where();
		const { code, stderr } = await run(['pub', '-c', path.join(dir, 'gone.yaml'), 'a', 'x'],
			{ env });
		assert.ok(code > 0);
		assert.match(stderr, /cannot connect/);
	});
});
