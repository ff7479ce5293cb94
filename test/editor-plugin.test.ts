/** examples/editor-plugin: the process that an editor starts, with a real daemon and the practice model. */
import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DaemonHome } from "./support/daemon-home.ts";

const file = resolve(import.meta.dirname, "../examples/editor-plugin/plugin.mjs");
type Event = { readonly event: string } & Readonly<Record<string, unknown>>;

/** An editor that has started the plugin, and keeps what it tells. */
class Editor {
  readonly events: Event[] = [];
  readonly done: Promise<number | null>;
  stderr = "";
  readonly #child: ChildProcess;
  #wake: (() => void)[] = [];

  constructor(home: DaemonHome, ...args: readonly string[]) {
    this.#child = spawn(process.execPath, [file, home.workdir, ...args], { env: home.env, stdio: "pipe" });
    let text = "";
    this.#child.stdout?.setEncoding("utf8").on("data", (piece: string) => {
      const lines = `${text}${piece}`.split("\n");
      text = lines.pop() ?? "";
      this.events.push(...lines.map((line) => JSON.parse(line) as Event));
      this.#told();
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (piece: string) => (this.stderr += piece));
    this.done = new Promise((settle) => this.#child.once("close", (code) => (settle(code), this.#told())));
  }

  says(command: object | string): void {
    this.#child.stdin?.write(`${typeof command === "string" ? command : JSON.stringify(command)}\n`);
  }

  /** The next event that has these fields; of those seen, only the ones behind `from`. */
  async sees(fields: object, from = 0): Promise<Event> {
    for (;;) {
      const found = this.events.slice(from).find((event) => Object.entries(fields).every(([name, value]) => event[name] === value));
      if (found !== undefined) return found;
      if (this.#child.exitCode !== null) throw new Error(`it ended: ${this.stderr}${JSON.stringify(this.events)}`);
      await new Promise<void>((wake) => this.#wake.push(wake));
    }
  }

  /** It closes the pipe. @returns the plugin's exit code */
  goes(): Promise<number | null> {
    this.#child.stdin?.end();
    return this.done;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  #told(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

let home: DaemonHome;
const editors: Editor[] = [];
const editor = (...args: readonly string[]): Editor => {
  const made = new Editor(home, "--model", "practice", ...args);
  editors.push(made);
  return made;
};
beforeEach(() => (home = new DaemonHome("")));
afterEach(async () => {
  for (const each of editors.splice(0)) {
    each.signal("SIGKILL");
    await each.done;
  }
  await home.close();
});

test("B14 the first editor drives, a prompt's question is answered, and the file is written; a second one looks on and is told who drives", async () => {
  const ada = editor("--label", "ada's editor");
  expect(await ada.sees({ event: "ready" })).toMatchObject({ workdir: home.workdir, created: true });
  await ada.sees({ event: "seat", role: "driver", driver: "ada's editor" });
  ada.says({ command: "prompt", id: 1, text: "write flag.txt: --colour" });
  const question = await ada.sees({ event: "question" });
  expect(question["preview"]).toContain("+--colour");
  const bo = editor("--label", "bo's editor");
  await bo.sees({ event: "seat", role: "viewer", driver: "ada's editor" });
  // Whoever comes is shown the question, and may not answer it.
  const { approval_id } = await bo.sees({ event: "question" });
  expect(approval_id).toBe(question["approval_id"]);
  bo.says({ command: "approve", id: "b", approval_id, option_id: "allow_once" });
  expect(await bo.sees({ event: "error", id: "b" })).toMatchObject({ code: "driver_taken", message: expect.stringContaining("ada's editor") as string });
  ada.says({ command: "approve", approval_id, option_id: "allow_once" });
  expect(await ada.sees({ event: "done", id: 1 })).toMatchObject({ stop_reason: "end_turn" });
  expect(readFileSync(join(home.workdir, "flag.txt"), "utf8")).toBe("--colour");
  await bo.sees({ event: "turn_ended", stop_reason: "end_turn" });
  // The wheel goes over, and what is sent then runs.
  bo.says({ command: "take", how: "force" });
  await ada.sees({ event: "seat", role: "viewer", driver: "bo's editor" });
  bo.says({ command: "prompt", id: 2, text: "say hello" });
  expect(await bo.sees({ event: "done", id: 2 })).toMatchObject({ text: expect.stringContaining("hello") as string });
  expect([await ada.goes(), await bo.goes(), ada.stderr, bo.stderr]).toEqual([0, 0, "", ""]);
  const host = await home.connect({ autoStart: false });
  expect((await host.listSessions()).sessions).toMatchObject([{ workdir: home.workdir, stable: true, seats: 0 }]);
});

test("B37 the daemon is killed while a question is open: the editor is told, the question is there again, and its answer counts", async () => {
  const ada = editor();
  ada.says({ command: "prompt", id: 1, text: "write flag.txt: --colour" });
  const { approval_id } = await ada.sees({ event: "question" });
  const before = ada.events.length;
  await home.kill(await home.daemon());
  await ada.sees({ event: "seat", connection: "reconnecting" }, before);
  await ada.sees({ event: "seat", connection: "live", role: "driver" }, before);
  ada.says({ command: "approve", approval_id, option_id: "allow_once" });
  expect(await ada.sees({ event: "done", id: 1 })).toMatchObject({ stop_reason: "end_turn" });
  expect(readFileSync(join(home.workdir, "flag.txt"), "utf8")).toBe("--colour");
  expect(await ada.goes()).toBe(0);
});

test("what is no command is told, with its id where it has one, and ends nothing; SIGTERM leaves the seat, the turn goes on", async () => {
  const ada = editor();
  await ada.sees({ event: "state" });
  for (const [line, id] of [
    ["no json", undefined],
    ["null", undefined],
    ['{"command":"constructor","id":7}', 7],
    ['{"command":"approve","id":8,"approval_id":"apr_x","option_id":"allow_once"}', 8],
  ] as const) {
    const from = ada.events.length;
    ada.says(line);
    expect(await ada.sees({ event: "error", id }, from)).toMatchObject({ message: expect.any(String) as string });
  }
  ada.says({ command: "prompt", id: 9, text: "wait 60000" });
  await ada.sees({ event: "prompt" });
  ada.signal("SIGTERM");
  expect([await ada.done, ada.stderr]).toEqual([0, ""]);
  expect(ada.events.filter(({ event }) => event === "error")).toHaveLength(4);
  const host = await home.connect({ autoStart: false });
  expect((await host.listSessions()).sessions).toMatchObject([{ seats: 0, status: "thinking" }]);
});

test("a session that is stopped ends the plugin, and says so", async () => {
  const ada = editor();
  await ada.sees({ event: "state" });
  const host = await home.connect({ autoStart: false });
  await host.stopWorkdirSession(home.workdir);
  await ada.sees({ event: "ended" });
  expect([await ada.done, ada.stderr]).toEqual([0, ""]);
});
