/*
 * `fanfare token`: makes tokens and keys that others can read, inspects tokens that others have made; and
 * what `fanfare check` says of keys and of rules.
 */
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { removeDir, tempDir } from './lib/cleanup.mjs';
import { run } from './lib/fanfare.mjs';
import { after, before, describe, test } from './lib/test.mjs';
import { decode, inSeconds, jwks, makeKey, sign } from './lib/token.mjs';

const secret = 'a secret of at least thirty-two bytes';
const algorithms = ['HS256', 'HS384', 'HS512', 'RS256', 'ES256', 'EdDSA'];

let dir;
let files = 0;
before(() => { dir = tempDir('token'); });
after(() => removeDir(dir));

function file(text) {
	const name = path.join(dir, `f${files++}`);
	fs.writeFileSync(name, text);
	return name;
}

/* A configuration with these options of auth; returns the arguments that name it. */
const config = (auth, more = {}) => ['-c', file(JSON.stringify({ auth, ...more }))];

async function good(args, options) {
	const { code, stdout, stderr } = await run(args, options);
	assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
	assert.equal(stderr, '');
	return stdout;
}

async function bad(args, message, { code = 1, ...options } = {}) {
	const result = await run(args, options);
	assert.equal(result.code, code, `${args.join(' ')}: ${result.stdout}${result.stderr}`);
	assert.match(result.stderr, message);
	return result;
}

/* Verifies with Node's crypto alone. */
function verify(token, alg, key) {
	const [head, payload, signature] = token.split('.');
	const input = Buffer.from(`${head}.${payload}`);
	const bytes = Buffer.from(signature, 'base64url');
	if (alg.startsWith('HS'))
		return crypto.createHmac(`sha${alg.slice(2)}`, key).update(input).digest().equals(bytes);
	if (alg === 'ES256')
		return crypto.verify('sha256', input, { key, dsaEncoding: 'ieee-p1363' }, bytes);
	return crypto.verify(alg === 'EdDSA' ? null : 'sha256', input, key, bytes);
}

describe('token: making', () => {
	test('with the secret of the configuration', async () => {
		const stdout = await good(['token', ...config({ secret, audience: 'chat', issuer: 'me' }),
			'--user', 'ada', '--ttl', '90s', '--info', '{"name": "Ada", "n": 1.1}',
			'--channels', 'room:*', '--channels', 'a,b', '--publish', 'room:1']);
		assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
		const token = stdout.trim();
		assert.ok(verify(token, 'HS256', secret));
		const { header, claims } = decode(token);
		assert.deepEqual(header, { alg: 'HS256', typ: 'JWT' });
		assert.ok(Math.abs(claims.iat - inSeconds(0)) < 30);
		assert.equal(claims.exp - claims.iat, 90);
		delete claims.iat;
		delete claims.exp;
		assert.deepEqual(claims, { iss: 'me', aud: 'chat', sub: 'ada', channels: ['room:*', 'a,b'],
			publish: ['room:1'], info: { name: 'Ada', n: 1.1 } });
	});

	test('with the secret of the environment', async () => {
		const stdout = await good(['token', '--channel', 'room:1'],
			{ env: { FANFARE_AUTH_SECRET: secret } });
		assert.ok(verify(stdout.trim(), 'HS256', secret));
		assert.equal(decode(stdout).claims.channel, 'room:1');
	});

	test('with a secret in a file, whose last line feed is not part of it', async () => {
		const stdout = await good(['token', '--secret-file', file(`${secret}\n`), '--kid', 's1',
			'--audience', 'x', '--issuer', 'y']);
		assert.ok(verify(stdout.trim(), 'HS256', secret));
		const { header, claims } = decode(stdout);
		assert.equal(header.kid, 's1');
		assert.deepEqual([claims.aud, claims.iss], ['x', 'y']);
	});

	for (const alg of algorithms) {
		test(`with keys of ${alg}, of our own making and of Node's`, async () => {
			const node = makeKey(alg, 'n');
			const own = await good(['token', 'key', '--alg', alg, '--kid', 'o']);
			const jwk = JSON.parse(own).keys[0];
			assert.deepEqual([jwk.kid, jwk.alg, jwk.use], ['o', alg, 'sig']);
			const key = jwk.kty === 'oct' ? Buffer.from(jwk.k, 'base64url')
				: crypto.createPublicKey({ key: jwk, format: 'jwk' });
			let token = (await good(['token', '--jwk', file(own), '--user', 'u'])).trim();
			assert.ok(verify(token, alg, key));
			assert.deepEqual(decode(token).header, { alg, typ: 'JWT', kid: 'o' });
			/* From two keys by name. */
			const both = file(jwks(jwk, node.privateJwk ?? node.jwk));
			token = (await good(['token', '--jwk', both, '--kid', 'n'])).trim();
			assert.ok(verify(token, alg, node.publicKey ?? node.secret));
			await bad(['token', '--jwk', both], /several keys; choose one with --kid/);
			await bad(['token', '--jwk', both, '--kid', 'x'], /no key .*kid "x"/);
		});
	}

	test('what no broker would accept is not made', async () => {
		const by = config({ secret });
		await bad(['token', ...by, '--channel', 'a b'], /channel/);
		await bad(['token', ...by, '--channels', 'a b'], /channels/);
		await bad(['token', ...by, '--user', 'u'.repeat(181)], /sub/);
		await bad(['token', ...by, '--info', '{'], /--info: malformed JSON/);
		await bad(['token', ...by, '--info', JSON.stringify('x'.repeat(5000))], /info/);
		await bad(['token', ...config({ secret }, { limits: { token: 256 } }), '--info',
			JSON.stringify('x'.repeat(200))], /limits\.token/);
	});

	test('wrong usage', async () => {
		const by = config({ secret });
		for (const args of [['--ttl', '5'], ['--ttl', '0'], ['--ttl', '-1s'], ['--ttl', '4000d'],
			['--dance'], ['word'], ['--kid', 'x'], ['--channel', 'a', '--publish', 'b'],
			['--jwk', 'a', '--secret-file', 'b']])
			assert.equal((await bad(['token', ...by, ...args], /./, { code: 2 })).stdout, '');
		for (const args of [['inspect'], ['inspect', 'a', 'b'], ['inspect', '--dance', 'a'],
			['key', '--alg', 'none'], ['key', '--alg', 'RS512'], ['key', 'x'], ['key', '--kid', '']])
			assert.equal((await bad(['token', ...args], /usage/, { code: 2 })).stdout, '');
		for (const args of [['--help'], ['inspect', '--help'], ['key', '-h']])
			assert.match(await good(['token', ...args]), /^usage: fanfare token/);
	});

	test('without a key, and with one that is none', async () => {
		await bad(['token', '--user', 'ada'], /no key to sign with.*-c/);
		await bad(['token', '--secret-file', file('short')], /HS256 needs a secret of 32 bytes/);
		await bad(['token', '--secret-file', path.join(dir, 'none')], /No such file/);
		await bad(['token', '--jwk', file('{')], /malformed JSON/);
		await bad(['token', '--jwk', file(jwks(makeKey('ES256', 'a')))], /no key in it can sign/);
		await bad(['token', '--jwk', file(' '.repeat(300_000))], /larger than/);
	});
});

