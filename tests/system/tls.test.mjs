/*
 * TLS: versions, certificates by name, resumption at any worker, renewal by SIGHUP, client
 * certificates, slow readers, and what is said of files that cannot be used.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { certificate, encryptedKey, replaceCertificate } from './lib/certs.mjs';
import { kill, removeDir, tempDir } from './lib/cleanup.mjs';
import { Client, openMany } from './lib/clients.mjs';
import { Node, ms, run } from './lib/fanfare.mjs';
import { freePort } from './lib/ports.mjs';
import { RawClient, handshake } from './lib/raw.mjs';
import { Sequence, numbered } from './lib/sequence.mjs';
import { after, before, describe, eventually, sleep, test, within } from './lib/test.mjs';

const WORKERS = 4;

let dir;
let ca;
before(() => {
	dir = tempDir('tls');
	ca = certificate(dir, 'ca');
});
after(() => removeDir(dir));

/* A node with a plain and a TLS address; options: of the configuration, as for Node. */
async function start(options, port, words = 'tls') {
	const ports = { public: await freePort(), internal: await freePort() };
	return Node.start({
		...options,
		listen: { public: [`127.0.0.1:${ports.public}`, `127.0.0.1:${port} ${words}`] },
	}, { ports });
}

const trust = () => ({ ca: fs.readFileSync(ca.pem) });

/* A connection after its handshake, as node:tls has it. */
function connect(port, options = {}) {
	return within(10_000, 'a handshake', new Promise((resolve, reject) => {
		const socket = tls.connect({ port, host: '127.0.0.1', ...trust(), ...options },
			() => resolve(socket));
		socket.on('error', reject);
	}));
}

/* A request and its answer, so that both ends have done with the handshake. */
async function ask(socket, target = '/nothing') {
	socket.write(handshake(target));
	return within(5_000, 'an answer', new Promise((resolve) =>
		socket.once('data', (data) => resolve(data.toString()))));
}

/* The session that the server gives with a connection of this version. */
async function session(port, options) {
	const socket = await connect(port, options);
	let last = socket.getSession();
	socket.on('session', (s) => { last = s; });
	await ask(socket);
	socket.destroy();
	return last;
}

/* What the program openssl says about a handshake; it fails where it should not hang. */
const sClient = (port, args) => new Promise((resolve) => {
	const child = execFile('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile',
		ca.pem, ...args], { timeout: 20_000 }, (error, stdout, stderr) =>
		resolve({ code: error ? error.code : 0, text: stdout + stderr }));
	child.stdin.end();
});

const subject = (socket) => socket.getPeerCertificate().subject.CN;

