import { readFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { limits as defaults, limitTable, schemas, SessiondError, type LimitName, type Limits, type Sandbox } from "@sessiond/shared";
import { parse as parseToml } from "smol-toml";
import { z } from "zod";
import { agentsTable, readAgents, type AgentSettings } from "./agent-settings.ts";
import { isErrno } from "./disk.ts";
import { wipeFirstEnvironment } from "./first-environment.ts";
import { readTcp, tcpTable, type TcpSettings } from "./tcp-settings.ts";

/**
 * argv, environment and `config.toml`, made into one frozen Config. After that nothing reads the
 * environment again, and what it held is wiped: model keys live in the Config alone.
 */
export interface Config {
  readonly stateDir: string;
  readonly runtimeDir: string;
  readonly configDir: string;
  /** Of the code that a start has ready made, which packages/cli/src/launch.ts keeps. */
  readonly cacheDir: string;
  readonly home: string;
  readonly startedBy: "client" | "hand";
  /** Null: nothing but the unix socket. */
  readonly tcp: TcpSettings | null;
  readonly limits: Limits;
  readonly roots: readonly string[];
  readonly allowBroad: boolean;
  /** That hold a key, wherever they lie. */
  readonly secretFiles: readonly string[];
  readonly model: { readonly apiKey?: string; readonly baseURL?: string; readonly name?: string };
  /** Names that go with a start beside those of the allow-list. */
  readonly envAllow: readonly string[];
  /** In what commands run where a start does not say. */
  readonly sandbox: Sandbox;
  /** Agents of other makers. */
  readonly agents: readonly AgentSettings[];
  /** What children of the daemon may have. */
  readonly childEnv: Readonly<Record<string, string>>;
}

export type Environment = Readonly<Record<string, string | undefined>>;

const timeNames = Object.entries(limitTable)
  .filter(([, limit]) => limit.unit === "ms")
  .map(([name]) => name as LimitName);

const configFile = z.strictObject({
  model: z
    .strictObject({ name: z.string().optional(), base_url: z.url().optional(), api_key: z.string().min(1).optional(), api_key_file: z.string().optional() })
    .default({}),
  workdirs: z.strictObject({ roots: z.array(z.string()).default([]), allow_broad: z.boolean().default(false) }).default({ roots: [], allow_broad: false }),
  tcp: tcpTable.default({ hosts: [], origins: [] }),
  environment: z.strictObject({ allow: z.array(z.string()).default([]) }).default({ allow: [] }),
  sandbox: z.strictObject({ shell: schemas.sandbox.default("off") }).default({ shell: "off" }),
  agents: agentsTable,
  /** Times only: clients size their buffers by the rest. */
  limits: z.partialRecord(z.enum(timeNames), z.int().positive()).default({}),
});

/** Kept from whoever started the daemon; everything else is forgotten. */
const kept = /^(HOME|USER|LOGNAME|SHELL|LANG|LC_[A-Z]+|TZ|TERM|TMPDIR|PATH|XDG_[A-Z_]+)$/;

/** Where it all lies: also for who looks after it, where the rest cannot be read. @throws SessiondError config_invalid */
export function placesOf(env: Environment, argv: readonly string[]): Pick<Config, "stateDir" | "runtimeDir" | "configDir" | "cacheDir" | "home"> {
  const home = env["HOME"] ?? homedir();
  const given = readArguments(argv);
  const stateDir = absolute(given["state-dir"]) ?? join(absolute(env["XDG_STATE_HOME"]) ?? join(home, ".local", "state"), "sessiond");
  const configDir = join(absolute(env["XDG_CONFIG_HOME"]) ?? join(home, ".config"), "sessiond");
  const cacheDir = join(absolute(env["XDG_CACHE_HOME"]) ?? join(home, ".cache"), "sessiond");
  const runtimeHome = absolute(env["XDG_RUNTIME_DIR"]);
  const runtimeDir =
    absolute(given["runtime-dir"]) ?? (runtimeHome === undefined ? join(tmpdir(), `sessiond-${process.getuid?.() ?? 0}`) : join(runtimeHome, "sessiond"));
  return { stateDir, runtimeDir, configDir, cacheDir, home };
}

/** @throws SessiondError config_invalid  with the place and what is wrong */
export function readConfig(env: Environment, argv: readonly string[]): Config {
  const given = readArguments(argv);
  const { stateDir, runtimeDir, configDir, cacheDir, home } = placesOf(env, argv);
  const file = readFile(join(configDir, "config.toml"));
  // Empty is absent: some set a variable to nothing where they cannot unset it.
  const apiKey = (file.model.api_key ?? keyFrom(file.model.api_key_file, configDir)) || env["OPENAI_API_KEY"] || undefined;
  const baseURL = file.model.base_url ?? env["OPENAI_BASE_URL"];
  const name = file.model.name ?? env["SESSIOND_MODEL"];
  const tcp = readTcp(file.tcp, given.listen, configDir);
  const keyFile = file.model.api_key_file;
  return Object.freeze({
    stateDir,
    runtimeDir,
    configDir,
    cacheDir,
    home,
    startedBy: given["started-by"] === "client" ? "client" : "hand",
    tcp,
    secretFiles: [...(keyFile === undefined ? [] : [keyPath(keyFile, configDir)]), ...(tcp?.tls ? [tcp.tls.key] : [])],
    limits: Object.freeze({ ...defaults, ...file.limits }),
    roots: file.workdirs.roots.map((root) => resolve(home, root)),
    allowBroad: file.workdirs.allow_broad,
    envAllow: file.environment.allow,
    sandbox: file.sandbox.shell,
    agents: readAgents(file.agents, home),
    model: { ...(apiKey !== undefined && { apiKey }), ...(baseURL !== undefined && { baseURL }), ...(name !== undefined && { name }) },
    childEnv: Object.freeze(
      Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => kept.test(entry[0]) && entry[1] !== undefined)),
    ),
  });
}

