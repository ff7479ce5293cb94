import { cp, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { limits as defaults, type Frame, type Limits, type SessionEvent } from "@sessiond/shared";
import { countedDisk } from "../../packages/daemon/src/counted-disk.ts";
import { Counters } from "../../packages/daemon/src/counters.ts";
import { realDisk, type Disk } from "../../packages/daemon/src/disk.ts";
import { Transcript } from "../../packages/daemon/src/agents/transcript.ts";
import { SessionLog, type LogOptions } from "../../packages/daemon/src/session/session-log.ts";
import { FakeClock } from "./fake-clock.ts";

/** One session's log on real files, without a daemon around it, with segments so small that a few turns fill many. */
export interface LogRigOptions {
  readonly directory?: string;
  readonly disk?: Disk;
  readonly limits?: Partial<Limits>;
}

const directories = new Set<string>();
const logs = new Set<SessionLog>();

/** For `afterEach`. */
export async function endLogs(): Promise<void> {
  await Promise.all([...logs].map((log) => log.close().catch(() => undefined)));
  logs.clear();
  for (const directory of directories) await rm(directory, { recursive: true, force: true });
  directories.clear();
}

export async function tempDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "ssd-log-"));
  directories.add(directory);
  return directory;
}

const id = (kind: string, n: number | string): string =>
  `${kind}_${String(n)
    .replaceAll(/[^0-9A-Za-z]/g, "z")
    .padStart(22, "0")}`;
const by = { label: "editor" };
const text = (length: number, mark: string): string => mark.padEnd(length, ".").slice(0, length);

export class LogRig {
  readonly log: SessionLog;
  readonly directory: string;
  readonly counters: Counters;
  readonly reported: unknown[];
  readonly aside: { path: string; reason: string }[];
  readonly damage: string;
  /** What was applied here, whatever became of it. */
  readonly applied: Frame[] = [];
  readonly #options: LogRigOptions;
  readonly #logOptions: LogOptions;

  private constructor(parts: Pick<LogRig, "log" | "directory" | "counters" | "reported" | "aside" | "damage">, options: LogRigOptions, logOptions: LogOptions) {
    this.log = parts.log;
    this.directory = parts.directory;
    this.counters = parts.counters;
    this.reported = parts.reported;
    this.aside = parts.aside;
    this.damage = parts.damage;
    this.#options = options;
    this.#logOptions = logOptions;
    logs.add(this.log);
  }

  static async open(options: LogRigOptions = {}): Promise<LogRig> {
    const clock = new FakeClock();
    const counters = new Counters();
    const reported: unknown[] = [];
    const aside: LogRig["aside"] = [];
    const directory = options.directory ?? (await tempDirectory());
    const logOptions: LogOptions = {
      sessionId: id("ses", 1),
      directory,
      disk: countedDisk(options.disk ?? realDisk(), counters),
      clock,
      counters,
      limits: { ...defaults, segment_bytes_max: 4_096, ...options.limits },
      setAside: (path, reason) => void aside.push({ path, reason }),
      report: (error) => void reported.push(error),
    };
    const { log, damage } = await SessionLog.open(logOptions);
    return new LogRig({ log, directory, counters, reported, aside, damage }, options, logOptions);
  }

