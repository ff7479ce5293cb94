import { wordsOf } from "@sessiond/shared";
import type OpenAI from "openai";
import type { Transcript, TranscriptEntry } from "../transcript.ts";
import type { ModelRequest } from "./model.ts";
import { toolbox } from "./tools/toolbox.ts";

/**
 * Builds the model's request from the transcript. The request is valid whatever became of the
 * turns before: every call has an answer, every set of arguments is JSON, every name is one that
 * servers accept.
 */
export function requestOf(transcript: Transcript, { model, workdir }: { model: string; workdir: string }): ModelRequest {
  return { model, messages: [{ role: "system", content: systemPrompt(workdir) }, ...transcript.entries.flatMap(messagesOf)], tools };
}

/** `system`, not `developer`: local servers know only the former. */
const systemPrompt = (workdir: string): string =>
  `You are a coding agent working in the directory ${workdir}. Use the tools to look before you change anything; paths are relative to that directory, and files outside of it cannot be used. ` +
  `Prefer edit for small changes, write for new files, shell to build and test. The user is asked before write, edit and shell, and may refuse: then do not try the same again, ask what is wanted. ` +
  `Say shortly what you did and what you found; do not claim what you did not check.`;

const tools: OpenAI.ChatCompletionFunctionTool[] = toolbox.map((tool) => ({
  type: "function",
  function: {
    name: tool.name,
    description: tool.description,
    // Not before a model is asked: see `defineTool`.
    get parameters() {
      return tool.parameters;
    },
  },
}));

function messagesOf(entry: TranscriptEntry): OpenAI.ChatCompletionMessageParam[] {
  if (entry.type === "user") return [{ role: "user", content: wordsOf(entry.parts) }];
  if (entry.calls.length === 0) return entry.text === "" ? [] : [{ role: "assistant", content: entry.text }];
  const asked: OpenAI.ChatCompletionMessageParam = {
    role: "assistant",
    content: entry.text === "" ? null : entry.text,
    // Input that was no JSON object is an empty one here: some servers parse it again. The result quotes it.
    tool_calls: entry.calls.map(({ id, tool, input }) => ({ id, type: "function", function: { name: safeName(tool), arguments: JSON.stringify(input) } })),
  };
  return [asked, ...entry.calls.map(({ id, result }) => ({ role: "tool" as const, tool_call_id: id, content: result || withoutResult }))];
}

const withoutResult = "This call was interrupted; whether it had an effect is not known.";

const safeName = (name: string): string => name.replace(/[^\w-]/g, "_").slice(0, 64) || "unknown";
