/**
 * The walls of the house (docs: the map in AGENTS.md): who may import whom. Each rule carries its reason
 * and a sample that breaks it, so that a rule which catches nothing any more fails too.
 */
import { readdirSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { posix, relative, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");

interface Import {
  /** A path in the repository (`packages/…`), or the specifier of something outside. */
  readonly target: string;
  readonly typeOnly: boolean;
}
interface Source {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
}
interface Rule {
  readonly sentence: string;
  readonly why: string;
  /** What is wrong with this file, if anything; `all` is there for rules about reach. */
  readonly wrong: (file: Source, all: ReadonlyMap<string, Source>) => readonly string[];
  /** Path and text of a file that breaks the rule. */
  readonly broken: readonly [path: string, text: string];
}

// --- Reading imports -------------------------------------------------------------------------

const entries: Readonly<Record<string, string>> = {
  "@sessiond/shared": "packages/shared/src/index.ts",
  "@sessiond/shared/router-type": "packages/shared/src/router-type.ts",
  "@sessiond/shared/acp": "packages/shared/src/acp/index.ts",
  "@sessiond/client": "packages/client/src/index.ts",
  "@sessiond/client/node": "packages/client/src/node/index.ts",
  "@sessiond/daemon": "packages/daemon/src/main.ts",
  "@sessiond/daemon/testing": "packages/daemon/src/testing.ts",
};
const importForms = [
  /^\s*(?:import|export)\s+(?<type>type\s)?[^"';]*?from\s*["'](?<from>[^"']+)["']/gm,
  /^\s*import\s*["'](?<from>[^"']+)["']/gm,
  /\b(?:import|require|require\.resolve)\(\s*["'](?<from>[^"']+)["']/g,
];

function read(path: string, text: string): Source {
  // Comments first (those that begin a line): they may quote imports.
  const code = text.replace(/^\s*\/\*[\s\S]*?\*\//gm, "").replace(/^\s*\/\/.*$/gm, "");
  const imports = importForms.flatMap((form) =>
    [...code.matchAll(form)].map(({ groups }): Import => {
      const from = groups?.["from"] ?? "";
      const target = from.startsWith(".")
        ? posix.join(posix.dirname(path), from)
        : (entries[from] ?? (isBuiltin(from) && !from.startsWith("node:") ? `node:${from}` : from));
      return { target, typeOnly: groups?.["type"] !== undefined };
    }),
  );
  return { path, text: code, imports };
}

function sources(dir: string): Source[] {
  return readdirSync(resolve(root, dir), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(root, resolve(entry.parentPath, entry.name)))
    .filter((path) => /^packages\/[^/]+\/src\//.test(path))
    .map((path) => read(path, readFileSync(resolve(root, path), "utf8")));
}

// --- Where a file stands ---------------------------------------------------------------------

const packageOf = (path: string) => /^packages\/([^/]+)\//.exec(path)?.[1];
const inDaemon = (path: string) => /^packages\/daemon\/src\/(.*)$/.exec(path)?.[1];

/** From the ground up. A file at the daemon's top level that is not named here is a leaf. */
const floors = ["leaf", "room", "session", "host", "gate", "verbs", "router", "transport", "main", "recovery", "entry"] as const;
type Floor = (typeof floors)[number] | "port" | "agents";
const topFloors: Readonly<Record<string, Floor>> = {
  "gate.ts": "gate",
  "throttle.ts": "gate",
  "router.ts": "router",
  "metrics.ts": "router",
  "metric-table.ts": "router",
  "lifecycle.ts": "transport",
  "main.ts": "main",
  "bin.ts": "entry",
  "testing.ts": "entry",
};
const port = ["agents/agent.ts", "agents/transcript.ts"];

function floorOf(inside: string): Floor {
  if (port.includes(inside)) return "port";
  const [first = "", rest] = inside.split("/");
  if (rest === undefined) return topFloors[first] ?? "leaf";
  return first === "agents" ? "agents" : (floors.find((floor) => floor === first) ?? "leaf");
}

const mayImport = (from: Floor, to: Floor): boolean => {
  if (to === "leaf") return true;
  if (to === "port") return from === "port" || from === "agents" || floors.indexOf(from as never) >= floors.indexOf("session");
  if (to === "agents") return from === "agents" || from === "main";
  if (from === "port" || from === "agents") return false;
  return floors.indexOf(to) <= floors.indexOf(from);
};

const groundLeaves = ["clock.ts", "ids.ts", "disk.ts"];
const strictLeaves = ["keys.ts", "audit.ts"];
const allowed: Readonly<Record<string, readonly string[]>> = {
  shared: ["shared"],
  client: ["client", "shared"],
  cli: ["cli", "client", "shared"],
  acp: ["acp", "client", "shared"],
  web: ["web", "client", "shared"],
  daemon: ["daemon", "shared"],
};
const network = ["ws", "node:http", "node:https", "node:http2", "node:net", "node:tls"];

const each = (file: Source, wrong: (target: Import) => boolean) => file.imports.filter(wrong).map((bad) => bad.target);
const within = (path: string, places: readonly string[]) =>
  places.some((place) => (place.endsWith("/") ? path.startsWith(`packages/${place}`) : path === `packages/${place}`));

/** What may be imported only in some places. */
const only = (sentence: string, why: string, what: (one: Import) => boolean, places: readonly string[], broken: Rule["broken"]): Rule => ({
  sentence,
  why,
  wrong: (file) => (within(file.path, places) ? [] : each(file, what)),
  broken,
});

// --- The rules -------------------------------------------------------------------------------

const rules: readonly Rule[] = [
  {
    sentence: "shared ← client ← cli and acp, and shared ← daemon: none of cli, acp and daemon imports another, nor the client the daemon",
    why: "the client is the only supported way in; whoever reaches around it has the daemon's powers without its gate",
    wrong: (file) => {
      const own = packageOf(file.path) ?? "";
      return each(file, ({ target }) => {
        const other = packageOf(target) ?? (target.startsWith("@sessiond/") ? target : undefined);
        return other !== undefined && !(allowed[own] ?? []).includes(other);
      });
    },
    broken: ["packages/client/src/host.ts", `import { gate } from "../../daemon/src/gate.ts";`],
  },
  {
    sentence:
      "inside the daemon: leaves ← room ← session ← host ← gate ← verbs ← router ← transport ← main; recovery/ looks at all of it and nobody but bin.ts at it",
    why: "each floor can be read, tested and replaced without those above it",
    wrong: (file) => {
      const from = inDaemon(file.path);
      if (from === undefined) return [];
      return each(file, ({ target }) => {
        const to = inDaemon(target);
        return to !== undefined && floorOf(to) !== "agents" && !mayImport(floorOf(from), floorOf(to));
      });
    },
    broken: ["packages/daemon/src/room/room.ts", `import type {\n  Session,\n} from "../session/session.ts";`],
  },
  {
    sentence:
      "what implements an agent is known to main.ts alone; the rest of the daemon sees the port agents/agent.ts, and recovery/ the children that agents leave",
    why: "an agent can be added without touching sessions, and a session cannot lean on one agent's ways; doctor finds orphans as a start does",
    wrong: (file) => {
      const from = inDaemon(file.path);
      if (from === undefined) return [];
      const may = (to: string): boolean => mayImport(floorOf(from), "agents") || (floorOf(from) === "recovery" && to === "agents/children.ts");
      return each(file, ({ target }) => floorOf(inDaemon(target) ?? "") === "agents" && !may(inDaemon(target) ?? ""));
    },
    broken: ["packages/daemon/src/session/turn.ts", `import { loop } from "../agents/openai/loop.ts";`],
  },
  {
    sentence: "keys.ts and audit.ts import nothing of the daemon but clock.ts, ids.ts and disk.ts",
    why: "what guards secrets and what records calls must be small enough to read in one sitting",
    wrong: (file) => {
      if (!strictLeaves.includes(inDaemon(file.path) ?? "")) return [];
      return each(file, ({ target }) => inDaemon(target) !== undefined && !groundLeaves.includes(inDaemon(target) ?? ""));
    },
    broken: ["packages/daemon/src/keys.ts", `import { write } from "./audit.ts";`],
  },
  only(
    "tRPC is imported only in the daemon's router.ts and transport/, in the client's link.ts, and as types in shared/router-type.ts",
    "the transport can be changed in four places, and no handler can come to depend on it",
    ({ target }) => target.startsWith("@trpc/"),
    ["daemon/src/router.ts", "daemon/src/transport/", "client/src/link.ts", "shared/src/router-type.ts"],
    ["packages/daemon/src/verbs/stop.ts", `import { TRPCError } from "@trpc/server";`],
  ),
  only(
    "ws, node:http and node:net are imported only in the daemon's transport/ and lifecycle.ts and in client/node/",
    "a second door would be a door without the checks of the first",
    ({ target }) => network.includes(target),
    ["daemon/src/transport/", "daemon/src/lifecycle.ts", "client/src/node/"],
    ["packages/daemon/src/host/host.ts", `import net from "net";`],
  ),
  only(
    "node:child_process is imported only in the daemon's agents/ and in client/node/start.ts",
    "what starts a process has to bound it, mark it and end it; that is written once",
    ({ target }) => target === "node:child_process",
    ["daemon/src/agents/", "client/src/node/start.ts"],
    ["packages/cli/src/main.ts", `const { spawn } = await import("node:child_process");`],
  ),
  {
    sentence: "shared imports zod, and tRPC as types, and nothing else",
    why: "everyone loads it, also a browser",
    wrong: (file) =>
      packageOf(file.path) === "shared"
        ? each(file, ({ target, typeOnly }) => packageOf(target) !== "shared" && target !== "zod" && !(typeOnly && target.startsWith("@trpc/")))
        : [],
    broken: ["packages/shared/src/verbs.ts", `import { initTRPC } from "@trpc/server";`],
  },
  {
    sentence: "nothing that the client's index.ts reaches imports Node",
    why: "@sessiond/client also runs in a page; what needs Node stands in @sessiond/client/node",
    wrong: (file, all) =>
      reachable("packages/client/src/index.ts", all).has(file.path) ? each(file, ({ target }) => target === "ws" || isBuiltin(target)) : [],
    broken: ["packages/client/src/index.ts", `export * from "./node/index.ts";\nimport "node:fs";`],
  },
  {
    sentence: "the daemon has no module-level state: no top-level let or var, no empty Map, Set, array or object",
    why: "two daemons run in one test process and must not meet there",
    wrong: (file) => (inDaemon(file.path) === undefined ? [] : [...file.text.matchAll(moduleState)].map(([line]) => line.trim())),
    broken: ["packages/daemon/src/host/host.ts", "export const sessions = new Map<string, () => void>();"],
  },
];

const moduleState = /^(?:export )?(?:(?:let|var) \w+|const \w+(?:: [^=]+)? = (?:new (?:Weak)?(?:Map|Set)(?:<.*>)?\(\)|\[\]|\{\})).*$/gm;

/** Paths of the files that `entry` loads, itself included; types are not loaded. */
function reachable(entry: string, all: ReadonlyMap<string, Source>): Set<string> {
  const seen = new Set([entry]);
  for (const path of seen) for (const { target, typeOnly } of all.get(path)?.imports ?? []) if (!typeOnly && all.has(target)) seen.add(target);
  return seen;
}

// --- The tests -------------------------------------------------------------------------------

const house = new Map(sources("packages").map((file) => [file.path, file]));

for (const { sentence, why, wrong, broken } of rules) {
  test(sentence, () => {
    const found = [...house.values()].flatMap((file) => wrong(file, house).map((what) => `${file.path}: ${what}`));
    expect(found, `${sentence}, because ${why}`).toEqual([]);
  });

  test(`a file that breaks it is caught: ${sentence}`, () => {
    const file = read(...broken);
    expect(wrong(file, new Map([...house, [file.path, file]]))).not.toEqual([]);
  });
}

test("imports are read in all their forms, and not from comments", () => {
  const text = `import a, {\n  b,\n} from "./a.ts";\nexport type { c } from "@sessiond/client/node";\nimport "fs";\nconst d = await import("openai");\n// import "x";\n/* import "y"; */\n`;
  expect(read("packages/cli/src/main.ts", text).imports).toEqual([
    { target: "packages/cli/src/a.ts", typeOnly: false },
    { target: "packages/client/src/node/index.ts", typeOnly: true },
    { target: "node:fs", typeOnly: false },
    { target: "openai", typeOnly: false },
  ]);
});

test("state inside functions and filled tables are no module-level state", () => {
  expect("function f() {\n  let a;\n}\nconst names = new Set([1]);\n".match(moduleState)).toBeNull();
});
