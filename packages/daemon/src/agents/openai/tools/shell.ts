import { setTimeout as pause } from "node:timers/promises";
import { z } from "zod";
import type { Exit, MarkedChild } from "../../children.ts";
import { BoundedOutput } from "./bounded-output.ts";
import type { ToolContext, ToolResult } from "./tool.ts";
import { defineTool } from "./tool.ts";

/** Run a command. It ends with its call: by itself, at its time limit or at an interrupt, and everything that it started with it. */
export const shell = defineTool({
  name: "shell",
  kind: "execute",
  description:
    "Run a command with sh in the working directory; stdin is closed. Processes left in the background are ended with the command. The user is asked first.",
  input: z.strictObject({
    command: z.string().min(1),
    timeout_ms: z.int().min(1).nullish().describe("Ends the command after this time; ten minutes at most."),
  }),
  title: ({ command }) => command,

  async preview({ command, timeout_ms }, { paths, sandbox }) {
    await paths.mustStand();
    return {
      // What is said of the command begins its line: no line of the command's own does, nor of a directory's name, and so looks like it.
      text: `$ ${command.replaceAll("\n", "\n  ")}\n\nin ${onOneLine(paths.workdir)}${timeout_ms ? `, for at most ${timeout_ms} ms` : ""}${sandbox === "off" ? "" : `\n${inSandbox[sandbox]}`}`,
      fileDigest: "",
      // What may be run confined may not for that be run as the owner.
      pattern: { type: "command", command, directory: paths.workdir, ...(sandbox !== "off" && { sandbox }) },
    };
  },

  async *run({ command, timeout_ms }, context) {
    if (!context.isAsShown("")) return { ok: false, text: "This is not the command that was shown, so nothing was run." };
    const limitMs = Math.min(timeout_ms ?? Infinity, context.limits.shell_ms_max);
    const output = new BoundedOutput(context.limits.tool_output_bytes_max);
    const child = await context.spawn(command);
    output.drain(child.stdout);
    output.drain(child.stderr);
    const running = follow(child, limitMs, context);
    let done = false;
    const finished = running.then((text) => ((done = true), text));
    try {
      while (!done) {
        await Promise.race([output.ready(), finished]);
        // One event for what comes together, not one for each write of the command.
        if (!done) await Promise.race([pause(gatherMs), finished]);
        const piece = output.take();
        if (piece !== "") yield piece;
      }
      const { ok, text } = await finished;
      return { ok, text: `${output.text().trimEnd() || "(no output)"}\n${text}` };
    } finally {
      // Also when nobody pulls any more: the call's processes never outlive it.
      await child.end(context.limits.kill_wait_ms);
    }
  },
});

/** The session escapes the other characters that deceive, and leaves these. */
const onOneLine = (path: string): string => path.replace(/[\n\t]/g, (character) => `\\u{${character.charCodeAt(0).toString(16)}}`);
const inSandbox = {
  no_network: "in a sandbox without network, in which only this directory can be written",
  network: "in a sandbox with network, in which only this directory can be written",
};
const gatherMs = 20;

type Cause = "exit" | "timeout" | "abort";

/** Waits for the end of the command, by itself or not, and of all that it left. */
async function follow(child: MarkedChild, limitMs: number, { limits, signal }: ToolContext): Promise<ToolResult> {
  const state: { cause: Cause } = { cause: "exit" };
  let given: (exit: Exit) => void = () => {};
  const givenUp = new Promise<Exit>((resolve) => (given = resolve));
  const stop = (why: Cause): void => {
    state.cause = why;
    // What the system cannot end (a process stuck in the kernel) is not waited for.
    void child
      .end(limits.kill_wait_ms)
      .then(() => pause(limits.shell_pipes_ms))
      .then(() => given({ code: null, signal: "SIGKILL" }));
  };
  const onAbort = (): void => stop("abort");
  const timer = setTimeout(() => stop("timeout"), limitMs);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  const exit = await Promise.race([child.exited, givenUp]);
  clearTimeout(timer);
  await Promise.race([child.closed, pause(limits.shell_pipes_ms)]);
  const left = await child.end(limits.kill_wait_ms);
  signal.removeEventListener("abort", onAbort);
  await Promise.race([child.closed, pause(limits.shell_pipes_ms)]);
  // Whoever still holds them has escaped; nothing of it is waited for.
  child.stdout.destroy();
  child.stderr.destroy();
  return { ok: state.cause === "exit" && exit.code === 0, text: outcome(exit, state.cause, { left, limitMs }) };
}

function outcome(exit: Exit, cause: Cause, { left, limitMs }: { left: number; limitMs: number }): string {
  if (exit.error !== undefined) return `[could not be started: ${exit.error}]`;
  if (cause === "timeout") return `[ended: it ran longer than ${limitMs} ms]`;
  if (cause === "abort") return "[ended: interrupted]";
  const how = exit.signal === null ? `[exit code ${exit.code}]` : `[ended by ${exit.signal}]`;
  return left === 0 ? how : `${how}\n[${left} ${left === 1 ? "process" : "processes"} left in the background ended with the command]`;
}
