/*
 * ws: a plain broadcast server on Node with the package ws, to compare with.
 *
 * usage: node ws.mjs PORT [FOLDER OF node_modules]
 *
 * Who asks for the same path is in the same channel; what one sends goes to all of them.
 */
import { createRequire } from 'node:module';
import path from 'node:path';

const [port, modules = '.'] = process.argv.slice(2);
const { WebSocketServer } = createRequire(path.resolve(modules, 'x.js'))('ws');

const channels = new Map();

const server = new WebSocketServer({
	host: '127.0.0.1',
	port: Number(port),
	backlog: 4096,
	perMessageDeflate: false,
	clientTracking: false,
	skipUTF8Validation: true,
});

server.on('connection', (socket, request) => {
	const name = request.url;
	const members = channels.get(name) ?? new Set();
	channels.set(name, members);
	members.add(socket);
	socket.on('message', (data, binary) => {
		for (const member of members)
			member.send(data, { binary });
	});
	socket.on('error', () => socket.terminate());
	socket.on('close', () => {
		members.delete(socket);
		if (members.size === 0)
			channels.delete(name);
	});
});
server.on('listening', () => console.log(`listening on 127.0.0.1:${port}`));