describe('token: keys', () => {
	test('public halves', async () => {
		const keys = ['RS256', 'ES256', 'EdDSA'].map((alg) => makeKey(alg, alg));
		const stdout = await good(['token', 'key', '--public',
			file(jwks(...keys.map((k) => k.privateJwk)))]);
		assert.deepEqual(JSON.parse(stdout), JSON.parse(jwks(...keys)));
		const single = await good(['token', 'key', '--public', '-'],
			{ input: JSON.stringify(keys[1].privateJwk) });
		assert.deepEqual(JSON.parse(single), JSON.parse(jwks(keys[1])));
		await bad(['token', 'key', '--public', file(jwks(makeKey('HS256')))], /no public half/);
		await bad(['token', 'key', '--public', file('{}')], /JWK Set/);
	});

	test('each is new', async () => {
		const [a, b] = [await good(['token', 'key']), await good(['token', 'key'])];
		assert.notEqual(a, b);
		assert.equal(JSON.parse(a).keys[0].alg, 'ES256');
		assert.equal(JSON.parse(a).keys[0].kid, undefined);
	});
});

describe('token: inspecting', () => {
	test('header, claims, and times in words', async () => {
		const token = sign({ sub: 'ada', iat: inSeconds(-7200), exp: inSeconds(600),
			info: { name: 'Zo\u00eb \u009b31m' } }, { key: secret });
		const stdout = await good(['token', 'inspect', token]);
		assert.match(stdout, /^header: \{\n {2}"alg": "HS256"/);
		assert.match(stdout, /"sub": "ada"/);
		assert.match(stdout, /^issued: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, 2 hours ago$/m);
		assert.match(stdout, /^expires: .* UTC, in (9|10) minutes$/m);
		assert.match(stdout, /^valid: not checked; .*-c$/m);
		/* Neither the signature, nor what a terminal would obey. */
		assert.ok(!stdout.includes(token.split('.')[2]));
		assert.match(stdout, /^[\n -~]*$/);
	});

	test('valid or not, and why, by the configuration', async () => {
		const keys = algorithms.map((alg) => makeKey(alg, alg));
		const by = config({ secret, jwks: file(jwks(...keys)), audience: 'chat' });
		const inspect = async (token, input) => {
			const { code, stdout, stderr } = await run(
				['token', 'inspect', ...by, input === undefined ? token : '-'], { input });
			assert.equal(stderr, '');
			assert.ok(!stdout.includes(secret));
			assert.equal(code, stdout.endsWith('\nvalid: yes\n') ? 0 : 1);
			return stdout.match(/\nvalid: (.*)\n$/)[1];
		};
		const claims = { aud: ['chat'] };
		for (const key of keys)
			assert.equal(await inspect(sign(claims, key)), 'yes');
		const token = sign(claims, { key: secret });
		assert.equal(await inspect('', `  ${token}\n`), 'yes');
		const es = keys.find((k) => k.alg === 'ES256');
		const rs = keys.find((k) => k.alg === 'RS256');
		for (const [wrong, why] of [
			[sign({ aud: 'x' }, { key: secret }), 'the token is for another audience'],
			[sign({ ...claims, exp: undefined }, { key: secret }), 'the token has no exp'],
			[sign({ ...claims, exp: inSeconds(-60) }, { key: secret }), 'the token has expired'],
			[sign({ ...claims, nbf: inSeconds(90) }, { key: secret }), 'the token is not valid yet'],
			[sign(claims, { key: `${secret}!` }), 'the signature is not that of the key'],
			[sign(claims, { ...es, kid: 'RS256' }), 'the token\'s alg is not that of its key'],
			[sign(claims, { ...es, kid: '../../etc/passwd' }), 'no key has the token\'s kid'],
			/* The public key as the secret of HMAC. */
			[sign(claims, { alg: 'HS256', kid: 'RS256',
				key: rs.publicKey.export({ type: 'spki', format: 'pem' }) }),
			'the token\'s alg is not that of its key'],
			[sign(claims, { alg: 'none', key: '' }), 'the token\'s alg is not accepted'],
			[sign(claims, { key: secret, header: { crit: ['b64'] } }), 'the token\'s header has crit'],
		])
			assert.equal(await inspect(wrong), `no: ${why}`);
	});

	test('what is no token', async () => {
		for (const text of ['', 'abc', 'a.b', 'a.b.c', 'e30.!.', 'e30.e30 x'])
			assert.equal((await bad(['token', 'inspect', text], /token/)).stdout, '');
		await bad(['token', 'inspect', ...config({}), sign({}, { key: secret })], /no token is valid/);
	});
});

describe('token: check', () => {
	test('a broken file of keys is named, with the key', async () => {
		const es = makeKey('ES256', 'a');
		const check = (text) => ['check', ...config({ jwks: file(text) })];
		assert.match(await good(check(jwks(es))), /^ {2}jwks: ".*"$/m);
		await bad(check('{'), /^auth\.jwks: \/.*: malformed JSON$/m);
		await bad(check(jwks(es, makeKey('RS256', 'a'))), /: key 2, kid "a": its kid is another/);
		await bad(check(jwks(es, { ...makeKey('HS256', 'h').jwk, k: 'AAAA' })),
			/: key 2, kid "h": HS256 needs a secret of 32 bytes/);
		await bad(['check', '--set', 'auth.jwks=/nonexistent'], /\/nonexistent: No such file/);
		/* The broker does not start with it either. */
		await bad(config({ jwks: file('{') }), /malformed JSON/);
	});

	test('the secret is not printed', async () => {
		assert.doesNotMatch(await good(['check', ...config({ secret })]), /secret of/);
	});

	test('which rule applies and what it means', async () => {
		const by = config({ secret }, { channels: [
			{ match: 'h:*', subscribe: 'anyone', publish: 'anyone', history: { size: 1000, ttl: '5m' },
				presence: true, join_leave: true },
			{ match: 'p:*', subscribe: 'token', read_history: 'authenticated', message: '1KiB',
				slow: 'latest' },
		] });
		const h = await good(['check', ...by, '--channel', 'h:1']);
		assert.match(h, /^h:1: rule 1 of 2, match "h:\*"$/m);
		for (const line of [/subscribe: anyone/, /publish: anyone/, /read_history: nobody/,
			/read_presence: nobody/, /history: the last 1000 messages, for 5m/, /position_check: yes/,
			/presence: yes/, /join_leave: yes/, /message: at most 64KiB \(limits/, /slow: kick/])
			assert.match(h, line);
		const p = await good(['check', ...by, '--channel', 'p:1']);
		for (const line of [/rule 2 of 2/, /subscribe: token: clients whose token names the channel/,
			/publish: nobody/, /read_history: authenticated/, /history: none/, /presence: no/,
			/message: at most 1KiB$/m, /slow: latest/])
			assert.match(p, line);
		assert.match(await good(['check', ...by, '--channel', 'x']), /no rule matches/);
		await bad(['check', ...by, '--channel', 'a b'], /no channel can have this name/);
	});
});
