/** Every command against a session full of texts that give orders to a terminal: none of them gets through. */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { amount, whole } from "../support/amount.ts";
import { CommandHouse } from "../support/command.ts";
import { deceptionsIn, hostileTexts } from "../support/hostile-text.ts";
import { startModelServer, type ModelServer, type Reply } from "../support/model-server.ts";

const house = new CommandHouse();
const everything = hostileTexts.join(" ");
/** No file may be named with a slash. */
const named = (text: string): string => text.replaceAll("/", "_");
const workdir = house.workdir(named(`w ${hostileTexts[0]} ${hostileTexts[7]} ${hostileTexts[9]}`));

let model: ModelServer;
beforeAll(async () => {
  model = await startModelServer([answer]);
  const config = join(house.env["XDG_CONFIG_HOME"] ?? "", "sessiond");
  mkdirSync(config, { recursive: true, mode: 0o700 });
  delete house.env["SESSIOND_MODEL"];
  writeFileSync(join(config, "config.toml"), `[model]\nname = "m"\napi_key = "k"\nbase_url = "${model.baseURL}"\n`);
  for (const [at, text] of hostileTexts.entries()) writeFileSync(join(workdir, named(`${at}${text}`)), text);
});
afterAll(async () => {
  await house.close();
  await model.close();
});

/** Sequences and characters come in pieces: each UTF-16 unit, each byte by itself. */
const speak = (reply: Reply): void => {
  for (let at = 0; at < everything.length; at++) reply.delta({ reasoning_content: everything[at] });
  for (let at = 0; at < everything.length; at++) reply.text(everything[at] ?? "");
};
const bytesApart = (text: string): string => [...Buffer.from(text)].map((byte) => `printf '\\${byte.toString(8)}'; sleep 0.03`).join("; ");

function answer(reply: Reply, { body }: ModelServer["requests"][number]): void {
  const last = body.messages.at(-1);
  const asked = last?.role === "user" ? String(last.content).split(" ")[0] : "";
  if (asked === "speak") speak(reply);
  else if (asked === "act") {
    reply.call(0, "shell", { command: `printf '%s' '${everything}'; ${bytesApart("\u202e\u009b\u{e0041}")}; printf '\\233\\377'` });
    reply.call(1, "write", { path: named(`new ${hostileTexts[7]}`), content: everything });
    reply.call(2, "read", { path: named(`0${hostileTexts[0]}`) });
    reply.call(3, "list", { path: "." });
    reply.call(4, "search", { pattern: "." });
    reply.call(5, `tool ${everything.slice(0, 60)}`, {});
  } else if (asked === "ask") reply.call(0, "shell", { command: `: '${everything}'` });
  else if (asked === "refuse") return reply.status(400, {}, { error: { message: everything, type: everything, code: null } });
  else reply.text("well");
  reply.finish(asked === "act" || asked === "ask" ? "tool_calls" : "stop");
}

interface Printed {
  readonly what: string;
  readonly bytes: Buffer;
  readonly terminal: boolean;
}
const printed: Printed[] = [];

/** Runs it until it ends, or has said that, and is then told to go. Both streams of a pipe, or what a terminal got. */
function bytesOf(args: readonly string[], { terminal = false, until = "", keys = "\u0003" } = {}): Promise<number | null> {
  const words = house.command(...args);
  const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const [file = "", ...rest] = terminal ? ["script", "-qefc", quoted, "/dev/null"] : words;
  const child = spawn(file, rest, { cwd: workdir, env: { ...house.env, TERM: "xterm", LC_ALL: "C.UTF-8", SHELL: "/bin/sh" } });
  const pieces: Buffer[] = [];
  let interrupted = false;
  const heard = (piece: Buffer): void => {
    pieces.push(piece);
    if (until === "" || interrupted || !Buffer.concat(pieces).includes(until)) return;
    interrupted = true;
    if (terminal) child.stdin.write(keys);
    else child.kill("SIGINT");
  };
  child.stdout.on("data", heard);
  child.stderr.on("data", heard);
  // Of a terminal the end of input is a key, and would be typed ahead.
  if (!terminal) child.stdin.end();
  return new Promise((resolve) =>
    child.once("close", (code) => {
      printed.push({
        what: `${args.map((arg) => JSON.stringify(arg.slice(0, 20))).join(" ")}${terminal ? " on a terminal" : ""}`,
        bytes: Buffer.concat(pieces),
        terminal,
      });
      resolve(code);
    }),
  );
}

/** No title like that is taken any more; the journal of an older daemon may hold one. */
async function retitled(title: string, hostile: string): Promise<void> {
  expect(await bytesOf(["down", "--wait", "0"])).toBe(0);
  const sessions = join(house.env["XDG_STATE_HOME"] ?? "", "sessiond", "sessions");
  const journals = readdirSync(sessions).map((id) => join(sessions, id, "journal"));
  const found = journals.filter((path) => readFileSync(path, "utf8").includes(JSON.stringify(title)));
  expect(found).toHaveLength(1);
  for (const path of found)
    writeFileSync(
      path,
      readFileSync(path, "utf8").replace(JSON.stringify(title), () => JSON.stringify(hostile)),
    );
}

const several = async (commands: readonly (() => Promise<unknown>)[]): Promise<void> => {
  // Two at a time: more than that two cores do not run.
  const left = [...commands];
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await next();
  };
  await Promise.all([work(), work()]);
};

