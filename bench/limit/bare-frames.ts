import { createServer } from "node:http";
import { WebSocketServer, type RawData } from "ws";
import { z } from "zod";

/**
 * What any daemon of these parts must spend on a call at least: a frame is parsed, and answered by one as long as the
 * real reply. No tRPC, no schema. Speaks the same lines as the router beside it, and is told its replies likewise.
 */
export const remembered = z.object({ verb: z.enum(["authorize", "session_info"]), reply: z.unknown() });

interface Line {
  readonly id: number;
  readonly params: { readonly path: string; readonly input: unknown };
}

/** @returns where it listens */
export function bareFrames(path: string): Promise<string> {
  const replies = new Map<string, unknown>();
  const server = createServer();
  new WebSocketServer({ server, perMessageDeflate: false }).on("connection", (socket) =>
    socket.on("message", (data: RawData) => {
      const { id, params } = JSON.parse(String(data)) as Line;
      if (params.path === "remember") {
        const { verb, reply } = remembered.parse(params.input);
        replies.set(verb, reply);
      }
      socket.send(JSON.stringify({ id, result: { type: "data", data: replies.get(params.path) } }));
    }),
  );
  return new Promise((resolve) => server.listen(path, () => resolve(path)));
}
