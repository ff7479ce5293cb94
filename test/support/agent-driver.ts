import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { eventSchema, limits as defaults } from "@sessiond/shared";
import type { Limits, Sandbox } from "@sessiond/shared";
import type { Agent, AgentEvent, AgentSays, Answer, Question } from "../../packages/daemon/src/agents/agent.ts";
import type { OpenaiOptions } from "../../packages/daemon/src/agents/openai/kind.ts";
import { openaiKind } from "../../packages/daemon/src/agents/openai/kind.ts";
import { Transcript } from "../../packages/daemon/src/agents/transcript.ts";

/** Plays the session for one built-in agent: folds its events, checks them against the event table, and answers its questions. */
export type TurnEnd = Extract<AgentEvent, { type: "turn_end" }>;
export type Update = Extract<AgentEvent, { type: "tool_call_update" }>;
export type Judge = (question: Question) => Answer | Promise<Answer>;

export const allow: Judge = ({ digest }) => ({ allowed: true, digest });
export const refuse =
  (reason: string): Judge =>
  () => ({ allowed: false, reason });

const made: string[] = [];
afterAll(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});

/** Gone when the tests of its file are through. */
export function tempDir(): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), "sessiond-agent-")));
  made.push(dir);
  return dir;
}

export interface DriverOptions extends Partial<Omit<OpenaiOptions, "limits">> {
  readonly workdir?: string;
  readonly limits?: Partial<Limits>;
  readonly named?: string;
  readonly judge?: Judge;
  readonly transcript?: Transcript;
  /** What the session was started with. */
  readonly given?: Readonly<Record<string, string>>;
  readonly sandbox?: Sandbox;
}

const promptIdOf = (count: number): string => `prm_${String(count).padStart(22, "0")}`;

export class AgentDriver {
  readonly workdir: string;
  readonly transcript: Transcript;
  readonly agent: Agent;
  readonly #judge: Judge;
  /** Sent to steer, and not delivered yet. */
  readonly steering: { readonly prompt_id: string; readonly parts: { type: "text"; text: string }[] }[] = [];
  #turns = 0;
  #prompts = 0;

  constructor({
    workdir = tempDir(),
    limits = {},
    named = "practice",
    judge = allow,
    transcript = new Transcript(),
    given = {},
    sandbox = "off",
    ...options
  }: DriverOptions = {}) {
    this.workdir = workdir;
    this.transcript = transcript;
    this.#judge = judge;
    const env = { PATH: process.env["PATH"] ?? "", HOME: workdir };
    const kind = openaiKind({
      forbiddenDirs: [],
      childEnv: env,
      mark: (callId) => `ins.boot.${callId}`,
      ...options,
      limits: { ...defaults, kill_wait_ms: 500, ...limits },
    });
    this.agent = kind.create({
      sessionId: "ses_x",
      workdir,
      model: named,
      env: given,
      sandbox,
      transcript: () => Promise.resolve(this.transcript),
      chosen: () => ({ model: named, title: false, mode: null, options: {} }),
      conversation: () => null,
      turnsBefore: () => Math.max(0, this.#turns - 1),
      tell: () => undefined,
      drained: () => null,
    });
  }

  /** Begin a turn with this prompt. */
  prompt(text: string): DrivenTurn {
    this.#turns += 1;
    this.#prompts += 1;
    const turn_id = `trn_${String(this.#turns).padStart(22, "0")}`;
    const prompt_id = promptIdOf(this.#prompts);
    const parts = [{ type: "text" as const, text }];
    this.transcript.fold({ type: "prompt_accepted", prompt_id, parts, digest: "", when_busy: "queue", became: "started", by: { label: "test" } });
    this.transcript.fold({ type: "prompt_delivered", prompt_id, turn_id });
    return new DrivenTurn(this, { turnId: turn_id, parts, judge: this.#judge });
  }

  /** Send a prompt that steers the running turn: it is delivered when the agent comes for it. */
  steer(text: string): void {
    this.#prompts += 1;
    this.steering.push({ prompt_id: promptIdOf(this.#prompts), parts: [{ type: "text", text }] });
  }

  /** Take up the last turn, as after a restart. */
  resume(turnId: string): DrivenTurn {
    return new DrivenTurn(this, { turnId, parts: null, judge: this.#judge });
  }
}

export class DrivenTurn {
  readonly turnId: string;
  readonly events: AgentEvent[] = [];
  readonly questions: Question[] = [];
  /** The turn's end, when nothing more comes. */
  readonly ended: Promise<TurnEnd>;
  readonly #driver: AgentDriver;
  readonly #abort = new AbortController();
  #watchers: (() => void)[] = [];

  constructor(driver: AgentDriver, { turnId, parts, judge }: { turnId: string; parts: { type: "text"; text: string }[] | null; judge: Judge }) {
    this.turnId = turnId;
    this.#driver = driver;
    const ask = async (question: Question): Promise<Answer> => {
      this.questions.push(question);
      this.#wake();
      const aborted = new Promise<Answer>((resolve) => this.#abort.signal.addEventListener("abort", () => resolve({ allowed: false, reason: "interrupted" })));
      return Promise.race([aborted, Promise.resolve().then(() => judge(question))]);
    };
    const takeSteering = (): number => {
      const taken = this.#abort.signal.aborted ? [] : driver.steering.splice(0);
      for (const { prompt_id, parts: steered } of taken) {
        driver.transcript.fold({
          type: "prompt_accepted",
          prompt_id,
          parts: steered,
          digest: "",
          when_busy: "steer",
          became: "steering",
          by: { label: "test" },
        });
        driver.transcript.fold({ type: "prompt_delivered", prompt_id, turn_id: turnId });
      }
      return taken.length;
    };
    const turn = { turnId, signal: this.#abort.signal, ask, takeSteering };
    this.ended = this.#play(parts === null ? driver.agent.resume(turn) : driver.agent.prompt(parts, turn));
  }

  interrupt(): void {
    this.#abort.abort();
  }

  /** Resolves when `condition` holds; looked at after each event and question. */
  async until(condition: (turn: DrivenTurn) => boolean): Promise<void> {
    while (!condition(this)) await new Promise<void>((resolve) => this.#watchers.push(resolve));
  }

  text(type: "agent_message_chunk" | "agent_thought_chunk" | "tool_call_chunk" = "agent_message_chunk"): string {
    return this.events.map((event) => (event.type === type ? event.content.text : "")).join("");
  }

  /** Final updates of tool calls, in order. */
  get results(): Update[] {
    return this.events.filter((event): event is Update => event.type === "tool_call_update" && event.status !== "in_progress");
  }

  async #play(all: AsyncIterable<AgentSays>): Promise<TurnEnd> {
    let end: TurnEnd | undefined;
    for await (const said of all) {
      for (const event of "type" in said ? [said] : said) {
        if (end !== undefined) throw new Error("An event after turn_end");
        this.events.push(event);
        if (event.type === "turn_end") end = event;
        else this.#driver.transcript.fold(eventSchema.parse({ ...event, turn_id: this.turnId }));
        this.#wake();
      }
    }
    if (end === undefined) throw new Error("No turn_end");
    return end;
  }

  #wake(): void {
    const watchers = this.#watchers;
    this.#watchers = [];
    for (const watcher of watchers) watcher();
  }
}
