import { connect } from "node:net";
import { createTRPCClient, createWSClient, wsLink, type TRPCClient } from "@trpc/client";
import { WebSocket } from "ws";
import type { LimitRouter } from "./daemon.ts";

/** tRPC's own client on a connection of its own, over a unix socket. */
export interface StockClient {
  readonly trpc: TRPCClient<LimitRouter>;
  close(): Promise<void>;
}

export function stockClient(path: string): StockClient {
  class OverUnixSocket extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols, { createConnection: () => connect(path), perMessageDeflate: false });
    }
  }
  // The global WebSocket has no type without the DOM's; the client makes do with what `ws` has.
  const link = createWSClient({ url: "ws://localhost/", WebSocket: OverUnixSocket as never });
  return { trpc: createTRPCClient<LimitRouter>({ links: [wsLink({ client: link })] }), close: () => link.close() };
}
