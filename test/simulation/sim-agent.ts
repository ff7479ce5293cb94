import type { AgentInfo, ContentPart, RulePattern } from "@sessiond/shared";
import {
  bindingDigest,
  type Agent,
  type AgentContext,
  type AgentEvent,
  type AgentKind,
  type AgentTurn,
  type Answer,
} from "../../packages/daemon/src/agents/agent.ts";

/**
 * The agent of the simulation: in each turn it does what it is told, one thing after another. It may
 * also throw, not hear that it is to stop, or talk on after that. What it runs is noted by the world.
 */
export type Command = "say" | "think" | "tool" | "tools" | "steer" | "end" | "fail" | "throw" | "hang" | "babble";

export interface AgentWorld {
  /** A call begins to run, in this step. */
  ran(callId: string, turnId: string): void;
  /** The agent was given a prompt. */
  prompted(turnId: string, parts: readonly ContentPart[]): void;
  /** A number that was not given before. */
  number(): number;
  /** Where the agent is told on cancel to go on talking, and did. */
  babbled(): void;
}

const commands = ["make", "npm test", "rm -r build"] as const;

export class SimKind implements AgentKind {
  readonly name: string;
  readonly defaultModel = "one";
  readonly turns = new Set<SimTurn>();
  readonly #world: AgentWorld;
  readonly #can: { readonly park: boolean; readonly steer: boolean };

  constructor(name: string, world: AgentWorld, can: { readonly park: boolean; readonly steer: boolean }) {
    this.name = name;
    this.#world = world;
    this.#can = can;
  }

  knowsModel(model: string): boolean {
    return model === "one" || model === "two";
  }

