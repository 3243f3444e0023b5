/*
 * inflate: DEFLATE data (RFC 1951) read strictly, with the distances that it uses.
 *
 * zlib, given the room, follows references that reach farther back than the window that was agreed;
 * this one refuses them.
 */

/* Base and number of extra bits of the length codes 257 to 285 and of the distance codes. */
const LENGTHS = [];
const DISTANCES = [];
for (let code = 0, base = 3; code < 28; code++) {
	const extra = code < 8 ? 0 : (code >> 2) - 1;
	LENGTHS.push([base, extra]);
	base += 1 << extra;
}
LENGTHS.push([258, 0]);
for (let code = 0, base = 1; code < 30; code++) {
	const extra = code < 4 ? 0 : (code >> 1) - 1;
	DISTANCES.push([base, extra]);
	base += 1 << extra;
}

class Bits {
	constructor(bytes) {
		this.bytes = bytes;
		this.at = 0; /* in bits */
	}

	bit() {
		const byte = this.bytes[this.at >> 3];
		if (byte === undefined)
			throw new Error('the data is cut');
		return (byte >> (this.at++ & 7)) & 1;
	}

	number(n) {
		let value = 0;
		for (let i = 0; i < n; i++)
			value |= this.bit() << i;
		return value;
	}

	/* A code of a table made by codes(). */
	symbol(table) {
		let code = 1;
		for (let n = 0; n < 15; n++) {
			code = code << 1 | this.bit();
			const symbol = table.get(code);
			if (symbol !== undefined)
				return symbol;
		}
		throw new Error('a code that is none');
	}
}

/* The canonical Huffman codes of these lengths, each with a 1 before its first bit. */
function codes(lengths) {
	const table = new Map();
	let code = 0;
	for (let n = 1; n <= 15; n++) {
		lengths.forEach((length, symbol) => {
			if (length === n)
				table.set((1 << n) + code++, symbol);
		});
		if (code > 1 << n)
			throw new Error('more codes than there can be');
		code <<= 1;
	}
	return table;
}

const FIXED = [
	codes(Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8))),
	codes(Array(30).fill(5)),
];
const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

function dynamic(bits) {
	const literals = bits.number(5) + 257;
	const distances = bits.number(5) + 1;
	const some = Array(19).fill(0);
	const n = bits.number(4) + 4;
	for (let i = 0; i < n; i++)
		some[ORDER[i]] = bits.number(3);
	const table = codes(some);
	const lengths = [];
	while (lengths.length < literals + distances) {
		const symbol = bits.symbol(table);
		if (symbol < 16) {
			lengths.push(symbol);
			continue;
		}
		if (symbol === 16 && lengths.length === 0)
			throw new Error('nothing to repeat');
		const value = symbol === 16 ? lengths.at(-1) : 0;
		const times = symbol === 16 ? 3 + bits.number(2)
			: symbol === 17 ? 3 + bits.number(3) : 11 + bits.number(7);
		for (let i = 0; i < times; i++)
			lengths.push(value);
	}
	if (lengths.length > literals + distances)
		throw new Error('more lengths than were announced');
	return [codes(lengths.slice(0, literals)), codes(lengths.slice(literals))];
}

/*
 * Inflates all of bytes.  before: what was inflated earlier and may be referred to.  Returns
 * { data, farthest, blocks }: the farthest distance, and the type of each block.  Throws where the
 * data is malformed or does not end with the end of a block.
 */
export function inflate(bytes, before = Buffer.alloc(0)) {
	const bits = new Bits(bytes);
	const out = [...before];
	const blocks = [];
	let farthest = 0;
	let last = 0;
	while (!last && bits.at < bytes.length * 8) {
		last = bits.bit();
		const type = bits.number(2);
		blocks.push(type);
		if (type === 0) {
			bits.at = (bits.at + 7) & ~7;
			const n = bits.number(16);
			if ((n ^ bits.number(16)) !== 0xffff)
				throw new Error('a stored length without its complement');
			for (let i = 0; i < n; i++)
				out.push(bits.number(8));
			continue;
		}
		if (type === 3)
			throw new Error('a block of type 3');
		const [literals, distances] = type === 1 ? FIXED : dynamic(bits);
		for (let symbol = bits.symbol(literals); symbol !== 256; symbol = bits.symbol(literals)) {
			if (symbol < 256) {
				out.push(symbol);
				continue;
			}
			const [base, extra] = LENGTHS[symbol - 257];
			const length = base + bits.number(extra);
			const [from, more] = DISTANCES[bits.symbol(distances)];
			const distance = from + bits.number(more);
			if (distance > out.length)
				throw new Error(`a distance of ${distance} after ${out.length} bytes`);
			farthest = Math.max(farthest, distance);
			for (let i = 0; i < length; i++)
				out.push(out[out.length - distance]);
		}
	}
	return { data: Buffer.from(out.slice(before.length)), farthest, blocks };
}
