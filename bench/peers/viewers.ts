import { serveSide } from "../side-process.ts";
import { watchCodex } from "./codex.ts";
import { watchOpencode } from "./opencode.ts";
import type { Door, PeerName, Watch } from "./peer.ts";
import { watchSessiond } from "./sessiond.ts";
import { Tokens } from "./tokens.ts";

/** The viewers of all three, in a process of their own, as a user's terminals are. Every chunk is counted. */
export type ViewersQuestion =
  | { readonly watch: Door; readonly viewers: number }
  /** Resolves when each viewer has had that many chunks: numbered ones, or such that say when they were written. */
  | { readonly expect: number; readonly of: "numbers" | "times" }
  | { readonly leave: true };

export interface Seen {
  /** When the last viewer had the last chunk: the machine's one monotonic clock, ns. */
  readonly at: string;
  /** From the model's writing to the viewer's callback, ms; of all viewers. Empty for numbered chunks. */
  readonly delays: readonly number[];
}

const watches: Readonly<Record<PeerName, Watch>> = { sessiond: watchSessiond, opencode: watchOpencode, codex: watchCodex };
/** With nothing new for this long, what is missing will not come. */
const silenceMs = 20_000;

let texts: ((text: string) => void)[] = [];
let leave: () => void = () => undefined;

serveSide<ViewersQuestion>({}, async (question) => {
  if ("leave" in question) return leave();
  if ("expect" in question) return seeing(question.expect, question.of);
  texts = Array.from({ length: question.viewers }, () => () => undefined);
  const viewers = texts.map((_, index) => (text: string) => texts[index]?.(text));
  leave = await watches[question.watch.peer](question.watch, viewers);
  return undefined;
});

/** @throws Error when a viewer lost, doubled or moved a chunk */
function seeing(expected: number, of: "numbers" | "times"): Promise<Seen> {
  const delays: number[] = [];
  const taken = of === "numbers" ? (token: string, index: number) => Number(token) === index : late(delays);
  const all = texts.map(() => new Tokens(taken));
  return new Promise((resolve, reject) => {
    let full = 0;
    let before = -1;
    const watchdog = setInterval(() => {
      const had = all.reduce((sum, { count }) => sum + count, 0);
      if (had === before) end(new Error(`viewers had ${had} of ${expected * all.length} chunks, and nothing more came`));
      before = had;
    }, silenceMs);
    const end = (error?: Error): void => {
      clearInterval(watchdog);
      const wrong = all.find((tokens) => tokens.wrong !== undefined)?.wrong;
      if (error !== undefined || wrong !== undefined) reject(error ?? new Error(wrong));
      else resolve({ at: String(process.hrtime.bigint()), delays });
    };
    all.forEach((tokens, index) => {
      texts[index] = (text) => {
        const had = tokens.count;
        tokens.take(text);
        if (had < expected && tokens.count >= expected && ++full === all.length) end();
      };
    });
  });
}

const late =
  (delays: number[]) =>
  (token: string): boolean => {
    delays.push(Number(process.hrtime.bigint() - BigInt(token)) / 1e6);
    return true;
  };