describe('tls', () => {
	let node;
	let port;
	let one;
	let spare;
	const wss = (target) => `wss://127.0.0.1:${port}${target}`;
	const open = (target, options) => Client.open(wss(target), [], { ...trust(), ...options });

	before(async () => {
		port = await freePort();
		one = certificate(dir, 'one', { names: ['127.0.0.1', 'localhost'], ca });
		spare = certificate(dir, 'spare', { names: ['127.0.0.1', 'localhost'], ca });
		const two = certificate(dir, 'two', { names: ['two.example', '*.wild.example'], ca });
		const both = path.join(dir, 'both.pem');
		fs.writeFileSync(both, fs.readFileSync(two.pem) + fs.readFileSync(two.key, 'utf8'));
		node = await start({
			workers: WORKERS,
			log: { level: 'debug' },
			tls: { certificates: [one.item, both] },
			limits: { handshake: ms(1_500), close: ms(1_000), ping_interval: ms(120_000),
				queue: 256 << 10 },
			channels: [{ match: 'echo', publish: 'anyone' }],
		}, port);
	});
	after(() => node?.stop());

	test('wss subscribes and publishes, beside a plain address', async () => {
		const secure = await open('/ws/echo');
		const plain = await Client.open(node.url('/ws/echo'));
		secure.send('from wss');
		assert.equal(await plain.next(), 'from wss');
		assert.equal(await secure.next(), 'from wss');
		plain.send('from ws');
		assert.equal(await secure.next(), 'from ws');
		await node.publish('echo', 'from a backend');
		assert.equal(await secure.next(), 'from a backend');
		const { code } = await secure.close(1000);
		assert.equal(code, 1000);
		plain.terminate();
	});

	test('TLS 1.2 and 1.3 are spoken, 1.1 is not', async () => {
		for (const version of ['TLSv1.2', 'TLSv1.3']) {
			const socket = await connect(port, { minVersion: version, maxVersion: version,
				ALPNProtocols: ['http/1.1'] });
			assert.equal(socket.getProtocol(), version);
			assert.equal(socket.alpnProtocol, 'http/1.1');
			assert.match(socket.getCipher().standardName, /GCM|CHACHA20/);
			socket.destroy();
		}
		await assert.rejects(connect(port, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1',
			ciphers: 'ALL:@SECLEVEL=0' }), { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' });
		await node.logged(/worker \d: tls: unsupported protocol client=127\.0\.0\.1:/);
	});

	test('the program openssl agrees', async () => {
		const good = await sClient(port, ['-alpn', 'http/1.1', '-verify_ip', '127.0.0.1',
			'-verify_return_error']);
		assert.match(good.text, /Verify return code: 0 \(ok\)/);
		assert.match(good.text, /ALPN protocol: http\/1\.1/);
		assert.match(good.text, /Compression: NONE/);
		assert.match(good.text, /Server Temp Key: X25519/);
		assert.match(good.text, /Max Early Data: 0|No early data|Early data was not sent/);
		const h2 = await sClient(port, ['-alpn', 'h2']);
		assert.match(h2.text, /no application protocol/);
		const weak = await sClient(port, ['-tls1_2', '-cipher', 'AES128-SHA:ECDHE-ECDSA-AES128-SHA']);
		assert.match(weak.text, /handshake failure/);
	});

	test('the certificate is chosen by the name', async () => {
		for (const [servername, expected] of [['localhost', 'one'], ['two.example', 'two'],
			['a.wild.example', 'two'], ['a.b.wild.example', 'one'], ['unknown.example', 'one']]) {
			const socket = await connect(port, { servername, checkServerIdentity: () => undefined });
			assert.equal(subject(socket), expected, servername);
			socket.destroy();
		}
	});

	test('a session resumes at every worker, and after they were replaced', { timeout: 60 }, async () => {
		for (const version of ['TLSv1.2', 'TLSv1.3']) {
			const options = { minVersion: version, maxVersion: version };
			const first = await session(port, options);
			const from = node.stderr.length;
			const workers = () => new Set([...node.stderr.slice(from)
				.matchAll(/(worker \d): tls: version=\S+ cipher=\S+ resumed=1/g)].map((m) => m[1]));
			await eventually(10_000, 'all workers', async () => {
				const socket = await connect(port, { ...options, session: first });
				assert.ok(socket.isSessionReused());
				await ask(socket);
				socket.destroy();
				return workers().size === WORKERS;
			});
		}
		const kept = await session(port, { minVersion: 'TLSv1.3' });
		for (let i = 0; i < WORKERS; i++) {
			const old = node.role(`worker ${i}`);
			kill(old);
			await node.replaced(`worker ${i}`, old);
		}
		await node.ready();
		const socket = await connect(port, { session: kept });
		assert.ok(socket.isSessionReused());
		socket.destroy();
	});

	test('1,000 subscribers get everything in order, large messages too', { timeout: 120 }, async () => {
		const clients = await openMany(1_000, () => open('/ws/all'));
		const sequences = clients.map(() => new Sequence());
		clients.forEach((c, i) => {
			c.onMessage = (m) => sequences[i].take(m);
		});
		const N = 24;
		for (let n = 1; n <= N; n++) {
			const size = n % 8 === 0 ? 61_000 : 200;
			await node.publish('all', numbered('all', 'p', n, size));
		}
		await Promise.all(clients.map((c) => c.count(N, 60_000)));
		sequences.forEach((s) => s.assertComplete(N));
		clients.forEach((c) => c.terminate());
	});

	test('many messages at once, and one of 60 KiB up and down', async () => {
		const client = await open('/ws/echo');
		const sequence = new Sequence();
		client.onMessage = (m) => sequence.take(m);
		const N = 500;
		for (let n = 1; n <= N; n++)
			client.send(numbered('echo', 'p', n, n % 100 === 0 ? 61_000 : 50));
		await client.count(N);
		sequence.assertComplete(N);
		client.terminate();
	});

	test('who does not read is let go, and others lose nothing', { timeout: 60 }, async () => {
		const good = await open('/ws/flood');
		const bad = await open('/ws/flood');
		bad.ws.pause();
		assert.equal(await node.subscribers('flood'), 2);
		let n = 0;
		await eventually(30_000, 'the slow one to go', async () => {
			for (let i = 0; i < 10; i++)
				await node.publish('flood', numbered('flood', 'p', ++n, 32_000));
			await good.count(n);
			return await node.subscribers('flood') === 1;
		});
		const sequence = new Sequence();
		good.messages.forEach((m) => sequence.take(m));
		sequence.assertComplete(n);
		bad.ws.resume();
		const { code } = await within(5_000, 'the end', bad.closed);
		assert.ok([1013, 1006].includes(code), `${code}`);
		good.terminate();
	});

	test('fanfare sub over wss trusts whom it is told to', async () => {
		const sub = (host, ...args) =>
			run(['sub', '-u', `wss://${host}:${port}`, '-n', '1', ...args, 'cli'],
				{ env: { SSL_CERT_FILE: '/dev/null', SSL_CERT_DIR: '/dev/null' } });
		for (const host of ['127.0.0.1', 'localhost']) {
			const ended = sub(host, '--cacert', ca.pem);
			await eventually(5_000, 'the subscriber', async () =>
				await node.subscribers('cli') === 1);
			await node.publish('cli', `hello ${host}`);
			const { code, stdout } = await ended;
			assert.equal(stdout, `hello ${host}\n`);
			assert.equal(code, 0);
			await eventually(5_000, 'its end', async () => await node.subscribers('cli') === 0);
		}
		const untrusted = await sub('127.0.0.1');
		assert.equal(untrusted.code, 1);
		assert.match(untrusted.stderr, /certificate is not trusted: unable to get local issuer/);
		const other = certificate(dir, 'elsewhere');
		const wrong = await sub('127.0.0.1', '--cacert', other.pem);
		assert.match(wrong.stderr, /certificate is not trusted/);
		const name = await sub('127.0.0.2', '--cacert', ca.pem);
		assert.match(name.stderr, /cannot connect|not trusted: IP address mismatch/);
		const missing = await sub('127.0.0.1', '--cacert', `${dir}/none`);
		assert.match(missing.stderr, /none: no authorities can be read from it/);
		const plain = await run(['sub', '-u', `wss://127.0.0.1:${node.ports.public}`, 'cli']);
		assert.equal(plain.code, 1);
		assert.match(plain.stderr, /no TLS: wrong version number/);
	});

	test('plain HTTP at the TLS address is told so', async () => {
		const client = await RawClient.connect(port);
		client.send(handshake('/ws/news'));
		const answer = await client.response();
		assert.equal(answer.status, 400);
		assert.equal(answer.body, 'this address speaks TLS\n');
		await client.end();
		client.destroy();
	});

	test('garbage, and handshakes that do not go on, end in time', async () => {
		const idle = await RawClient.connect(port);
		const half = await RawClient.connect(port);
		half.send(Buffer.from('160301020001', 'hex'));
		const junk = await RawClient.connect(port);
		junk.send('\0\x01\x02 this is no TLS at all');
		await junk.end(3_000);
		await idle.end(4_000);
		await half.end(4_000);
		[idle, half, junk].forEach((c) => c.destroy());
		const socket = await connect(port);
		socket.destroy();
	});

	test('a handshake byte by byte', async () => {
		const outer = net.connect({ port, host: '127.0.0.1', noDelay: true });
		const relay = net.createServer((near) => {
			near.on('data', async (data) => {
				near.pause();
				for (const byte of data)
					outer.write(Buffer.from([byte]));
				near.resume();
			});
			outer.on('data', (data) => near.write(data));
			outer.on('close', () => near.destroy());
			near.on('error', () => {}).on('close', () => outer.destroy());
		});
		outer.on('error', () => {});
		await new Promise((resolve) => relay.listen(0, '127.0.0.1', resolve));
		const client = await Client.open(`wss://127.0.0.1:${relay.address().port}/ws/echo`, [],
			trust());
		client.send('slowly');
		assert.equal(await client.next(), 'slowly');
		client.terminate();
		relay.close();
	});

	test('SIGHUP renews the certificates and disconnects nobody', { timeout: 60 }, async () => {
		const clients = await openMany(200, () => open('/ws/stay'));
		replaceCertificate(one, spare);
		let from = node.stderr.length;
		const since = (pattern) => eventually(5_000, `log ${pattern}`, () =>
			[...node.stderr.slice(from).matchAll(pattern)].length >= WORKERS);
		kill(node.pid, 'SIGHUP');
		await since(/worker \d: tls: certificate=\S+one\.pem" valid_until=20\d\d-\d\d-\d\dT/g);
		await node.logged(/master: SIGHUP: certificates and keys of tokens are read again; the rest .* is not/);
		for (let i = 0; i < 2 * WORKERS; i++) {
			const socket = await connect(port);
			assert.equal(subject(socket), 'spare');
			socket.destroy();
		}

		/* A broken file: what was read before stays. */
		fs.writeFileSync(one.key, 'broken');
		from = node.stderr.length;
		kill(node.pid, 'SIGHUP');
		await since(/worker \d: tls\.certificates: \S+one\.key: holds no private key in PEM/g);
		await since(/worker \d: the certificates stay those that were read before/g);
		for (let i = 0; i < 2 * WORKERS; i++) {
			const socket = await connect(port);
			assert.equal(subject(socket), 'spare');
			socket.destroy();
		}
		replaceCertificate(one, spare);

		assert.equal(await node.subscribers('stay'), 200);
		await node.publish('stay', 'still there');
		for (const client of clients) {
			assert.equal(await client.next(), 'still there');
			client.terminate();
		}
	});
});

describe('tls: the end of a node', () => {
	test('SIGTERM closes with 1001', async () => {
		const port = await freePort();
		const cert = certificate(dir, 'last', { names: ['127.0.0.1'], ca });
		const node = await start({ workers: 2, tls: { certificates: [cert.item] } }, port);
		const clients = await openMany(20, () =>
			Client.open(`wss://127.0.0.1:${port}/ws/x`, [], trust()));
		const ends = Promise.all(clients.map((c) => c.closed));
		await node.stop();
		for (const { code } of await ends)
			assert.equal(code, 1001);
	});
});

describe('tls: backends', () => {
	test('fanfare pub over https', async () => {
		const cert = certificate(dir, 'inside', { names: ['127.0.0.1'], ca });
		const ports = { public: await freePort(), internal: await freePort() };
		const port = await freePort();
		const node = await Node.start({ tls: { certificates: [cert.item] }, listen: {
			internal: [`127.0.0.1:${ports.internal}`, `127.0.0.1:${port} tls`] } }, { ports });
		const client = await Client.open(node.url('/ws/news'));
		const pub = (...args) =>
			run(['pub', '-u', `https://127.0.0.1:${port}`, ...args, 'news', 'from afar']);
		assert.equal((await pub()).code, 1, 'trusted whom nobody signed for');
		const { code, stderr } = await pub('--cacert', ca.pem);
		assert.equal(code, 0, stderr);
		assert.equal(await client.next(), 'from afar');
		client.terminate();
		await node.stop();
	});
});

describe('tls: after a PROXY header', () => {
	test('TLS begins behind it', async () => {
		const port = await freePort();
		const cert = certificate(dir, 'proxied', { names: ['127.0.0.1'], ca });
		const node = await start({ tls: { certificates: [cert.item] }, log: { level: 'debug' },
			proxy: { trusted: ['127.0.0.1'] } }, port, 'tls proxy');
		const socket = net.connect({ port, host: '127.0.0.1' });
		const header = 'PROXY TCP4 192.0.2.7 192.0.2.8 4000 443\r\n';
		socket.write(header.slice(0, 10));
		await sleep(50);
		socket.write(header.slice(10));
		const secure = await connect(undefined, { socket, port: undefined, host: undefined,
			servername: '', checkServerIdentity: () => undefined });
		assert.match(await ask(secure, '/ws/news'), /^HTTP\/1\.1 101 /);
		await node.logged(/connected client=192\.0\.2\.7:4000 by=proxy/);
		secure.destroy();
		await node.stop();
	});
});

describe('tls: client certificates', () => {
	let good;
	let foreign;
	let server;
	before(() => {
		server = certificate(dir, 'server', { names: ['127.0.0.1'], ca });
		good = certificate(dir, 'good', { ca });
		foreign = certificate(dir, 'foreign');
	});
	const show = (cert) => ({ cert: fs.readFileSync(cert.pem), key: fs.readFileSync(cert.key) });
	const visit = async (port, options) => {
		const client = await Client.open(`wss://127.0.0.1:${port}/ws/x`, [],
			{ ...trust(), ...options });
		return client.close();
	};

	for (const rule of ['required', 'optional']) {
		test(rule, async () => {
			const port = await freePort();
			const node = await start({ tls: { certificates: [server.item], client_ca: ca.pem,
				client_certificate: rule } }, port);
			await visit(port, show(good));
			await assert.rejects(visit(port, show(foreign)));
			await node.logged(/tls: (self-signed certificate|unable to get local issuer) /);
			if (rule === 'optional') {
				await visit(port);
			} else {
				await assert.rejects(visit(port));
				await node.logged(/tls: peer did not return a certificate client=/);
			}
			/* The plain address knows nothing of it. */
			await (await Client.open(node.url('/ws/x'))).close();
			await node.stop();
		});
	}
});

describe('tls: what is said of bad files', () => {
	const cases = {
		'no certificate': ({ sets }) => [sets.slice(0, 1),
			/listen\.public: "127.*": tls needs a certificate; set tls\.certificates/],
		'a file that is missing': ({ sets, item }) => [[...sets, item(`${dir}/gone.pem`)],
			/tls\.certificates: \S+gone\.pem: No such file or directory/],
		'a key of another certificate': ({ sets, item, a, b }) =>
			[[...sets, item(`${a.pem} ${b.key}`)],
				/tls\.certificates: \S+b\.key: the key does not belong to the certificate/],
		'an encrypted key': ({ sets, item, a }) => [[...sets, item(`${a.pem} ${encryptedKey(a)}`)],
			/tls\.certificates: \S+\.locked: the key is encrypted/],
		'no authorities': ({ sets, item, a }) =>
			[[...sets, item(a.item), `tls.client_ca=${a.key}`],
				/tls\.client_ca: \S+a\.key: holds no certificate in PEM/],
	};
	let given;
	before(async () => {
		given = {
			sets: [`listen.public=127.0.0.1:${await freePort()} tls`],
			item: (text) => `tls.certificates=${text}`,
			a: certificate(dir, 'a', { ca }),
			b: certificate(dir, 'b', { ca }),
		};
	});

	for (const [name, make] of Object.entries(cases)) {
		test(name, async () => {
			const [sets, pattern] = make(given);
			const args = sets.flatMap((s) => ['--set', s]);
			const checked = await run(['check', ...args]);
			assert.equal(checked.code, 1);
			assert.match(checked.stderr, pattern);
			/* And it does not start: no socket was opened. */
			const started = await run(args);
			assert.equal(started.code, 1);
			assert.match(started.stderr, pattern);
			assert.doesNotMatch(started.stderr, /listening|pid=/);
		});
	}

	test('good ones are good', async () => {
		const args = [...given.sets, given.item(given.a.item)].flatMap((s) => ['--set', s]);
		const { code, stdout, stderr } = await run(['check', ...args]);
		assert.equal(code, 0, stderr);
		assert.match(stdout, /certificates/);
		assert.equal(stderr, '');
	});
});
