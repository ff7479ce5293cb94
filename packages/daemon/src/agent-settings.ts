import { isAbsolute, join } from "node:path";
import { limits } from "@sessiond/shared";
import { z } from "zod";

/** `[[agents]]` of config.toml: programs that speak ACP. */
export interface AgentSettings {
  /** As in `--agent`. */
  readonly name: string;
  /** A path, or a name to be looked for. */
  readonly command: string;
  readonly args: readonly string[];
  /** May hold keys; it goes to this agent alone. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute; the session's workdir unless given. */
  readonly cwd?: string;
}

const noNul = z.string().refine((text) => !text.includes("\0"), "a NUL character does not belong here");
const place = (what: string) =>
  noNul
    .min(1)
    .refine(
      (path) => isAbsolute(path) || path.startsWith("~/") || (what === "name" && !path.includes("/")),
      `an absolute path${what === "name" ? ", or a name without a slash," : ""} is expected`,
    );

function namesOfVariables(env: Readonly<Record<string, string>>, context: z.RefinementCtx): void {
  for (const name of Object.keys(env)) {
    const wrong = name.startsWith("SESSIOND_")
      ? "SESSIOND_* is sessiond's own"
      : /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)
        ? null
        : "the name of a variable is expected";
    if (wrong !== null) context.addIssue({ code: "custom", message: `${name}: ${wrong}` });
  }
}

const agent = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, "small letters, digits, - and _ are expected")
    .refine((name) => name !== "openai", "openai is the built-in agent"),
  command: place("name"),
  args: z.array(noNul).default([]),
  env: z.record(z.string(), noNul).superRefine(namesOfVariables).default({}),
  cwd: place("path").optional(),
});

export const agentsTable = z
  .array(agent)
  .max(limits.agents_configured_max)
  .refine((agents) => new Set(agents.map(({ name }) => name)).size === agents.length, "two agents have the same name")
  .default([]);

export const readAgents = (agents: z.infer<typeof agentsTable>, home: string): AgentSettings[] =>
  agents.map(({ cwd, command, ...rest }) => ({ ...rest, command: atHome(command, home), ...(cwd !== undefined && { cwd: atHome(cwd, home) }) }));

const atHome = (path: string, home: string): string => (path.startsWith("~/") ? join(home, path.slice(2)) : path);

/** Values that nobody but the agents may read: what is written down about them is searched for these. */
export const secretsOf = (agents: readonly AgentSettings[]): string[] => agents.flatMap(({ env }) => Object.values(env));
