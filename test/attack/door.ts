import { RawPeer } from "./raw-peer.ts";
import type { Entrance } from "./entrance.ts";
import type { FrameAttack } from "./frame-attacks.ts";
import type { HttpAttack } from "./http-attacks.ts";
import type { Chance } from "../support/chance.ts";

/** One connection an attack: what was said, and what came of it. */
export interface Attempt {
  readonly entrance: Entrance;
  readonly verb: string;
  /** A call of it that would be in order, and its id. */
  readonly call: string;
  readonly id: number;
  readonly chance: Chance;
}

const patienceMs = 30_000;

/** @returns the fate. @throws when it is another than the attack allows */
export async function attackFrames(attack: FrameAttack, { entrance, call, id, chance }: Attempt): Promise<string> {
  const peer = await RawPeer.upgraded(entrance);
  const texts = textsOf(peer);
  for (const bytes of attack.frames(call, chance)) peer.say(bytes);
  // Who is to be closed waits for nothing else: where the daemon has nothing against it, it is over all the same.
  if (attack.leaves || attack.codes.length > 0) peer.finish();
  const isAnswered = (): boolean => texts.some((text) => text.startsWith(`{"id":${id},`));
  const hurry = setTimeout(() => peer.end(), patienceMs);
  if (attack.leaves || attack.cut || attack.codes.length > 0) await peer.ended;
  else await peer.until(isAnswered);
  clearTimeout(hurry);
  peer.end();
  await peer.ended;
  if (attack.leaves && texts.length === 0) return "closed when it left";
  if (attack.cut && texts.length === 0) return "cut off";
  if (attack.codes.length === 0 && isAnswered()) return "answered";
  if (peer.code !== null && attack.codes.includes(peer.code) && texts.length === 0) return `closed with ${peer.code}`;
  throw new Error(`closed with ${String(peer.code)}, told ${JSON.stringify(texts).slice(0, 300)}`);
}

/** @returns the fate. @throws when it is another than the attack allows */
export async function attackHttp(attack: HttpAttack, attempt: Attempt): Promise<string> {
  const peer = new RawPeer(attempt.entrance);
  const texts = textsOf(peer);
  peer.say(attack.bytes(attempt));
  const hurry = setTimeout(() => peer.end(), patienceMs);
  await peer.until(() => texts.length > 0);
  clearTimeout(hurry);
  peer.end();
  const { status, code, error } = await peer.ended;
  // Who is turned away before it has said everything may miss the answer.
  if (status === 0 && (error === "EPIPE" || error === "ECONNRESET")) return "closed while it spoke";
  if (!attack.status.includes(status)) throw new Error(`status ${status}, closed with ${String(code ?? error)}`);
  if (status !== 101) return `status ${status}`;
  if (/sec-websocket-extensions/i.test(peer.head)) throw new Error(`it took an extension: ${peer.head}`);
  if (texts.length > 0) return "answered";
  if (code === null) throw new Error("a WebSocket that was closed without a code");
  return `closed with ${code}`;
}

function textsOf(peer: RawPeer): string[] {
  const texts: string[] = [];
  peer.onText = (text) => {
    if (text !== "PONG") texts.push(text);
  };
  return texts;
}

/** All of it, so many at once. */
export async function side<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let item = left.pop(); item !== undefined; item = left.pop()) await work(item);
    }),
  );
}
