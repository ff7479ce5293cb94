import { isAbsolute } from "node:path";
import type { Asked, ToolCall } from "./dialect.ts";

/**
 * What the mock model does, by the last text of the user:
 *
 *   run: <command>          calls the agent's own tool that runs a command, then quotes its result
 *   write <file>: <text>    calls the agent's own tool that writes a file, then quotes its result
 *   slow …                  one word after the other, until the connection is closed
 *   anything else           `Answer to: <text>`
 *
 * What agents ask on the side (titles, summaries, who speaks next) has no tools, or wants JSON of a schema.
 */
export type Doing =
  | { readonly does: "text" | "closing" | "side"; readonly text: string }
  | { readonly does: "slow" }
  | { readonly does: "call"; readonly call: ToolCall };

type Input = Readonly<Record<string, unknown>>;

/** Tools that run a command, by the names that agents have for them. */
const runs: Readonly<Record<string, (command: string) => Input>> = {
  bash: (command) => ({ command, description: "Runs a command" }),
  Bash: (command) => ({ command, description: "Runs a command" }),
  run_shell_command: (command) => ({ command, description: "Runs a command", is_background: false }),
  // Codex' models write a program that calls its tools; older ones call them. Asked to run outside its sandbox, it asks the user.
  exec: (cmd) => ({ input: `text(await tools.exec_command(${JSON.stringify(outside(cmd))}));\n` }),
  exec_command: (cmd) => outside(cmd),
};
const outside = (cmd: string): Input => ({ cmd, sandbox_permissions: "require_escalated", justification: "Runs a command" });

/** Tools that write a whole file. */
const writes: Readonly<Record<string, (file: string, text: string) => Input>> = {
  write: (filePath, content) => ({ filePath, content, path: filePath }),
  Write: (file_path, content) => ({ file_path, content }),
  write_file: (file_path, content) => ({ file_path, content }),
  exec: (file, text) => ({ input: `text(await tools.apply_patch(${JSON.stringify(patch(file, text))}));\n` }),
  apply_patch: (file, text) => ({ input: patch(file, text) }),
};
const patch = (file: string, text: string): string => `*** Begin Patch\n*** Add File: ${file}\n+${text}\n*** End Patch\n`;

export function decide({ texts, results, tools, schema }: Asked, id: string): Doing {
  if (schema !== undefined) return { does: "side", text: JSON.stringify(exampleOf(schema)) };
  if (tools.length === 0) return { does: "side", text: "A title" };
  // Agents put their own words before or after what the user said: as further texts, or around it.
  const asked = texts.flatMap((text) => /^(?:run: |write \S+: |slow\b|say: ).*$/m.exec(text) ?? []).at(-1) ?? texts.at(-1) ?? "";
  if (results.length > 0) return { does: "closing", text: `The tool said: ${results.join(" | ").slice(0, 2_000)}` };
  const [, command] = /^run: (.*)$/.exec(asked) ?? [];
  if (command !== undefined) return called(tools, runs, (make) => make(command), id);
  const [, file, text] = /^write (\S+): (.*)$/.exec(asked) ?? [];
  if (file !== undefined && !isAbsolute(file)) return { does: "text", text: `Not an absolute path: ${file}` };
  if (file !== undefined && text !== undefined) return called(tools, writes, (make) => make(file, text), id);
  if (asked.startsWith("slow")) return { does: "slow" };
  return { does: "text", text: `Answer to: ${asked.trim().slice(0, 500)}` };
}

function called<Make>(tools: readonly string[], table: Readonly<Record<string, Make>>, input: (make: Make) => Input, id: string): Doing {
  const [name, make] = Object.entries(table).find(([each]) => tools.includes(each)) ?? [];
  if (name === undefined || make === undefined) return { does: "text", text: `None of its tools is known here: ${tools.join(", ")}` };
  return { does: "call", call: { id, name, input: input(make) } };
}

interface Schema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

/** The smallest value of a schema; of several words the last, which for "who speaks next" is the user. */
function exampleOf(schema: unknown): unknown {
  const { type, enum: words, properties } = schema as Schema;
  if (words !== undefined) return words.includes("user") ? "user" : words.at(-1);
  switch (String(typeof type === "object" ? type[0] : type).toLowerCase()) {
    case "object":
      return Object.fromEntries(Object.entries(properties ?? {}).map(([name, each]) => [name, exampleOf(each)]));
    case "array":
      return [];
    case "boolean":
      return false;
    case "integer":
    case "number":
      return 1;
    default:
      return "A title";
  }
}
