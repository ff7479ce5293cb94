import { open } from "node:fs/promises";
import { join } from "node:path";
import { escapeDeceptive } from "@sessiond/shared";
import { agentLogName, agentLogWords } from "../agent-log.ts";
import type { Config } from "../config.ts";
import { findProgram } from "../program-search.ts";
import type { Examination, Situation, Trouble } from "./examination.ts";

/** Agents of other makers: those that are configured and not there, and what one said whose last start failed. */
export async function missingAgents(
  { agents, childEnv, home }: Pick<Config, "agents" | "childEnv" | "home">,
  { tell }: Pick<Examination, "tell">,
): Promise<Trouble[]> {
  if (agents.length === 0) return [];
  const find = ({ command, env }: (typeof agents)[number]) => findProgram(command, { paths: [env["PATH"], childEnv["PATH"]], home });
  const looked = await Promise.all(agents.map(async (agent) => ({ agent, found: await find(agent) })));
  tell({ type: "fact", name: "agents", value: looked.map(({ agent, found }) => `${agent.name} (${found?.path ?? "not found"})`).join(", ") });
  return looked.flatMap(({ agent: { name, command }, found }) => {
    const what = `the program ${command} of the agent ${name} was not found, along PATH and in the usual places of the home directory`;
    const mend = `install it, or give its path as command under [[agents]] in config.toml`;
    return found === null ? [{ finding: { kind: "agent", weight: "wrong", what, mend } as const }] : [];
  });
}

/** Of each session whose agent could not be started the last time. It may have been mended since, so it is no more than a note. */
export async function failedAgents({ examination, facts }: Situation): Promise<Trouble[]> {
  const troubles: Trouble[] = [];
  for (const id of facts.folders) {
    const path = join(examination.stateDir, "sessions", id, agentLogName);
    const what = failureIn(await endOf(path));
    if (what === null) continue;
    const mend = "mend what it says, then send the prompt again";
    troubles.push({ finding: { kind: "agent", weight: "note", session_id: id, path, what, mend } });
  }
  return troubles;
}

const endBytes = 16_384;
const linesShown = 5;

/** Null when its last start went well. */
function failureIn(text: string): string | null {
  const lines = text.split("\n").filter((line) => line !== "");
  const at = lines.findLastIndex((line) => line.startsWith(agentLogWords.failed) || line.startsWith(agentLogWords.ready));
  const failure = lines[at];
  if (failure === undefined || !failure.startsWith(agentLogWords.failed)) return null;
  const begun = lines.slice(0, at).findLastIndex((line) => line.startsWith(agentLogWords.started));
  const said = lines.slice(begun + 1, at).filter((line) => !line.startsWith("== "));
  const words = failure.slice(agentLogWords.failed.length).trim();
  return escapeDeceptive(said.length === 0 ? words : `${words} Its last words: ${said.slice(-linesShown).join(" / ")}`);
}

async function endOf(path: string): Promise<string> {
  try {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(size, endBytes)), 0, Math.min(size, endBytes), Math.max(0, size - endBytes));
      return buffer.subarray(0, bytesRead).toString("utf8");
    } finally {
      await file.close();
    }
  } catch {
    // There is none, or it cannot be read, which others tell of.
    return "";
  }
}