/** Where the model's key comes from, in words, and which files hold one. Never the key. @throws as `readConfig` */
export function keySources(env: Environment, configDir: string): { key: string | null; files: readonly string[] } {
  const path = join(configDir, "config.toml");
  const { model, agents } = readFile(path);
  const { api_key, api_key_file: named } = model;
  const isSecret = api_key !== undefined || agents.some(({ env }) => Object.keys(env).length > 0);
  const file = named === undefined ? undefined : keyPath(named, configDir);
  const key = api_key !== undefined ? "config.toml" : keyFrom(named, configDir) ? (file ?? null) : env["OPENAI_API_KEY"] ? "OPENAI_API_KEY" : null;
  return { key, files: [...(isSecret ? [path] : []), ...(file === undefined ? [] : [file])] };
}

/** An argument that is not understood starts nothing: a daemon is not what somebody meant who typed `--help`. */
function readArguments(argv: readonly string[]) {
  try {
    const text = { type: "string" } as const;
    return parseArgs({ args: [...argv], options: { "started-by": text, "state-dir": text, "runtime-dir": text, listen: text } }).values;
  } catch (error) {
    throw new SessiondError(
      "config_invalid",
      { reason: `the daemon takes --started-by client|hand, --state-dir DIR, --runtime-dir DIR, --listen ADDRESS:PORT; people start it with \`sessiond up\`` },
      { cause: error },
    );
  }
}

const isKept = (name: string): boolean => kept.test(name);

/**
 * Make the process forget what it was started with, except what is harmless and needed.
 *
 * @returns whether a model's key stands there all the same, for every process of the account to read
 */
export function forgetEnvironment(env: NodeJS.ProcessEnv): boolean {
  const held = Boolean(env["OPENAI_API_KEY"]);
  for (const name of Object.keys(env)) if (!isKept(name)) delete env[name];
  // Only now that nobody can ask for them.
  return env === process.env && !wipeFirstEnvironment(isKept) && held;
}

const absolute = (path: string | undefined): string | undefined => (path !== undefined && isAbsolute(path) ? path : undefined);

function readFile(path: string): z.infer<typeof configFile> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return configFile.parse({});
    throw new SessiondError("config_invalid", { reason: `${path} cannot be read` }, { cause: error });
  }
  try {
    return configFile.parse(parseToml(text));
  } catch (error) {
    const what = error instanceof z.ZodError ? error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; ") : "it is not TOML";
    throw new SessiondError("config_invalid", { reason: `${path}: ${what}` }, { cause: error });
  }
}

const keyPath = (path: string, configDir: string): string => (isAbsolute(path) ? path : join(configDir, path));

function keyFrom(path: string | undefined, configDir: string): string | undefined {
  if (path === undefined) return undefined;
  const file = keyPath(path, configDir);
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new SessiondError("config_invalid", { reason: `model.api_key_file: ${file} in ${dirname(file)} cannot be read` }, { cause: error });
  }
}
