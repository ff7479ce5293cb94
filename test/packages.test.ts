import { readdirSync, readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { version } from "@sessiond/shared";
import { afterAll, beforeAll, expect, test } from "vitest";
import { whole } from "./support/amount.ts";
import { Installed } from "./support/installed.ts";

/** What is published, installed from its tarballs in an empty folder: loads either way, type-checks by itself, starts, works. */
const root = resolve(import.meta.dirname, "..");
const installed = new Installed();
beforeAll(() => installed.install(["shared", "client", "cli"]), 120_000);
afterAll(async () => {
  await installed.run(installed.command, ["down", "--wait", "0"]);
  await installed.close();
});

const sourcesOf = (name: string): string[] =>
  readdirSync(join(root, "packages", name, "src"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .flatMap((path) => [`dist/${path.replace(/\.ts$/, ".js")}`, `dist/${path.replace(/\.ts$/, ".d.ts")}`]);
const kilobytes = (bytes: number): string => `${Math.round(bytes / 1000)} kB`;

test("the libraries hold their own modules and types and nothing else: no source of the daemon, no test; the command only its bundles", () => {
  const [shared, client, command] = ["@sessiond/shared", "@sessiond/client", "sessiond"].map((name) => installed.contents(name));
  const also = ["LICENSE", "package.json"];
  expect(shared?.files).toEqual([...also, ...sourcesOf("shared")].toSorted());
  expect(client?.files).toEqual([...also, ...sourcesOf("client")].toSorted());
  expect(command?.files.filter((file) => !/^dist\/(sessiond|daemon|acp)(-[a-z0-9-]+)?\.js$/.test(file))).toEqual(
    [...also, "dist/launch.js", "dist/package.json"].toSorted(),
  );
  const dir = join(installed.folder, "node_modules/@sessiond");
  for (const [name, { files } = { files: [] }] of [
    ["shared", shared],
    ["client", client],
  ] as const)
    for (const file of files)
      expect(`${file}: ${readFileSync(join(dir, name, file), "utf8")}`).not.toMatch(/@sessiond\/daemon|initTRPC|fs-native-extensions|lowdb|from "openai"/);
  const packed = readdirSync(installed.tarballs).map((file) => `${file} ${kilobytes(statSync(join(installed.tarballs, file)).size)}`);
  const unpacked = [shared, client, command].map((each) => kilobytes(each?.bytes ?? 0));
  console.log(`packed: ${packed.join(", ")}; installed (shared, client, command): ${unpacked.join(", ")}`);
});

const entries = ["@sessiond/shared", "@sessiond/client", "@sessiond/client/node"];
const probes: readonly [file: string, load: string][] = [
  ["load.mjs", "import(name)"],
  ["load.cjs", "require(name)"],
];
test.each(probes)("every entry loads without a word in %s, and is the same either way", async (file, load) => {
  const path = installed.write(
    file,
    `Promise.all(${JSON.stringify(entries)}.map(async (name) => Object.keys(await ${load}).filter((key) => key !== "module.exports" && key !== "__esModule").toSorted()))
      .then((names) => console.log(JSON.stringify(names)));\n`,
  );
  const { code, stdout, stderr } = await installed.run(process.execPath, [path]);
  expect([code, stderr]).toEqual([0, ""]);
  const [shared, client, node] = await Promise.all([import("@sessiond/shared"), import("@sessiond/client"), import("@sessiond/client/node")]);
  expect(JSON.parse(stdout)).toEqual([shared, client, node].map((module) => Object.keys(module).toSorted()));
});

const strict = { target: "ES2023", module: "NodeNext", strict: true, noUncheckedIndexedAccess: true, skipLibCheck: false, noEmit: true };

test.runIf(whole)(
  "a strict TypeScript program type-checks, libraries' types included, where there are no types of tRPC and ws; a page also without Node's",
  async () => {
    // Types alone are asked for: without the package there can be none of it.
    const types = readdirSync(join(installed.folder, "node_modules/@trpc"), { recursive: true, encoding: "utf8" }).filter((path) => /\.d\.[cm]?ts$/.test(path));
    for (const path of types) writeFileSync(join(installed.folder, "node_modules/@trpc", path), "this is no TypeScript;;; export = <");
    installed.write(
      "page.mts",
      `import { Session, type Dial, type SessionState } from "@sessiond/client";
    import { emptyState, reduce, type Frame } from "@sessiond/shared";
    export const folded = (frames: Frame[]): SessionState => frames.reduce(reduce, emptyState("ses_x"));
    export const opened = (dial: Dial, token: string): Promise<Session> => Session.fromToken(token, { door: null as never, clientName: String(dial) });\n`,
    );
    const page = { compilerOptions: { ...strict, lib: ["ES2023", "DOM"], types: [], exactOptionalPropertyTypes: true }, files: ["page.mts"] };
    expect(await installed.typeErrors(page)).toBe("");

    installed.addNodeTypes();
    installed.write(
      "program.mts",
      `import { connect, isSessiondError, type DriverSeat, type Host } from "@sessiond/client/node";
    import type { VerbInput } from "@sessiond/shared";
    const host: Host = await connect({ env: process.env, timeoutMs: 1_000 });
    const session = await host.sessionForWorkdir(process.cwd(), { model: "practice" });
    const seat: DriverSeat = await session.attach({ as: "driver" });
    export const reason: "end_turn" | undefined = await seat.prompt("say hi").then(
      (turn) => (turn.stopReason === "end_turn" ? turn.stopReason : undefined),
      (error: unknown) => { if (isSessiondError(error, "turn_in_progress")) return undefined; throw error; },
    );
    const viewer = await session.attach({ as: "viewer" });
    // @ts-expect-error  a viewer has no prompt
    await viewer.prompt("say hi");
    // @ts-expect-error  a verb's input is typed
    export const wrong: VerbInput<"stop"> = { session: 1 };
    export const page: Promise<string> = host.metrics();\n`,
    );
    installed.write("program.cts", `import client = require("@sessiond/client/node");\nexport const host: Promise<client.Host> = client.connect();\n`);
    const program = { compilerOptions: { ...strict, lib: ["ES2023"], types: ["node"] }, files: ["program.mts", "program.cts"] };
    expect(await installed.typeErrors(program)).toBe("");
  },
  120_000,
);

test("the installed command says its version, starts its own daemon, runs a turn, tells its figures", async () => {
  expect(await installed.run(installed.command, ["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  const ran = await installed.run(installed.command, ["run", "--model", "practice", "--approve", "write made.txt: by the installed one then run cat made.txt"]);
  expect(ran.code, ran.stderr).toBe(0);
  expect(ran.stdout).toContain("by the installed one");
  expect(readFileSync(join(installed.workdir, "made.txt"), "utf8")).toBe("by the installed one");
  const status = await installed.run(installed.command, ["status", "--json"]);
  const { pid } = JSON.parse(status.stdout) as { pid: number };
  // The daemon beside the command, not one of this repository.
  expect(readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[1]).toBe(realpathSync(join(installed.folder, "node_modules/sessiond/dist/daemon.js")));
  const figures = await installed.run(installed.command, ["status", "--metrics"]);
  expect(figures.stdout).toMatch(/^sessiond_turns_ended_total\{stop_reason="end_turn"\} 1$/m);
}, 120_000);

const readme = readFileSync(join(root, "README.md"), "utf8");
const programs = [...readme.matchAll(/^```(js|ts)\n([^]*?)^```$/gm)]
  .map(([, language = "", text = ""]) => ({ language, text }))
  .filter(({ text }) => text.includes("@sessiond/client"));

test.each(programs.map(({ text }, index) => [index + 1, text] as const))(
  "README's program %i runs as it stands against the installed daemon",
  async (index, text) => {
    const { code, stdout, stderr } = await installed.run(process.execPath, [installed.write(`readme-${index}.mjs`, text)]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).not.toBe("");
  },
);

test("README has such programs, all of them plain JavaScript", () => {
  expect(programs.map(({ language }) => language)).toContain("js");
  expect(programs.filter(({ language }) => language !== "js")).toEqual([]);
});

test("what a bare start of the daemon loads is one bundle: model and metrics come when they are needed", () => {
  const dist = join(installed.folder, "node_modules/sessiond/dist");
  const bundle = readFileSync(join(dist, "daemon-main.js"), "utf8");
  expect([...bundle.matchAll(/^(?:let|const|var) .*require\("(\.\/[^"]+)"\)/gm)].map(([, from]) => from)).toEqual([]);
  for (const chunk of ["daemon-openai.js", "daemon-prom-client.js"])
    expect(bundle).toMatch(new RegExp(`Promise\\.resolve\\(\\)\\.then\\(.*require\\("\\./${chunk}"\\)`));
});
