/*
 * oom: makes the nth allocation of a running worker or hub fail, by a library (oom.c) that is built
 * with the system's compiler and preloaded.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { removeDir, tempDir } from './cleanup.mjs';

const source = fileURLToPath(new URL('./oom.c', import.meta.url));

export class Oom {
	/* role: as in Node.role(). */
	constructor(role) {
		this.dir = tempDir('oom');
		const library = path.join(this.dir, 'oom.so');
		const control = path.join(this.dir, 'control');
		execFileSync(process.env.CC ?? 'cc',
			['-std=gnu11', '-O2', '-shared', '-fPIC', '-o', library, source]);
		fs.writeFileSync(control, Buffer.alloc(24));
		fs.chmodSync(control, 0o666);
		this.fd = fs.openSync(control, 'r+');
		/* For the environment of the node. */
		this.env = { LD_PRELOAD: library, OOM_CONTROL: control, OOM_ROLE: `fanfare: ${role}` };
	}

	/* The nth allocation from now on fails; 0: none does. */
	arm(n) {
		const value = Buffer.alloc(8);
		value.writeBigInt64LE(BigInt(n));
		fs.writeSync(this.fd, value, 0, 8, 0);
	}

	read(at) {
		const value = Buffer.alloc(8);
		fs.readSync(this.fd, value, 0, 8, at);
		return Number(value.readBigInt64LE());
	}

	get pending() {
		return this.read(0) > 0;
	}

	/* Allocations so far. */
	get seen() {
		return this.read(8);
	}

	/* How many of them have failed. */
	get failed() {
		return this.read(16);
	}

	close() {
		fs.closeSync(this.fd);
		removeDir(this.dir);
	}
}
