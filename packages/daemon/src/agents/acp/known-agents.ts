/**
 * Ready entries: agents that speak ACP, and with which words. They are offered where their program is
 * found; an entry of config.toml with one of these names stands in place of it. Names, programs and
 * arguments are those of the ACP registry (github.com/agentclientprotocol/registry) and of the
 * packages themselves.
 */
export interface AgentEntry {
  /** As in `--agent`. */
  readonly name: string;
  /** A path, or a name to be looked for. */
  readonly command: string;
  readonly args: readonly string[];
  /** May hold keys: they are the agent's own. */
  readonly env: Readonly<Record<string, string>>;
  /** Where it is started; the session's workdir unless given. */
  readonly cwd?: string | undefined;
  /** How to get the program, where that is known. */
  readonly install?: string | undefined;
  /** How its owner logs in, once and in a terminal, where that is known. */
  readonly login?: string | undefined;
}

interface Known {
  readonly command: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly install: string;
  readonly login: string;
}

const npm = (name: string): string => `npm install -g ${name}`;

const table: Readonly<Record<string, Known>> = {
  claude: { command: "claude-agent-acp", install: npm("@agentclientprotocol/claude-agent-acp"), login: "run `claude` and log in" },
  codex: { command: "codex-acp", install: npm("@agentclientprotocol/codex-acp"), login: "run `codex login`" },
  gemini: { command: "gemini", args: ["--acp"], install: npm("@google/gemini-cli"), login: "run `gemini` and log in" },
  opencode: { command: "opencode", args: ["acp"], install: npm("opencode-ai"), login: "run `opencode auth login`" },
  qwen: { command: "qwen", args: ["--acp"], install: npm("@qwen-code/qwen-code"), login: "run `qwen` and log in" },
  pi: { command: "pi-acp", install: `${npm("pi-acp")} (it runs \`pi\`, which has to be there too)`, login: "run `pi` and log in" },
  goose: { command: "goose", args: ["acp"], install: "see block.github.io/goose", login: "run `goose configure`" },
  cursor: { command: "cursor-agent", args: ["acp"], install: "see cursor.com/docs/cli", login: "run `cursor-agent login`" },
  copilot: { command: "copilot", args: ["--acp"], install: npm("@github/copilot"), login: "run `copilot` and type /login" },
  kimi: { command: "kimi", args: ["acp"], install: "see github.com/MoonshotAI/kimi-cli", login: "run `kimi login`" },
  vibe: { command: "vibe-acp", install: "see github.com/mistralai/mistral-vibe", login: "run `vibe --setup`" },
  auggie: { command: "auggie", args: ["--acp"], env: { AUGMENT_DISABLE_AUTO_UPDATE: "1" }, install: npm("@augmentcode/auggie"), login: "run `auggie login`" },
  cline: { command: "cline", args: ["--acp"], install: npm("cline"), login: "run `cline auth`" },
};

export const knownAgents: readonly AgentEntry[] = Object.entries(table).map(([name, { args = [], env = {}, ...known }]) => ({ name, args, env, ...known }));
