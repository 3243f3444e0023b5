// What ws.on('connection' | 'message' | 'close') was for, as Fanfare's hooks: see docs/HOOKS.md.
import http from 'node:http';

const answers = {
	connect: ({ query }) => {
		const user = new URLSearchParams(query).get('user'); // or by a cookie
		return user ? { user, channels: ['room:*'] } : { deny: true };
	},
	subscribe: ({ user, channel }) => (channel === `inbox:${user}` ? {} : { deny: true }),
	publish: ({ user, data }) =>
		(data?.text ? { data: { from: user, text: data.text } } : { deny: true }),
	disconnect: ({ user, seconds }) => console.log(`${user} has gone after ${seconds} s`),
};

http.createServer(async (req, res) => {
	const event = JSON.parse(Buffer.concat(await req.toArray()));
	res.end(JSON.stringify(answers[event.event](event) ?? {}));
}).listen(process.env.PORT ?? 3000, '127.0.0.1');
