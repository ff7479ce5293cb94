import { isErrorCode, type ErrorCode } from "@sessiond/shared";
import { frameOf, type Entrance, type Upgrade } from "./entrance.ts";
import { answersDue } from "./answers-due.ts";
import type { Said } from "./mutators.ts";
import { RawPeer } from "./raw-peer.ts";

/**
 * Messages said in one breath on one connection, and what becomes of each: all of them are answered, or the connection is
 * closed with a code. Who waits in vain is told of with its message.
 */
export interface Shot {
  readonly verb: string;
  readonly mutator: string;
  readonly said: Said;
}

/** A row of the table of errors, `ok`, that there was nothing to answer, or why its connection was closed. */
export type Fate = ErrorCode | "ok" | "nothing asked" | "closed with its credential" | "turned out";

export interface Jury {
  readonly callsMax: number;
  /** Looks at each answer. @throws when nobody may be told that */
  inspect(text: string, error: WireFailure | undefined): void;
  fate(shot: Shot, fate: Fate): void;
}

export interface WireFailure {
  readonly message: string;
  readonly data: { readonly code: string };
}

interface Answer {
  readonly id: unknown;
  readonly error?: WireFailure;
  readonly result?: { readonly type: string; readonly id?: string };
}

interface Waiting {
  readonly shot: Shot;
  left: number;
}

const patienceMs = 60_000;
const closings: ReadonlyMap<number | null, Fate> = new Map<number, Fate>([
  [4001, "closed with its credential"],
  // Over TCP, where more was refused within a millisecond than may be within the throttles' window.
  [4029, "turned out"],
]);

export class Gunner {
  readonly #peer: RawPeer;
  readonly #jury: Jury;
  /** By id: who waits for an answer, in the order of their coming. */
  readonly #waiting = new Map<string, Waiting[]>();
  /** Streams that were started and have said nothing, and all that were started. */
  readonly #started = new Set<string>();
  readonly #streams = new Set<string>();
  /** Who has been answered, as a stream may be more than once. */
  readonly #known = new Set<string>();
  #left = 0;
  #wrong: unknown = null;

  private constructor(peer: RawPeer, jury: Jury) {
    this.#peer = peer;
    this.#jury = jury;
    peer.onText = (text) => {
      try {
        this.#take(text);
      } catch (error) {
        this.#wrong ??= error;
        peer.end();
      }
    };
  }

  static async open(entrance: Entrance, jury: Jury, upgrade?: Upgrade): Promise<Gunner> {
    return new Gunner(await RawPeer.upgraded(entrance, upgrade), jury);
  }

  /** Resolves when each message has met its fate. @throws when one has not, or was answered what nobody may be told */
  async fire(shots: readonly Shot[]): Promise<void> {
    const frames = shots.map(({ said }) => frameOf(said.bytes, { opcode: said.binary ? 2 : 1 }));
    for (const shot of shots) this.#await(shot);
    let heard = false;
    this.#peer.onPong = () => (heard = true);
    this.#peer.say(Buffer.concat([...frames, frameOf("", { opcode: 9 })]));
    const hurry = setTimeout(() => this.#peer.end(), patienceMs);
    await this.#peer.until(() => heard && this.#left === 0);
    clearTimeout(hurry);
    if (this.#wrong !== null) throw this.#wrong;
    const closing = closings.get(this.#peer.code);
    if (closing !== undefined) return this.#buried(closing);
    if (this.#left > 0)
      throw new Error(`unanswered${this.#peer.isOver ? ` when its socket was closed with ${String(this.#peer.code)}` : ""}: ${this.#unanswered()}`);
    this.#stopStreams();
  }

  get isOver(): boolean {
    return this.#peer.isOver;
  }

  close(): Promise<unknown> {
    this.#peer.end();
    return this.#peer.ended;
  }

  #await(shot: Shot): void {
    const { ids } = answersDue(shot.said, this.#jury.callsMax);
    const waiting = { shot, left: ids.length };
    if (ids.length === 0) return this.#jury.fate(shot, "nothing asked");
    this.#left += 1;
    for (const id of ids) {
      this.#known.add(id);
      this.#waiting.set(id, [...(this.#waiting.get(id) ?? []), waiting]);
    }
  }

  #take(text: string): void {
    if (text === "PONG") return this.#answered("PONG", "ok");
    const { id, error, result } = JSON.parse(text) as Answer;
    this.#jury.inspect(text, error);
    const key = JSON.stringify(id);
    if (error !== undefined) {
      if (!isErrorCode(error.data.code)) throw new Error(`no row of the table: ${text}`);
      return this.#answered(key, error.data.code);
    }
    if (result?.type === "started") {
      this.#started.add(key);
      this.#streams.add(key);
      return;
    }
    // Of a stream the first word is the answer.
    if (result?.id !== undefined && !this.#started.has(key)) return;
    if (result?.id !== undefined) this.#started.delete(key);
    this.#answered(key, "ok");
  }

  #answered(id: string, fate: Fate): void {
    if (!this.#known.has(id)) throw new Error(`an answer that nobody asked for, under ${id.slice(0, 100)}`);
    const [first, ...others] = this.#waiting.get(id) ?? [];
    if (first === undefined) return;
    if (others.length > 0) this.#waiting.set(id, others);
    else this.#waiting.delete(id);
    first.left -= 1;
    if (first.left > 0) return;
    this.#left -= 1;
    this.#jury.fate(first.shot, fate);
  }

  #buried(fate: Fate): void {
    for (const { shot } of new Set([...this.#waiting.values()].flat())) this.#jury.fate(shot, fate);
    this.#waiting.clear();
    this.#left = 0;
  }

  #stopStreams(): void {
    const stops = [...this.#streams].map((id) => frameOf(`{"id":${id},"method":"subscription.stop"}`));
    this.#streams.clear();
    if (stops.length > 0) this.#peer.say(Buffer.concat(stops));
  }

  #unanswered(): string {
    return [...new Set([...this.#waiting.values()].flat())]
      .slice(0, 4)
      .map(({ shot }) => described(shot))
      .join("\n");
  }
}

/** What a failure prints of a message. */
const described = ({ verb, mutator, said }: Shot): string => `${verb}, ${mutator}: ${JSON.stringify(said.bytes.toString()).slice(0, 400)}`;
