import { difference } from "../difference.ts";
import { textOf } from "./call-content.ts";
import type { ToldCall } from "./tool-calls.ts";

/**
 * What a person judges an agent's question by: all that it said of the call, nothing elided. Each part
 * is known by how its lines begin, and no text of the agent's makes a line that looks like another part.
 *
 * @param agent  its name: what it runs is run by it, not by sessiond
 */
export function previewOf(call: ToldCall, agent: string): string {
  const { title, rawInput, content = [], locations = [] } = call;
  const { command, rest } = commandOf(rawInput);
  const text = textOf(content);
  const parts = [
    title ? onOneLine(title) : null,
    command === null ? null : `$ ${setIn(command)}`,
    rest === undefined ? null : `with ${setIn(JSON.stringify(rest, null, 2))}`,
    ...content.flatMap((each) => (each.type === "diff" ? [difference(onOneLine(each.path), each.oldText ?? null, each.newText)] : [])),
    text === null ? null : `it says:\n  ${setIn(text)}`,
    locations.length === 0 ? null : locations.map(({ path, line }) => `at ${onOneLine(path)}${typeof line === "number" ? `:${line}` : ""}`).join("\n"),
    `by the agent ${agent}, outside of sessiond's own tools`,
  ];
  return parts.filter((part) => part !== null).join("\n\n");
}

/** A command as it would be typed, and what else goes with it. */
function commandOf(raw: unknown): { command: string | null; rest: unknown } {
  if (raw === undefined || raw === null) return { command: null, rest: undefined };
  if (typeof raw !== "object" || Array.isArray(raw)) return { command: null, rest: raw };
  const { command, ...others } = raw as { command?: unknown };
  const rest = Object.keys(others).length === 0 ? undefined : others;
  return typeof command === "string" ? { command, rest } : { command: null, rest: Object.keys(raw).length === 0 ? undefined : raw };
}

const setIn = (text: string): string => text.replaceAll("\n", "\n  ");

/** The session escapes the other characters that deceive, and leaves these. */
const onOneLine = (text: string): string => text.replace(/[\n\t]/g, (character) => `\\u{${character.charCodeAt(0).toString(16)}}`);
