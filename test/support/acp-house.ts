import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { EventOf, VerbInput } from "@sessiond/shared";
import { installIdOf } from "../../packages/daemon/src/ids.ts";
import { testRoot } from "../../packages/daemon/src/testing.ts";
import { wrongWith } from "./acp-schema.ts";
import { House } from "./built-in-session.ts";
import type { TestOptions } from "../../packages/daemon/src/testing.ts";
import { processesWith } from "./processes.ts";
import { eventsOf, type TestSeat } from "./session-rig.ts";

/** A daemon whose configuration names the scripted agent (acp-agent.mjs), and what that one was told. */
export const scriptedAgent = resolve(import.meta.dirname, "acp-agent.mjs");

/** What the scripted agent is started with; see there. */
export interface AgentScript {
  readonly version?: unknown;
  readonly caps?: object;
  readonly hang?: readonly string[];
  readonly errors?: Readonly<Record<string, object>>;
  readonly authMethods?: readonly object[];
  readonly session?: object;
  readonly answer?: object;
  readonly refuses?: string;
  readonly before?: readonly string[];
  readonly first?: readonly string[];
  readonly ignoresEnd?: boolean;
  readonly replaysLate?: number;
}

export interface AcpOptions extends TestOptions {
  readonly script?: AgentScript;
  /** Of the agent, beside what tells it how to behave. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The entry of config.toml. */
export function agentTable(root: string, { script = {}, env = {} }: Pick<AcpOptions, "script" | "env"> = {}, name = "scripted") {
  return {
    name,
    command: process.execPath,
    args: [scriptedAgent],
    env: { ACP_AGENT: JSON.stringify(script), ACP_HEARD: join(root, "heard"), ACP_MEMORY: join(root, "memory"), ...env },
  };
}

/** In `root`, as a daemon of `testEnv` or of a DaemonHome reads it. */
export function configure(root: string, agents: readonly object[]): void {
  mkdirSync(join(root, "config/sessiond"), { recursive: true, mode: 0o700 });
  mkdirSync(join(root, "memory"), { recursive: true });
  writeFileSync(join(root, "config/sessiond/config.toml"), agents.map(tomlOf).join("\n"), { mode: 0o600 });
}

/** What TOML calls a basic string, a boolean or an array is written as in JSON. */
function tomlOf({ env = {}, ...agent }: { readonly env?: object }): string {
  const lines = (table: object): string[] => Object.entries(table).map(([name, value]) => `${JSON.stringify(name)} = ${JSON.stringify(value)}`);
  return ["[[agents]]", ...lines(agent), "[agents.env]", ...lines(env), ""].join("\n");
}

/** A message to the agent, as it stood on the wire. */
interface Heard {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: unknown;
  readonly error?: unknown;
}

/** All that the scripted agent asks of its client and gets an answer to. */
const onlyAsked = "session/request_permission";

export class AcpHouse {
  readonly root: string;
  readonly house: House;

  private constructor(root: string, house: House) {
    this.root = root;
    this.house = house;
  }

  static async open({ script, env, ...options }: AcpOptions = {}): Promise<AcpHouse> {
    const root = options.root ?? (await testRoot());
    configure(root, [agentTable(root, { ...(script && { script }), ...(env && { env }) })]);
    return new AcpHouse(root, await House.open({ ...options, root }));
  }

  /** A session with the scripted agent, and its driver. */
  async driver(options: Omit<VerbInput<"start_or_get_for_workdir">, "workdir"> = {}, workdir = this.house.workdir()): Promise<TestSeat> {
    const started = await this.house.daemon.call("start_or_get_for_workdir", { workdir, agent: "scripted", ...options }, this.house.owner);
    return this.house.driver(started);
  }

  /** All that the agent was told, by every start of it. */
  heard(): Heard[] {
    const path = join(this.root, "heard");
    const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
    return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as never);
  }

  told(method: string) {
    return this.heard().filter((message) => message.method === method);
  }

  /** Processes that agents of this house are, or have started. */
  processes(): number[] {
    const install = installIdOf(join(this.root, "state/sessiond"));
    return processesWith(`SESSIOND_MARK=${install}.`).map(({ pid }) => pid);
  }

  /** Where the session's own files are. */
  file(seat: TestSeat, name: string): string {
    return join(this.root, "state/sessiond/sessions", seat.rig.sessionId, name);
  }

  close(): Promise<void> {
    return this.house.close();
  }
}

/** Houses of a test file, for its `afterEach`. */
export class AcpStreet {
  readonly #houses: AcpHouse[] = [];

  async open(options: AcpOptions = {}): Promise<AcpHouse> {
    const house = await AcpHouse.open(options);
    this.#houses.push(house);
    return house;
  }

  /** @returns what nobody expected in any of them, what was said to an agent and is not as ACP has it, and the processes that are left */
  async close(): Promise<unknown[]> {
    const houses = this.#houses.splice(0);
    const bugs = houses.flatMap(({ house }) => house.daemon.bugs);
    await Promise.all(houses.map(({ house }) => house.daemon.stop(0)));
    const left = houses.flatMap((house) => house.processes());
    const wrong = houses.flatMap((house) => house.heard().flatMap((told) => wrongWith(told, "client", () => onlyAsked) ?? []));
    await Promise.all(houses.map((house) => house.close()));
    return [...bugs, ...wrong, ...left];
  }
}

/** What the agent has said in the whole conversation, a message each. */
export const said = (seat: TestSeat): string[] => seat.state.messages.filter(({ type }) => type === "agent").map(({ text }) => text);

/** Runs one prompt to its end. @returns the frame that ended it */
export async function turn(seat: TestSeat, text: string): Promise<EventOf<"turn_ended">> {
  const { turn_id } = await seat.prompt(text);
  await seat.until(({ state }) => state.last_turn?.turn_id === turn_id);
  return eventsOf(seat.frames, "turn_ended").at(-1) as EventOf<"turn_ended">;
}
