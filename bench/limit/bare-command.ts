import { connect } from "node:net";
import { createTRPCClient, createWSClient, wsLink } from "@trpc/client";
import { WebSocket } from "ws";
import type { CommandsRouter } from "./commands.ts";

/**
 * The limit of a command line: connects with the stock client, makes one call, prints what came, and ends. It has no
 * options, no help and nothing to look up.
 *
 *   bare-command SOCKET ls
 *   bare-command SOCKET send TEXT
 */
const [socket = "", verb, text = ""] = process.argv.slice(2);

class OverUnixSocket extends WebSocket {
  constructor(url: string | URL, protocols?: string | string[]) {
    super(url, protocols, { createConnection: () => connect(socket), perMessageDeflate: false });
  }
}

const client = createTRPCClient<CommandsRouter>({
  links: [wsLink({ client: createWSClient({ url: "ws://localhost/", WebSocket: OverUnixSocket }) })],
});
if (verb === "ls") {
  const { sessions } = await client.list.query();
  for (const { session_id, workdir, status } of sessions) process.stdout.write(`${session_id.slice(0, 12)}  ${status.padEnd(8)}  ${workdir}\n`);
} else {
  const { seq } = await client.prompt.mutate({ text });
  process.stdout.write(`started ${seq}\n`);
}
process.exit(0);
