import { randomUUID } from "node:crypto";
import { delimiter, dirname } from "node:path";
import type { AgentOption, Limits } from "@sessiond/shared";
import { findProgram, type FoundProgram } from "../../program-search.ts";
import { systemProgramDirs } from "../../system-program.ts";
import type { AgentContext, AgentKind } from "../agent.ts";
import { childEnvironment, withoutPlaces } from "../child-env.ts";
import { deathSignalPrefix, spawnMarkedProgram, type MarkedProgram, type TalkingChild } from "../children.ts";
import { AcpAgent } from "./acp-agent.ts";
import { hiding } from "./hidden-secrets.ts";
import type { AgentEntry } from "./known-agents.ts";
import { TurnFailure } from "./start-failure.ts";
import { StderrFile } from "./stderr-file.ts";

/** An agent of another maker, as the daemon offers it. */
export interface AcpOptions {
  /** It is offered also where its program is not found: somebody configured it. */
  readonly configured: boolean;
  /** The daemon's directories, and files that hold a key. */
  readonly forbiddenDirs: readonly string[];
  readonly programDirs?: readonly string[] | undefined;
  /** What agents get as their environment, under what their session was started with. */
  readonly childEnv: Readonly<Record<string, string>>;
  readonly home: string;
  /** `<installId>.<bootId>.<callId>` */
  readonly mark: (callId: string) => string;
  /** Of a session: there its stderr is kept. */
  readonly directory: (sessionId: string) => string;
  readonly limits: Limits;
  readonly report: (error: unknown) => void;
}

export function acpKind(entry: AgentEntry, options: AcpOptions): AgentKind {
  // Asked of the system once, when the first agent is started.
  let prefix: Promise<readonly string[]> | undefined;
  const { programDirs = systemProgramDirs, limits, report } = options;
  const hide = hiding(Object.values(entry.env));
  const find = (context?: AgentContext): Promise<FoundProgram | null> => {
    const paths = [entry.env["PATH"], context?.env["PATH"], options.childEnv["PATH"]];
    return findProgram(entry.command, { paths, home: options.home, ...(context && { workdir: context.workdir }) });
  };
  /** As when it was looked for last; undefined: nobody has looked. */
  let seen: FoundProgram | null | undefined;
  let looking: Promise<void> | null = null;

  const start = async (context: AgentContext) => {
    const found = await find(context);
    if (found === null) throw new TurnFailure("agent_unavailable", `The agent cannot run: ${whyNot(entry)}.`);
    prefix ??= deathSignalPrefix(programDirs);
    const words = await prefix;
    const log = new StderrFile(options.directory(context.sessionId), { limits, hide });
    log.note("started", `${entry.name} at ${new Date().toISOString()}: ${found.path}`);
    const env = environmentOf(entry, { context, found, options });
    const cwd = entry.cwd ?? context.workdir;
    const child = started(log, { words: [found.path, ...entry.args], cwd, env, mark: options.mark(`agent-${randomUUID()}`), prefix: words });
    return { child, log };
  };

  return {
    name: entry.name,
    defaultModel: "",
    modelIsSetting: true,
    knowsModel: (model, told) => model === "" || (told === null ? /^[^\p{C}]{1,128}$/u.test(model) : isOffered(model, told)),
    look: () =>
      (looking ??= find()
        .then((found) => void (seen = found))
        .finally(() => (looking = null))),
    isOffered: () => options.configured || (seen ?? null) !== null,
    info: () => ({
      name: entry.name,
      kind: "acp",
      command: seen?.path ?? entry.command,
      default_model: "",
      models: null,
      modes: [],
      capabilities: { park: false, steer: false, images: true },
      unavailable: seen === null ? whyNot(entry) : null,
    }),
    create: (context) =>
      new AcpAgent(context, { entry, limits, hide, start, missing: async (context) => ((await find(context)) === null ? whyNot(entry) : null), report }),
  };
}

/** @throws TurnFailure where the system refuses it at once: more variables than it takes, or no more processes */
function started(log: StderrFile, program: MarkedProgram): TalkingChild {
  try {
    return spawnMarkedProgram(program);
  } catch (error) {
    log.close();
    throw new TurnFailure(
      "agent_unavailable",
      `The agent cannot run: the system did not start it (${error instanceof Error && "code" in error ? String(error.code) : "it gave no reason"}).`,
    );
  }
}

const isOffered = (model: string, told: readonly AgentOption[]): boolean =>
  told.some((option) => option.category === "model" && option.type === "select" && option.choices.some(({ id }) => id === model));

function whyNot({ name, command, install }: AgentEntry): string {
  const how =
    install === undefined
      ? "install it, or give its path as command under [[agents]] in config.toml"
      : install.startsWith("npm ")
        ? `get it with \`${install}\``
        : `to get it, ${install}`;
  return `the program ${command} of the agent ${name} was not found, along the PATH of the session and of the daemon and in the usual places of the home directory; ${how}`;
}

interface Start {
  readonly context: AgentContext;
  readonly found: FoundProgram;
  readonly options: AcpOptions;
}

/**
 * What was given for this very agent may hold keys; of all else none is left. The directory of a program that stands on
 * no PATH goes first: the Node that it was installed for lies beside it. The daemon's own Node goes last.
 */
function environmentOf(entry: AgentEntry, { context, found, options }: Start): Record<string, string> {
  const { childEnv, forbiddenDirs } = options;
  const env = { ...childEnvironment({ ...childEnv, ...context.env }, forbiddenDirs), ...withoutPlaces(entry.env, forbiddenDirs) };
  const path = [...(found.onPath ? [] : [dirname(found.path)]), ...(env["PATH"] ? [env["PATH"]] : []), dirname(process.execPath)];
  return { ...env, PATH: path.join(delimiter) };
}