const deceptions = (): string[] =>
  printed.flatMap(({ what, bytes, terminal }) =>
    deceptionsIn(bytes, { terminal })
      .slice(0, 3)
      .map((each) => `${what}: ${each}`),
  );
const output = (): string => printed.map(({ bytes }) => bytes.toString("utf8")).join("");

const looks = [
  "info",
  "ls --all",
  "queue list",
  "info --json",
  "rules list",
  "audit",
  "status",
  "doctor",
  "verify",
  "token list",
  "agents",
  "ls --all --json",
  "queue list --json",
  "rules list --json",
  "verify --json",
  "doctor --json",
  "status --json",
  "status --metrics",
  "token list --json",
];

test("B25 whatever a session holds, no command gives a terminal orders with it, to a pipe, to a terminal, or as JSON", { timeout: 300_000 }, async () => {
  const also = async (...work: readonly (() => Promise<unknown>)[]): Promise<void> => {
    if (whole) for (const each of work) await each();
  };
  expect(await bytesOf(["run", "--title", "PLACE", "--approve", "speak"])).toBe(0);
  await retitled("PLACE", everything);
  expect(await bytesOf(["run", "--approve", `act ${everything}`])).toBe(0);
  await also(
    () => bytesOf(["run", "--approve", "--json", "act"]),
    () => bytesOf(["run", "refuse"]),
    () => bytesOf(["note", everything]),
    () => bytesOf(["set", "--title", hostileTexts.slice(4).join("").slice(0, 110)]),
    () => bytesOf(["send", "ask"]),
    () => bytesOf(["wait", "approval"]),
    () => bytesOf(["approve", "--reject", "--reason", everything]),
    () => bytesOf(["wait"]),
  );
  // A rule for the hostile command, then another question, and behind it a prompt in the queue.
  await bytesOf(["send", "ask"]);
  await bytesOf(["wait", "approval"]);
  await bytesOf(["approve", "--for-session"], { terminal: true });
  await bytesOf(["wait"]);
  await bytesOf(["send", `act ${everything}`]);
  await bytesOf(["wait", "approval", "--json"]);
  await bytesOf(["send", everything]);
  await several([
    ...looks.slice(0, amount(6, looks.length)).map((words) => () => bytesOf(words.split(" "))),
    ...looks.slice(0, amount(1, 10)).map((words) => () => bytesOf(words.split(" "), { terminal: true })),
    () => bytesOf(["attach", "--view"], { until: "asks for permission", terminal: true }),
  ]);
  // As a driver, who is asked, and leaves the question open.
  const left = { until: "Allow this?", keys: "/detach\r", terminal: true };
  await bytesOf(["attach"], left);
  await also(
    () => bytesOf(["watch"], { until: "—" }),
    () => bytesOf(["watch", "--json"], { until: "\n" }),
    () => bytesOf(["attach", "--view"], { until: "asks for permission" }),
    () => bytesOf(["attach", "--view", "--json"], { until: "\n" }),
    () => bytesOf(["attach"]),
    () => bytesOf(["take"], left),
  );
  // What is said back of what was given.
  const repeated = [
    ["info", everything],
    ["queue", "withdraw", everything],
    ["rules", "forget", everything],
    ["approve", everything],
    [everything],
    ["ls", `--${everything}`],
    ["audit", "-s", everything],
    ["verify", everything],
    ["yield", everything],
    ["run", "--model", everything, "hi"],
    ["wait", everything, everything],
  ];
  await several(repeated.slice(0, amount(1, repeated.length)).map((args) => () => bytesOf(args)));
  await bytesOf(["interrupt"]);
  await also(
    () => bytesOf(["stop"]),
    () => bytesOf(["down", "--wait", "0"]),
  );
  expect(deceptions()).toEqual([]);
  // It did come, and is shown as what it is: said by the model, printed by a tool, as title, file, prompt, question, note, reason.
  for (const escaped of ["\\u{1b}]52;c;", "\\u{9b}45m", "over\\u{d}written", "\\u{202e}abc", "\\u{e0041}", "\\u{3164}", "\\u{7f}"])
    expect(output()).toContain(escaped);
  expect(output()).not.toContain("This is a bug");
  const bytes = printed.reduce((sum, each) => sum + each.bytes.length, 0);
  console.log(
    `B25: ${printed.length} commands, ${printed.filter(({ terminal }) => terminal).length} of them on a terminal, printed ${bytes} bytes of a session full of ${hostileTexts.length} hostile texts: none got through`,
  );
});

test("B25 the scan finds each hostile text, in a pipe and on a terminal, and what the command draws itself is none", () => {
  for (const text of hostileTexts)
    for (const terminal of [true, false]) expect(deceptionsIn(Buffer.from(`so ${text} so`), { terminal }).length, JSON.stringify(text)).toBeGreaterThan(0);
  for (const byte of [0x9b, 0xff, 0x1b]) expect(deceptionsIn(Buffer.from([0x61, byte, 0x62]), { terminal: true })).toHaveLength(1);
  expect(deceptionsIn(Buffer.from("\u001b[2mdim\u001b[0m\r\n\u001b[1G\u001b[0J> \u001b[3Gplain ⚠ ü 漢 😀\t\n"), { terminal: true })).toEqual([]);
  expect(deceptionsIn(Buffer.from("\u001b[2mdim"), { terminal: false })).toHaveLength(1);
});
