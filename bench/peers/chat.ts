import { textOf, type Answer, type Content, type Dialect } from "./dialect.ts";

/** Chat Completions, which sessiond and opencode speak. */
interface Request {
  readonly messages: readonly { readonly role: string; readonly content: Content }[];
  readonly tools?: readonly { readonly function: { readonly name: string } }[];
}

const line = (rest: object): string => `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "m", ...rest })}\n\n`;
const delta = (content: object, finish_reason: string | null = null): string => line({ choices: [{ index: 0, delta: content, finish_reason }] });
const usage = line({ choices: [], usage: { prompt_tokens: 10, completion_tokens: 10, total_tokens: 20 } });
const done = "data: [DONE]\n\n";

export const chat: Dialect = {
  path: "/chat/completions",
  asked(body) {
    const { messages } = body as Request;
    return messages.at(-1)?.role === "tool" ? null : textOf(messages.findLast(({ role }) => role === "user")?.content);
  },
  answer(body): Answer {
    const names = ((body as Request).tools ?? []).map((tool) => tool.function.name);
    let reason = "stop";
    return {
      begin: delta({ role: "assistant", content: "" }),
      beforeText: "",
      text: (piece) => delta({ content: piece }),
      call() {
        reason = "tool_calls";
        // What each calls its tool: opencode's wants to be told what for, sessiond's takes no such word.
        const [name, input] = names.includes("bash") ? ["bash", { command: "true", description: "nothing" }] : ["shell", { command: "true" }];
        const id = `call_${process.hrtime.bigint()}`;
        return delta({ tool_calls: [{ index: 0, id, type: "function", function: { name, arguments: JSON.stringify(input) } }] });
      },
      end: () => `${delta({}, reason)}${usage}${done}`,
    };
  },
};
