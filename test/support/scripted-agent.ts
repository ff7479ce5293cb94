import { wordsOf, type AgentInfo, type ContentPart, type StopReason } from "@sessiond/shared";
import { bindingDigest } from "../../packages/daemon/src/agents/agent.ts";
import type { Agent, AgentContext, AgentEvent, AgentKind, AgentTurn, Answer, Question } from "../../packages/daemon/src/agents/agent.ts";

/**
 * An agent that does nothing by itself: a test takes its turns one by one and says what they
 * yield, ask, and when. `auto` plays every turn without a test's hand.
 */
export interface ScriptOptions {
  /** Before each prompt is taken on. */
  readonly look?: () => Promise<void>;
  readonly park?: boolean;
  /** Comes for prompts in the middle of a turn; it does unless told otherwise. */
  readonly steer?: boolean;
  /** Which models there are; all, unless given. */
  readonly knows?: (model: string) => boolean;
  /** Does not react to the turn's signal, nor to being told to return. */
  readonly stubborn?: boolean;
  readonly auto?: (turn: ScriptedTurn) => void;
}

export class ScriptedKind implements AgentKind {
  readonly name = "scripted";
  readonly defaultModel = "script";
  /** All turns begun so far, resumed ones too. */
  readonly turns: ScriptedTurn[] = [];
  /** How often an agent was told to end its children. */
  closes = 0;
  /** Non-null: prompts are refused with it. */
  missing: string | null = null;
  readonly #options: ScriptOptions;
  #taken = 0;
  #waiting: (() => void)[] = [];

  constructor(options: ScriptOptions = {}) {
    this.#options = options;
  }

  knowsModel(model: string): boolean {
    return this.#options.knows?.(model) ?? true;
  }

  get #capabilities(): Agent["capabilities"] {
    return { park: this.#options.park ?? true, steer: this.#options.steer ?? true };
  }

  info(): AgentInfo {
    return {
      name: this.name,
      kind: "built_in",
      default_model: this.defaultModel,
      models: null,
      modes: [],
      capabilities: { ...this.#capabilities, images: false },
      unavailable: this.missing,
    };
  }

  create(context: AgentContext): Agent {
    return {
      capabilities: this.#capabilities,
      unavailable: () => this.missing,
      ...(this.#options.look && { look: this.#options.look }),
      prompt: (parts, turn) => this.#begin(new ScriptedTurn({ context, parts, turn, stubborn: this.#options.stubborn ?? false })),
      resume: (turn) => this.#begin(new ScriptedTurn({ context, parts: null, turn, stubborn: this.#options.stubborn ?? false })),
      close: () => {
        this.closes += 1;
        return Promise.resolve();
      },
    };
  }

  /** The next turn that no test has taken yet, when it begins. */
  async turn(): Promise<ScriptedTurn> {
    for (;;) {
      const turn = this.turns[this.#taken];
      if (turn !== undefined) {
        this.#taken += 1;
        return turn;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #begin(turn: ScriptedTurn): ScriptedTurn {
    this.turns.push(turn);
    this.#options.auto?.(turn);
    for (const wake of this.#waiting.splice(0)) wake();
    return turn;
  }
}

interface Begun {
  readonly context: AgentContext;
  readonly parts: readonly ContentPart[] | null;
  readonly turn: AgentTurn;
  readonly stubborn: boolean;
}

export class ScriptedTurn implements AsyncIterable<AgentEvent> {
  readonly context: AgentContext;
  /** Null: taken up after a restart. */
  readonly parts: readonly ContentPart[] | null;
  readonly turnId: string;
  readonly signal: AbortSignal;
  /** Resolves when the session has told it to return. */
  readonly returned: Promise<void>;
  #tellReturned = (): void => undefined;
  readonly #turn: AgentTurn;
  readonly #stubborn: boolean;
  #said: { event: AgentEvent; taken: () => void }[] = [];
  #pull: ((result: IteratorResult<AgentEvent>) => void) | null = null;
  /** Of the event that was taken last: called when the session asks for the next. */
  #taken: (() => void) | null = null;

  constructor({ context, parts, turn, stubborn }: Begun) {
    this.context = context;
    this.parts = parts;
    this.turnId = turn.turnId;
    this.signal = turn.signal;
    this.#turn = turn;
    this.#stubborn = stubborn;
    this.returned = new Promise((resolve) => (this.#tellReturned = resolve));
  }

  get text(): string {
    return wordsOf(this.parts ?? []);
  }

  /** Resolves when the session has applied the event and comes for the next; never, if it does not come. */
  yield(event: AgentEvent): Promise<void> {
    return new Promise((taken) => {
      this.#said.push({ event, taken });
      this.#give();
    });
  }

  say(text: string, messageId = "m1"): Promise<void> {
    return this.yield({ type: "agent_message_chunk", message_id: messageId, content: { type: "text", text } });
  }

  call(id: string, input: Record<string, unknown> = { command: "true" }, messageId = "m1"): Promise<void> {
    return this.yield({ type: "tool_call", tool_call_id: id, message_id: messageId, tool: "shell", kind: "execute", title: id, input });
  }

  update(id: string, status: "in_progress" | "completed" | "failed", result?: string): Promise<void> {
    return this.yield({ type: "tool_call_update", tool_call_id: id, status, ...(result !== undefined && { result }) });
  }

  ask(
    id: string,
    input: Record<string, unknown> = { command: "true" },
    preview = JSON.stringify(input),
    { tool = "shell", pattern = null, options }: Partial<Pick<Question, "tool" | "pattern" | "options">> = {},
  ): Promise<Answer> {
    return this.#turn.ask({ toolCallId: id, tool, input, preview, digest: bindingDigest(tool, input), pattern, ...(options && { options }) });
  }

  /** @returns how many prompts were delivered */
  takeSteering(): number {
    return this.#turn.takeSteering();
  }

  end(stop_reason: StopReason = "end_turn"): void {
    void this.yield({ type: "turn_end", stop_reason });
  }

  [Symbol.asyncIterator](): AsyncIterator<AgentEvent> {
    return {
      next: () => {
        this.#taken?.();
        this.#taken = null;
        return new Promise((resolve) => {
          this.#pull = resolve;
          this.#give();
        });
      },
      return: () => {
        this.#tellReturned();
        return this.#stubborn ? new Promise(() => undefined) : Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #give(): void {
    const next = this.#said[0];
    const pull = this.#pull;
    if (next === undefined || pull === null) return;
    this.#said.shift();
    this.#pull = null;
    this.#taken = next.taken;
    pull({ done: false, value: next.event });
  }
}
