/*
 * Tokens (JWT) and their keys, made with Node's own crypto, so that a test of Fanfare's verifier
 * does not rest on Fanfare's signer.
 *
 *	const key = makeKey('ES256', 'k1');
 *	fs.writeFileSync(file, jwks(key));
 *	const token = sign({ sub: 'ada', exp: inSeconds(60) }, key);
 *	const plain = sign({ sub: 'ada' }, { key: 'the auth.secret of at least 32 bytes' });
 *
 * sign adds an exp of an hour hence where the claims have none; pass `exp: undefined` to leave it out.
 */
import crypto from 'node:crypto';

const base64url = (data) => Buffer.from(data).toString('base64url');

/* A NumericDate (RFC 7519 §2) so many seconds from now. */
export const inSeconds = (n) => Math.floor(Date.now() / 1000) + n;

const pairs = {
	RS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
	ES256: () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
	EdDSA: () => crypto.generateKeyPairSync('ed25519'),
};

/*
 * A new key: { alg, kid, key, jwk, secret } where `key` is what sign takes, `jwk` what the broker is
 * given (the public half; the secret of HMAC), and `secret` the bytes of an HMAC's.  `extra` is added
 * to the jwk.
 */
export function makeKey(alg = 'HS256', kid = undefined, extra = {}) {
	const names = { ...(kid === undefined ? {} : { kid }), alg, ...extra };
	if (alg.startsWith('HS')) {
		const secret = crypto.randomBytes(Number(alg.slice(2)) / 8);
		return { alg, kid, key: secret, secret,
			jwk: { kty: 'oct', k: base64url(secret), ...names } };
	}
	const { publicKey, privateKey } = pairs[alg]();
	return { alg, kid, key: privateKey, publicKey,
		jwk: { ...publicKey.export({ format: 'jwk' }), ...names },
		privateJwk: { ...privateKey.export({ format: 'jwk' }), ...names } };
}

/* The text of a JWK Set of such keys. */
export const jwks = (...keys) => `${JSON.stringify({ keys: keys.map((k) => k.jwk ?? k) })}\n`;

function signature(alg, key, input) {
	if (alg === 'none')
		return Buffer.alloc(0);
	if (alg.startsWith('HS'))
		return crypto.createHmac(`sha${alg.slice(2)}`, key).update(input).digest();
	if (alg === 'ES256')
		return crypto.sign('sha256', input, { key, dsaEncoding: 'ieee-p1363' });
	return crypto.sign(alg === 'EdDSA' ? null : 'sha256', input, key);
}

/* A token of exactly these texts of header and payload. */
export function signText(header, payload, { alg = 'HS256', key }) {
	const input = `${base64url(header)}.${base64url(payload)}`;
	return `${input}.${base64url(signature(alg, key, Buffer.from(input)))}`;
}

/*
 * A token of the claims.  `header` is added to { alg, typ, kid }, and may replace them; the signature is
 * made by `alg` all the same.
 */
export function sign(claims, { alg = 'HS256', key, kid = undefined, header = {} } = {}) {
	return signText(JSON.stringify({ alg, typ: 'JWT', kid, ...header }),
		JSON.stringify({ exp: inSeconds(3600), ...claims }), { alg, key });
}

/* Header and claims of a token, not verified. */
export function decode(token) {
	const [header, payload] = token.split('.').slice(0, 2)
		.map((part) => JSON.parse(Buffer.from(part, 'base64url')));
	return { header, claims: payload };
}