  apply(event: SessionEvent): number {
    const seq = this.log.apply(event);
    this.applied.push({ seq, at: this.#logOptions.clock.now(), event });
    return seq;
  }

  begin(): Promise<void> {
    return this.log.durable(this.apply({ type: "session_started", life: 1, workdir: "/w", agent: "a", model: "m" }));
  }

  /** One turn, durable when this resolves: a prompt, an answer and a tool's output in chunks. `patient`: nobody waits for a sync before its end. */
  async turn(n: number | string, { chunks = 8, chunkChars = 40, output = 4, patient = false } = {}): Promise<number> {
    const [prompt_id, turn_id, tool_call_id, message_id] = [id("prm", n), id("trn", n), `call ${n}`, `message ${n}`];
    const content = (part: number) => ({ type: "text" as const, text: text(chunkChars, `${n}/${part} `) });
    this.apply({ type: "prompt_accepted", prompt_id, parts: [{ type: "text", text: `prompt ${n}` }], digest: "d", when_busy: "queue", became: "started", by });
    this.apply({ type: "turn_started", turn_id, prompt_ids: [prompt_id] });
    this.apply({ type: "prompt_delivered", prompt_id, turn_id });
    for (let part = 0; part < chunks; part++) {
      this.apply({ type: "agent_message_chunk", turn_id, message_id, content: content(part) });
      const { seq } = this.log.decided.state;
      if (part % 4 === 3) await (patient ? this.log.room.shown(seq) : this.log.durable(seq));
    }
    this.apply({ type: "tool_call", turn_id, tool_call_id, message_id, tool: "shell", kind: "execute", title: "t", input: { command: "x" } });
    this.apply({ type: "tool_call_update", turn_id, tool_call_id, status: "in_progress" });
    for (let part = 0; part < output; part++) this.apply({ type: "tool_call_chunk", turn_id, tool_call_id, content: content(part) });
    this.apply({ type: "tool_call_update", turn_id, tool_call_id, status: "completed", result: text(output * chunkChars, "result") });
    const seq = this.apply({ type: "turn_ended", turn_id, stop_reason: "end_turn" });
    await this.log.durable(seq);
    return seq;
  }

  /** Turns until there are so many segments. */
  async turnsUntil(segments: number, name = "t"): Promise<void> {
    for (let n = 0; (await this.segments()).length < segments; n++) {
      await this.turn(`${name}${n}`);
      await this.log.idle();
    }
    // So that the newest one holds something.
    await this.visit(name);
  }

  /** Turns until something has happened. */
  async turnsUntilHeld(reached: Promise<void>, name = "h"): Promise<void> {
    let held = false;
    void reached.then(() => (held = true));
    for (let n = 0; !held; n++) await this.turn(`${name}${n}`);
  }

  /** Somebody looks in. */
  async visit(n: number | string, times = 1): Promise<void> {
    for (let time = 0; time < times; time++) {
      this.apply({ type: "seat_taken", seat_id: id("seat", `${n}z${time}`), role: "viewer", label: `visitor ${n}` });
      this.apply({ type: "seat_left", seat_id: id("seat", `${n}z${time}`), role: "viewer", cause: "detach" });
    }
    await this.log.durable(this.log.decided.state.seq);
  }

  /** The segments' names, oldest first. */
  async segments(): Promise<string[]> {
    const names = (await readdir(this.directory)).filter((name) => /^journal(-\d+)?$/.test(name));
    return names.toSorted((a, b) => Number(a.slice(8)) - Number(b.slice(8)));
  }

  async bytesOnDisk(): Promise<number> {
    const sizes = (await readdir(this.directory)).map(async (name) => (await stat(join(this.directory, name))).size);
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  }

  /** Every frame on disk, as a reader of the files sees them. */
  async frames(): Promise<Frame[]> {
    const texts = await Promise.all((await this.segments()).map((name) => readFile(join(this.directory, name), "utf8")));
    const lines = texts.flatMap((whole) => whole.split("\n")).filter((line) => line.startsWith('{"seq":'));
    return lines.map((line) => JSON.parse(line) as Frame);
  }

  /** The conversation, from what was shown of what was applied. */
  async folded(): Promise<Transcript> {
    const transcript = new Transcript();
    for (const frame of this.applied) if (frame.seq <= this.log.shown.state.seq) transcript.fold(frame.event);
    return transcript;
  }

  /** The log as one of a stopped session is read; close it. */
  reading(): Promise<SessionLog> {
    return SessionLog.openForReading(this.#logOptions);
  }

  /** What a start after `kill -9` at this instant finds. */
  async copy(): Promise<string> {
    const directory = await tempDirectory();
    await cp(this.directory, directory, { recursive: true });
    return directory;
  }

  /** The same log opened once more: closed before, or in a copy that a crash left. */
  async again(options: LogRigOptions = {}): Promise<LogRig> {
    const { disk: _disk, ...kept } = this.#options;
    await this.log.close();
    return LogRig.open({ ...kept, directory: this.directory, ...options });
  }
}

/** Pages through a log, one way or the other. */
export async function pages(log: SessionLog, { count = 7, bytes = 2_000, backwards = false } = {}): Promise<number[][]> {
  const found: number[][] = [];
  for (let at = backwards ? log.room.head + 1 : 0; ;) {
    const page = await (backwards ? log.room.pageBefore(at, count, bytes) : log.room.page(at, count, bytes));
    const seqs = page.map((frame) => frame.seq);
    if (seqs.length === 0) return backwards ? found.toReversed() : found;
    found.push(seqs);
    at = (backwards ? seqs[0] : seqs.at(-1)) ?? 0;
  }
}