  info(): AgentInfo {
    return {
      name: this.name,
      kind: "built_in",
      default_model: "one",
      models: ["one", "two"],
      modes: [],
      capabilities: { ...this.#can, images: false },
      unavailable: null,
    };
  }

  create(context: AgentContext): Agent {
    const begin = (turn: AgentTurn): SimTurn => {
      const begun = new SimTurn(this.#world, context, turn, (over) => this.turns.delete(over));
      this.turns.add(begun);
      return begun;
    };
    return {
      capabilities: this.#can,
      unavailable: () => null,
      prompt: (parts, turn) => {
        this.#world.prompted(turn.turnId, parts);
        return begin(turn).play();
      },
      resume: (turn) => begin(turn).resume(),
      close: () => Promise.resolve(),
    };
  }
}

export class SimTurn {
  readonly turnId: string;
  readonly sessionId: string;
  /** Waits for a command. */
  idle = false;
  hangs = false;
  /** Questions that it waits for. */
  asking = 0;
  readonly #world: AgentWorld;
  readonly #context: AgentContext;
  readonly #turn: AgentTurn;
  readonly #over: (turn: SimTurn) => void;
  #told: (command: Command | null) => void = () => undefined;
  #babbles = false;

  constructor(world: AgentWorld, context: AgentContext, turn: AgentTurn, over: (turn: SimTurn) => void) {
    this.#world = world;
    this.#context = context;
    this.#turn = turn;
    this.#over = over;
    this.turnId = turn.turnId;
    this.sessionId = context.sessionId;
  }

  /** @returns false when it does something else now */
  tell(command: Command): boolean {
    if (!this.idle) return false;
    this.idle = false;
    this.#told(command);
    return true;
  }

  async *play(): AsyncGenerator<AgentEvent> {
    try {
      yield* this.#commands();
    } finally {
      this.#over(this);
    }
  }

  async *resume(): AsyncGenerator<AgentEvent> {
    try {
      const transcript = await this.#context.transcript();
      const open = transcript.unfinished(this.turnId).map(({ id, input }) => ({ id, command: String(input["command"]) }));
      yield* this.#calls(open);
      yield* this.#commands();
    } finally {
      this.#over(this);
    }
  }

  async *#commands(): AsyncGenerator<AgentEvent> {
    for (;;) {
      const command = await this.#next();
      switch (command) {
        case null:
          if (this.#babbles) yield* this.#talkOn();
          return;
        case "say":
          for (let said = 0; said < 3; said++) yield this.#chunk("agent_message_chunk");
          break;
        case "think":
          yield this.#chunk("agent_thought_chunk");
          break;
        case "tool":
        case "tools":
          yield* this.#newCalls(command === "tool" ? 1 : 2);
          break;
        case "steer":
          this.#turn.takeSteering();
          break;
        case "end":
          yield { type: "turn_end", stop_reason: "end_turn", usage: { input_tokens: 1, output_tokens: 1 } };
          return;
        case "fail":
          yield { type: "turn_end", stop_reason: "failed", error: { code: "model", message: "The model failed." } };
          return;
        case "throw":
          throw new Error("thrown by the simulated agent");
        case "hang":
          this.hangs = true;
          await new Promise(() => undefined);
          break;
        case "babble":
          this.#babbles = true;
          break;
      }
    }
  }

  async *#newCalls(count: number): AsyncGenerator<AgentEvent> {
    const calls = Array.from({ length: count }, () => {
      const number = this.#world.number();
      return { id: `call-${number}`, command: commands[number % commands.length] ?? "make" };
    });
    for (const { id, command } of calls)
      yield { type: "tool_call", tool_call_id: id, message_id: `m-${this.turnId}`, tool: "shell", kind: "execute", title: command, input: { command } };
    yield* this.#calls(calls);
  }

  /** Asks about all at once, and runs one after another what is allowed. */
  async *#calls(calls: readonly { readonly id: string; readonly command: string }[]): AsyncGenerator<AgentEvent> {
    const asked = calls.map(({ id, command }) => this.#ask(id, command));
    for (const [index, { id }] of calls.entries()) {
      const answer = await asked[index];
      if (this.#turn.signal.aborted) return;
      if (answer?.allowed !== true) {
        yield { type: "tool_call_update", tool_call_id: id, status: "failed", result: answer?.reason ?? "" };
        continue;
      }
      yield { type: "tool_call_update", tool_call_id: id, status: "in_progress" };
      this.#world.ran(id, this.turnId);
      // Some run until the agent is told something else.
      if (this.#world.number() % 2 === 0 && (await this.#next()) === null) return;
      yield { type: "tool_call_chunk", tool_call_id: id, content: { type: "text", text: `output of ${id} ` } };
      yield { type: "tool_call_update", tool_call_id: id, status: "completed", result: `result of ${id}` };
    }
  }

  async #ask(id: string, command: string): Promise<Answer> {
    const input = { command };
    const pattern: RulePattern | null = command === "rm -r build" ? null : { type: "command", command, directory: this.#context.workdir };
    this.asking += 1;
    const answer = await this.#turn.ask({ toolCallId: id, tool: "shell", input, preview: command, digest: bindingDigest("shell", input), pattern });
    this.asking -= 1;
    return answer;
  }

  /** It was told to stop, and goes on. */
  async *#talkOn(): AsyncGenerator<AgentEvent> {
    this.#world.babbled();
    this.#turn.takeSteering();
    yield this.#chunk("agent_message_chunk");
    await this.#ask(`call-${this.#world.number()}`, "make");
    yield this.#chunk("agent_message_chunk");
    yield { type: "turn_end", stop_reason: "end_turn" };
  }

  #chunk(type: "agent_message_chunk" | "agent_thought_chunk"): AgentEvent {
    return { type, message_id: `m-${this.turnId}`, content: { type: "text", text: `word ${this.#world.number()} ${"-".repeat(40)} ` } };
  }

  /** The next command, or null when the turn is to end. */
  #next(): Promise<Command | null> {
    const { signal } = this.#turn;
    if (signal.aborted) return Promise.resolve(null);
    return new Promise((resolve) => {
      const aborted = (): void => this.#told(null);
      this.#told = (command) => {
        this.idle = false;
        signal.removeEventListener("abort", aborted);
        resolve(command);
      };
      this.idle = true;
      signal.addEventListener("abort", aborted);
    });
  }
}
