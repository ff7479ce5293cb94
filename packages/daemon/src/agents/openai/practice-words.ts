/** What the practice model understands: plain requests, several joined by " then ". */
export interface ToolAction {
  readonly tool: string;
  readonly input: Record<string, unknown>;
}

export type Action =
  | { readonly do: "tools"; readonly calls: readonly ToolAction[] }
  | { readonly do: "say" | "think"; readonly text: string }
  | { readonly do: "stream"; readonly count: number; readonly everyMs: number }
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "fail" }
  | { readonly do: "help" };

export const practiceHelp =
  "I am the practice model: no intelligence, only a few plain requests that call real tools. I understand: " +
  '"read FILE", "list [DIR]", "search TEXT", "write FILE: TEXT", "edit FILE: OLD => NEW", "run COMMAND", "say TEXT", "think TEXT", ' +
  '"stream N", "stream N every MS", "wait MS", "fail", "together: REQUEST & REQUEST" (tools at once), and several of these joined by " then ".';

/** A joint counts only before a request, so that commands and texts may hold the same words. */
const verb = "(?:(?:read|search|write|edit|run|say|think|stream|wait)\\s|list\\b|fail\\b|together:)";
const thenJoint = new RegExp(`\\s+then\\s+(?=${verb})`, "i");
const andJoint = new RegExp(`\\s+&\\s+(?=${verb})`, "i");

export function actionsOf(prompt: string): Action[] {
  return prompt.trim().split(thenJoint).map(actionOf);
}

function actionOf(text: string): Action {
  const together = /^together:\s*([^]+)$/i.exec(text);
  if (together !== null) {
    const calls = (together[1] ?? "").split(andJoint).map(toolActionOf);
    return calls.every((call) => call !== null) ? { do: "tools", calls: calls } : { do: "help" };
  }
  const call = toolActionOf(text);
  if (call !== null) return { do: "tools", calls: [call] };
  const words = /^(say|think)\s+([^]+)$/i.exec(text);
  if (words !== null) return { do: words[1]?.toLowerCase() === "say" ? "say" : "think", text: words[2] ?? "" };
  const stream = /^stream\s+(\d+)(?:\s+every\s+(\d+)(?:\s*ms)?)?\s*$/i.exec(text);
  if (stream !== null) return { do: "stream", count: Number(stream[1]), everyMs: Number(stream[2] ?? 0) };
  const wait = /^wait\s+(\d+)(?:\s*ms)?\s*$/i.exec(text);
  if (wait !== null) return { do: "wait", ms: Number(wait[1]) };
  return /^fail\s*$/i.test(text) ? { do: "fail" } : { do: "help" };
}

const toolWords: readonly (readonly [RegExp, (words: readonly string[]) => ToolAction])[] = [
  [/^read\s+(\S.*?)\s*$/i, ([path]) => ({ tool: "read", input: { path } })],
  [/^list(?:\s+(\S.*?))?\s*$/i, ([path]) => ({ tool: "list", input: path ? { path } : {} })],
  [/^search\s+(\S.*?)\s*$/i, ([pattern]) => ({ tool: "search", input: { pattern } })],
  [/^write\s+([^:\n]+?)\s*:\s?([^]*)$/i, ([path, content]) => ({ tool: "write", input: { path, content } })],
  [/^edit\s+([^:\n]+?)\s*:\s?([^]*?) => ([^]*)$/i, ([path, old_text, new_text]) => ({ tool: "edit", input: { path, old_text, new_text } })],
  [/^run\s+([^]+)$/i, ([command]) => ({ tool: "shell", input: { command } })],
];

function toolActionOf(text: string): ToolAction | null {
  for (const [pattern, action] of toolWords) {
    const match = pattern.exec(text);
    if (match !== null) return action(match.slice(1));
  }
  return null;
}
