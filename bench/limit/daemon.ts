import { createServer } from "node:http";
import { dirname } from "node:path";
import { initTRPC } from "@trpc/server";
import { applyWSSHandler } from "@trpc/server/adapters/ws";
import { WebSocketServer } from "ws";
import { serveSide } from "../side-process.ts";
import { callsRouter } from "./calls.ts";
import { relayRouter } from "./relay.ts";
import { stepsRouter } from "./steps.ts";
import { turnsRouter } from "./turns.ts";

/**
 * The limit: a daemon of the same parts (tRPC, ws, zod, a unix socket, the openai client) that does the
 * same visible work and keeps no promise: no gate, no journal, no seats. Bundled as the real one is.
 *
 *   limit-daemon SOCKET [MODEL_URL]
 */
const [socket = "", baseURL = ""] = process.argv.slice(2);
const trpc = initTRPC.create();
const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
const unsent = (): number => {
  let bytes = 0;
  for (const { bufferedAmount } of sockets.clients) bytes += bufferedAmount;
  return bytes;
};
const directory = dirname(socket);
const single = trpc.mergeRouters(callsRouter(trpc, socket), stepsRouter(trpc, directory), turnsRouter(trpc, { directory, baseURL }));
const router = trpc.mergeRouters(single, relayRouter(trpc, { baseURL, unsent }));
export type LimitRouter = typeof router;

applyWSSHandler({ wss: sockets, router });
server.listen(socket, () => serveSide({ socket }, () => Promise.resolve(null)));
