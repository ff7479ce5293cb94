import { amount } from "../support/amount.ts";
import type { Chance } from "../support/chance.ts";
import { frameOf, type FrameShape } from "./entrance.ts";

/**
 * Frames that no WebSocket library would send, each around a call that would be in order. What must come of it: the call is
 * answered, or the socket is closed with one of these codes.
 */
export interface FrameAttack {
  /** The close codes, any of which will do; none: the call is answered. */
  readonly codes: readonly number[];
  /** It says no more after that: half of something stays half. */
  readonly leaves?: true;
  /** It is cut off without a word. */
  readonly cut?: true;
  frames(call: string, chance: Chance): readonly Buffer[];
}

const protocolError = [1002];
const shaped =
  (shape: FrameShape): FrameAttack["frames"] =>
  (call) => [frameOf(call, shape)];
const refused = (codes: readonly number[], frames: FrameAttack["frames"]): FrameAttack => ({ codes, frames });
const answered = (frames: FrameAttack["frames"]): FrameAttack => ({ codes: [], frames });
const one = <T>(chance: Chance, values: readonly T[]): T => values[Math.floor(chance.upTo(values.length))] as T;

/** A message in pieces of so many bytes, with what may come between them. */
function pieces(call: string, size: number, between: readonly Buffer[] = []): Buffer[] {
  const bytes = Buffer.from(call);
  const count = Math.ceil(bytes.length / size);
  return Array.from({ length: count }, (_, n) => {
    const piece = frameOf(bytes.subarray(n * size, (n + 1) * size), { opcode: n === 0 ? 1 : 0, fin: n === count - 1 });
    return n < count - 1 ? Buffer.concat([piece, ...between]) : piece;
  });
}

const close = (code: number, reason: Buffer | string = ""): Buffer =>
  frameOf(Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]), { opcode: 8 });
const bytesMax = 1_048_576n;
const flood = Buffer.concat([frameOf("[", { fin: false }), ...Array.from({ length: amount(20_000, 100_000) }, () => frameOf(" ", { opcode: 0, fin: false }))]);

const many = (count: number, frame: (n: number) => Buffer): Buffer => Buffer.concat(Array.from({ length: count }, (_, n) => frame(n)));
const control = (opcode: number) => (): Buffer => frameOf("x".repeat(125), { opcode });
const [pings, fewPings, pongs] = [many(2_000, control(9)), many(50, control(9)), many(2_000, control(10))];
const words = many(2_000, (n) => frameOf(n % 2 === 0 ? "PING" : "PONG"));
const emptyPieces = many(1_000, () => frameOf("", { opcode: 0, fin: false }));

export const frameAttacks: Readonly<Record<string, FrameAttack>> = {
  unmasked: refused(protocolError, shaped({ masked: false })),
  "RSV1, as compressed": refused(protocolError, shaped({ rsv: 0x40 })),
  RSV2: refused(protocolError, shaped({ rsv: 0x20 })),
  RSV3: refused(protocolError, shaped({ rsv: 0x10 })),
  "reserved data opcode": refused(protocolError, (call, chance) => [frameOf(call, { opcode: one(chance, [3, 4, 5, 6, 7]) })]),
  "reserved control opcode": refused(protocolError, (_call, chance) => [frameOf("", { opcode: one(chance, [11, 12, 13, 14, 15]) })]),
  "control frame too long": refused(protocolError, (call, chance) => [frameOf(call.padEnd(126, " "), { opcode: one(chance, [8, 9, 10]) })]),
  "control frame in pieces": refused(protocolError, (_call, chance) => [frameOf("x", { opcode: one(chance, [8, 9, 10]), fin: false })]),
  "continuation of nothing": refused(protocolError, shaped({ opcode: 0 })),
  "message in a message": refused(protocolError, (call) => [frameOf("{", { fin: false }), frameOf(call)]),
  "length beyond the limit": refused([1009], (call) => [frameOf(call, { length: bytesMax + 1n })]),
  "length beyond all bounds": refused([1009], (call, chance) => [frameOf(call, { length: one(chance, [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) })]),
  "pieces beyond the limit": refused([1009], (call) => [frameOf(call, { fin: false }), frameOf("", { opcode: 0, length: bytesMax })]),
  "length longer than needed": answered(shaped({ long: true })),
  "half a frame": { codes: [], leaves: true, frames: (call) => [frameOf(call).subarray(0, -1)] },
  "a megabyte that never comes": { codes: [], leaves: true, frames: (call) => [frameOf(call, { length: bytesMax })] },
  "half a header": { codes: [], leaves: true, frames: () => [Buffer.from([0x81])] },
  "piece without an end": { codes: [], leaves: true, frames: (call) => [frameOf(call, { fin: false })] },
  "close code of nobody": refused(protocolError, (_call, chance) => [close(one(chance, [0, 999, 1004, 1005, 1006, 1015, 2_999, 5_000, 65_535]))]),
  "close code cut in half": refused(protocolError, () => [frameOf("\u0003", { opcode: 8 })]),
  "close reason no text": refused([1007], () => [close(1_000, Buffer.from([0xff, 0xfe]))]),
  "a call after the goodbye": refused([1000], (call) => [close(1_000), frameOf(call)]),
  "text that is no UTF-8": refused([1007], (call, chance) => [
    frameOf(Buffer.concat([Buffer.from(call), Buffer.from(one(chance, [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5, 0x80], [0xc3]]))])),
  ]),
  "a letter in two pieces": answered((call) => pieces(call.replace("{", '{"\u{1f600}":1,'), 3)),
  "pieces of one byte": answered((call) => pieces(call, 1)),
  "pings between pieces": answered((call) => pieces(call, Math.ceil(call.length / 20), [frameOf("x", { opcode: 9 }), frameOf("", { opcode: 10 })])),
  "empty pieces": answered((call) => [frameOf("", { fin: false }), emptyPieces, frameOf(call, { opcode: 0 })]),
  "flood of pieces": refused([1008], () => [flood]),
  "some pings": answered((call) => [fewPings, frameOf(call)]),
  // `ws` itself cuts who sends more pings at once than it has answered.
  "flood of pings": { codes: [], cut: true, frames: () => [pings] },
  "flood of pongs": answered((call) => [pongs, frameOf(call)]),
  "words by the thousand": answered((call) => [words, frameOf(call)]),
  "a byte at a time": answered((call) => [...[...frameOf(call).subarray(0, 60)].map((byte) => Buffer.from([byte])), frameOf(call).subarray(60)]),
};
