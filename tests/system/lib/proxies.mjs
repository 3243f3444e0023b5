/*
 * proxies: the distribution's HAProxy and nginx with the examples of etc/, at the test's own
 * addresses.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { kill, removeDir, tempDir, track, untrack } from './cleanup.mjs';
import { eventually, within } from './test.mjs';

const etc = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../etc');

/*
 * An example of etc/ with other ports.  ports: { number in the example: number to use }; edits:
 * [text or pattern, replacement] pairs, each of which must be found.
 */
export function example(name, ports, edits = []) {
	let text = fs.readFileSync(path.join(etc, name), 'utf8');
	const change = (what, to) => {
		const changed = text.replaceAll(what, to);
		if (changed === text)
			throw new Error(`${name}: nothing matches ${what}`);
		text = changed;
	};
	for (const [what, to] of edits)
		change(what, to);
	/* In two steps, so that no number that was put in is taken for one of the example. */
	for (const from of Object.keys(ports))
		text = text.replaceAll(new RegExp(`(?<=[: ])${from}\\b`, 'g'), `<${from}>`);
	for (const [from, to] of Object.entries(ports))
		text = text.replaceAll(`<${from}>`, String(to));
	return text;
}

function listens(port) {
	return new Promise((resolve) => {
		const socket = net.connect(port, '127.0.0.1');
		socket.on('error', () => resolve(false));
		socket.on('connect', () => {
			socket.destroy();
			resolve(true);
		});
	});
}

/* A proxy under way; `port` is where it listens. */
class Proxy {
	static async start(port, command, args, dir) {
		const proxy = new Proxy();
		proxy.port = port;
		proxy.ports = { public: port };
		proxy.dir = dir;
		proxy.output = '';
		proxy.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
		track(proxy.child.pid);
		for (const stream of [proxy.child.stdout, proxy.child.stderr])
			stream.setEncoding('utf8').on('data', (s) => { proxy.output += s; });
		proxy.exited = new Promise((resolve, reject) => {
			proxy.child.on('error', (error) => reject(error.code === 'ENOENT'
				? new Error(`${command} is missing: apt-get install ${command}`) : error));
			proxy.child.on('exit', (code) => resolve(code));
		});
		const ended = proxy.exited.then((code) => {
			throw new Error(`${command} ended with ${code}:\n${proxy.output}`);
		});
		await Promise.race([ended, eventually(10_000, command, () => listens(port))]);
		ended.catch(() => {}); /* at its end */
		return proxy;
	}

	async stop() {
		kill(this.child.pid, 'SIGTERM');
		try {
			await within(5_000, 'the end of the proxy', this.exited);
		} finally {
			kill(this.child.pid);
			untrack(this.child.pid);
			removeDir(this.dir);
		}
	}
}

export function haproxy(port, config) {
	const dir = tempDir('haproxy');
	const file = path.join(dir, 'haproxy.cfg');
	fs.writeFileSync(file, config);
	return Proxy.start(port, 'haproxy', ['-db', '-f', file], dir);
}

/* Its own folders and files are those of the test. */
export function nginx(port, config) {
	const dir = tempDir('nginx');
	const file = path.join(dir, 'nginx.conf');
	const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
		.map((name) => `${name}_temp_path ${dir}/${name};`).join(' ');
	fs.writeFileSync(file, config.replace('http {', `http { access_log off; ${places}`));
	return Proxy.start(port, 'nginx', ['-p', dir, '-c', file, '-e', 'stderr', '-g',
		`daemon off; pid ${dir}/pid;`], dir);
}
