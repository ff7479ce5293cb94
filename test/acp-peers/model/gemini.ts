import { sse, textsOf, type Dialect, type Reply } from "./dialect.ts";

/** Gemini's generateContent and streamGenerateContent. Tools' results come in messages of the user. */
interface Part {
  readonly text?: string;
  readonly functionResponse?: { readonly response?: { readonly output?: string; readonly error?: string } };
}
interface Request {
  readonly contents: readonly { readonly role?: string; readonly parts: readonly Part[] }[];
  readonly tools?: readonly { readonly functionDeclarations?: readonly { readonly name: string }[] }[];
  readonly generationConfig?: { readonly responseJsonSchema?: unknown; readonly responseSchema?: unknown };
}

const usageMetadata = { promptTokenCount: 100, candidatesTokenCount: 20, totalTokenCount: 120 };
const answer = (parts: readonly object[], finishReason?: string): object => ({
  candidates: [{ index: 0, content: { role: "model", parts }, ...(finishReason && { finishReason }) }],
  modelVersion: "mock",
  responseId: "response-1",
  ...(finishReason && { usageMetadata }),
});

export const gemini: Dialect = {
  name: "gemini",
  path: /:(?:streamG|g)enerateContent$/,
  read(body) {
    const { contents, tools, generationConfig } = body as Request;
    const last = contents.findLastIndex(({ role, parts }) => role !== "model" && parts.some(({ text }) => text !== undefined));
    const after = contents.slice(last).flatMap(({ parts }) => parts);
    return {
      texts: textsOf(contents[last]?.parts),
      results: after.flatMap(({ functionResponse }) =>
        functionResponse ? [functionResponse.response?.output ?? JSON.stringify(functionResponse.response)] : [],
      ),
      tools: (tools ?? []).flatMap(({ functionDeclarations }) => functionDeclarations ?? []).map(({ name }) => name),
      schema: generationConfig?.responseJsonSchema ?? generationConfig?.responseSchema,
    };
  },
  streams: (_, path) => path.endsWith(":streamGenerateContent"),
  stream: () => ({
    begin: "",
    text: (piece) => sse(answer([{ text: piece }])),
    call: ({ id, name, input }) => sse(answer([{ functionCall: { id, name, args: input } }])),
    end: () => sse(answer([{ text: "" }], "STOP")),
  }),
  whole: (reply: Reply) =>
    answer(["call" in reply ? { functionCall: { id: reply.call.id, name: reply.call.name, args: reply.call.input } } : { text: reply.text }], "STOP"),
};
