import { textOf, type Answer, type Content, type Dialect } from "./dialect.ts";

/** The Responses API's stream, which codex speaks: each answer is made of items that are begun, grow, and are repeated whole. */
interface Request {
  readonly input: readonly { readonly type: string; readonly role?: string; readonly content?: Content }[];
}

const line = (event: { readonly type: string } & Record<string, unknown>): string => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
const usage = { input_tokens: 10, input_tokens_details: null, output_tokens: 10, output_tokens_details: null, total_tokens: 20 };

export const responses: Dialect = {
  path: "/responses",
  asked(body) {
    const { input } = body as Request;
    return input.at(-1)?.type === "function_call_output" ? null : textOf(input.findLast(({ role }) => role === "user")?.content);
  },
  answer(): Answer {
    const id = String(process.hrtime.bigint());
    const message = { type: "message", id: `msg_${id}`, role: "assistant" };
    const opened = line({ type: "response.output_item.added", output_index: 0, item: { ...message, content: [] } });
    let calls = false;
    return {
      begin: line({ type: "response.created", response: { id: `resp_${id}` } }),
      beforeText: opened,
      text: (delta) => line({ type: "response.output_text.delta", item_id: message.id, output_index: 0, content_index: 0, delta }),
      call() {
        calls = true;
        // Asked to run outside its sandbox, codex asks the user.
        const input = { cmd: "true", sandbox_permissions: "require_escalated", justification: "nothing" };
        const item = { type: "function_call", id: `fc_${id}`, call_id: `call_${id}`, name: "exec_command", arguments: JSON.stringify(input) };
        return `${line({ type: "response.output_item.added", output_index: 0, item: { ...item, arguments: "" } })}${line({ type: "response.output_item.done", output_index: 0, item })}`;
      },
      end(whole) {
        const completed = line({ type: "response.completed", response: { id: `resp_${id}`, usage } });
        const item = { ...message, content: [{ type: "output_text", text: whole, annotations: [] }] };
        return calls ? completed : `${line({ type: "response.output_item.done", output_index: 0, item })}${completed}`;
      },
    };
  },
};
