// An agent of your own: it repeats what it is told, and asks before it writes a file.
//
//   node own-agent.mjs &
//   sessiond run --agent echo "notes.txt: the light is green"
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "@sessiond/client/node";

const host = await connect(); // finds the daemon, or starts it
const served = await host.serveAgent("echo", {
  async *prompt(turn) {
    yield `You said: ${turn.text}\n`;
    const [, path, content] = /^([\w.-]+): (.*)$/s.exec(turn.text) ?? [];
    if (path === undefined) return;

    const call = { tool_call_id: `write_${turn.turnId}`, message_id: turn.turnId, tool: "write", kind: "edit", title: `write ${path}` };
    yield { type: "tool_call", ...call, input: { path, content }, locations: [{ path }] };
    const answer = await turn.ask({ toolCallId: call.tool_call_id, preview: `${path}:\n${content}` });
    const update = { type: "tool_call_update", tool_call_id: call.tool_call_id };
    if (!answer.allowed) return void (yield { ...update, status: "failed", result: answer.reason ?? "refused" });

    yield { ...update, status: "in_progress" }; // on disk when this goes on: only now it is written
    await writeFile(join(turn.workdir, path), content, { signal: turn.signal });
    yield { ...update, status: "completed", result: `Wrote ${path}.` };
    yield "Done.";
  },
});
console.log("serving echo");
console.error((await served.ended)?.message ?? "closed");
