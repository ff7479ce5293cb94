// Runs one command and keeps what it printed, so that a caller can stay quiet until something fails.
import { spawn } from "node:child_process";
import { stripVTControlCharacters } from "node:util";

// Groups of their own outlive us on Ctrl-C unless they are ended here.
const groups = new Set();
process.on("exit", () => {
  for (const pid of groups) endGroup(pid);
});

function endGroup(pid) {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // gone already
  }
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, timeoutMs?: number}} [options]  beyond `timeoutMs` the whole process group is killed
 * @returns {Promise<{ok: boolean, output: string, seconds: string, timedOut: boolean}>}  never rejects
 */
export function runCommand(command, args, { cwd, env = process.env, timeoutMs } = {}) {
  const begun = performance.now();
  return new Promise((settle) => {
    // A group of its own only where it may have to be killed: elsewhere Ctrl-C has to reach the child.
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: timeoutMs !== undefined });
    const group = timeoutMs === undefined ? undefined : child.pid;
    if (group !== undefined) groups.add(group);
    let output = "";
    let timedOut = false;
    const timer =
      timeoutMs &&
      setTimeout(() => {
        timedOut = true;
        if (group !== undefined) endGroup(group);
      }, timeoutMs);
    const end = (ok) => {
      clearTimeout(timer);
      // What the command left running (a daemon of a test) goes with it.
      if (group !== undefined) endGroup(group);
      groups.delete(group);
      // Colours only get in the way where output is kept and shown later; not every tool heeds NO_COLOR.
      settle({ ok, output: stripVTControlCharacters(output).trimEnd(), seconds: ((performance.now() - begun) / 1000).toFixed(1), timedOut });
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
    child.on("error", (error) => {
      output += `${command}: ${error.message}`;
      end(false);
    });
    child.on("close", (code) => end(code === 0));
  });
}

/** The last lines of a long output. */
export const tail = (output, lines = 40) => output.split("\n").slice(-lines).join("\n");
