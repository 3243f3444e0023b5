/*
 * certs: certificates made at test time, by the openssl program.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const openssl = (args) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });

/*
 * A certificate with a new key, NAME.pem and NAME.key in dir.  names: host names and addresses;
 * ca: another's result, or undefined for one that signs itself and may sign others.
 * Returns { pem, key, item } with the paths, and the item as tls.certificates has it.
 */
export function certificate(dir, name, { names = [], ca } = {}) {
	const pem = path.join(dir, `${name}.pem`);
	const key = path.join(dir, `${name}.key`);
	const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
		'-days', '30', '-subj', `/CN=${name}`, '-keyout', key, '-out', pem];
	if (names.length > 0) {
		const all = names.map((n) => (/^[\d.]+$/.test(n) ? `IP:${n}` : `DNS:${n}`));
		args.push('-addext', `subjectAltName=${all.join(',')}`);
	}
	if (ca)
		args.push('-CA', ca.pem, '-CAkey', ca.key, '-addext', 'basicConstraints=critical,CA:FALSE');
	openssl(args);
	return { pem, key, item: `${pem} ${key}` };
}

/* The key, encrypted, in a file beside it. */
export function encryptedKey(cert) {
	const out = `${cert.key}.locked`;
	openssl(['pkey', '-in', cert.key, '-aes128', '-passout', 'pass:sesame', '-out', out]);
	return out;
}

/* Puts one certificate with its key in the place of another's. */
export function replaceCertificate(old, by) {
	fs.copyFileSync(by.pem, old.pem);
	fs.copyFileSync(by.key, old.key);
}
