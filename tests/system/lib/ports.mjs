/*
 * ports: free ports of the loopback, below the range that the kernel gives to outgoing
 * connections, so that no connection of a test takes one in the meantime.
 */
import net from 'node:net';

const given = new Set();

function isFree(port) {
	return new Promise((resolve) => {
		const server = net.createServer();
		server.once('error', () => resolve(false));
		server.listen({ port, host: '127.0.0.1' }, () => server.close(() => resolve(true)));
	});
}

export async function freePort() {
	for (let i = 0; i < 200; i++) {
		const port = 10_000 + Math.floor(Math.random() * 22_000);
		if (!given.has(port) && await isFree(port)) {
			given.add(port);
			return port;
		}
	}
	throw new Error('no free port');
}
