// How large the house is, and how light its daemon: files, lines, packages installed for its users,
// cold start and resident memory of an idle daemon, each beside the bare Node it cannot go below.
//
//   node bench/size.mjs [--json]
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const root = resolve(import.meta.dirname, "..");
const rounds = 7;

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;

function lines() {
  const files = execFileSync("git", ["ls-files", "packages/*/src/*.ts"], { cwd: root, encoding: "utf8" })
    .split("\n")
    .filter((path) => path.endsWith(".ts"));
  const counted = files.map((path) => ({ path, lines: readFileSync(join(root, path), "utf8").split("\n").length - 1 })).sort((a, b) => b.lines - a.lines);
  return {
    files: counted.length,
    total: counted.reduce((sum, file) => sum + file.lines, 0),
    median: median(counted.map((file) => file.lines)),
    largest: counted.slice(0, 3).map((file) => `${file.path} ${file.lines}`),
  };
}

/** What `npm install sessiond` brings: the bundles' externals and what those need. */
function packagesOfUsers() {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const seen = new Set();
  const visit = (name) => {
    if (seen.has(name)) return;
    seen.add(name);
    for (const next of Object.keys(lock[`node_modules/${name}`]?.dependencies ?? {})) visit(next);
  };
  for (const name of Object.keys(JSON.parse(readFileSync(join(root, "packages/cli/package.json"), "utf8")).dependencies)) visit(name);
  return seen.size;
}

async function bareNode() {
  const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 400)"]);
  await new Promise((done) => child.once("spawn", done));
  await sleep(300);
  const rss = rssOf(child.pid);
  child.kill("SIGKILL");
  await new Promise((done) => child.once("exit", done));
  const start = performance.now();
  await new Promise((done) => spawn(process.execPath, ["-e", "0"]).once("exit", done));
  return { rss, ms: performance.now() - start };
}

const rssOf = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;

const dials = (path) =>
  new Promise((done) => {
    const socket = createConnection(path, () => done(socket.destroy() && true));
    socket.once("error", () => done(false));
  });

async function daemon(home) {
  const env = { HOME: home, XDG_RUNTIME_DIR: home, XDG_STATE_HOME: join(home, "s"), XDG_CONFIG_HOME: join(home, "c"), PATH: process.env.PATH };
  const since = performance.now();
  const child = spawn(process.execPath, [join(root, "packages/cli/dist/daemon.js")], { env, stdio: "ignore" });
  while (!(await dials(join(home, "sessiond/sock")))) await sleep(2);
  const ms = performance.now() - since;
  await sleep(500);
  const rss = rssOf(child.pid);
  child.kill("SIGTERM");
  await new Promise((done) => child.once("exit", done));
  return { ms, rss };
}

const home = mkdtempSync(join(tmpdir(), "ssd-size-"));
try {
  const bare = [];
  const own = [];
  // Interleaved: what else the machine does weighs on both alike.
  for (let round = 0; round < rounds; round++) {
    bare.push(await bareNode());
    own.push(await daemon(home));
  }
  const bundles = readdirSync(join(root, "packages/cli/dist")).map(
    (name) => `${name} ${Math.round(statSync(join(root, "packages/cli/dist", name)).size / 1024)} kB`,
  );
  const figures = {
    source: lines(),
    packages_for_users: packagesOfUsers(),
    bundles,
    cold_start_ms: Math.round(median(own.map((run) => run.ms))),
    bare_node_ms: Math.round(median(bare.map((run) => run.ms))),
    rss_idle_mb: Math.round(median(own.map((run) => run.rss))),
    bare_node_rss_mb: Math.round(median(bare.map((run) => run.rss))),
  };
  if (process.argv.includes("--json")) console.log(JSON.stringify(figures));
  else {
    console.log(
      `source      ${figures.source.files} files, ${figures.source.total} lines, median ${figures.source.median}; largest ${figures.source.largest.join(", ")}`,
    );
    console.log(`installs    ${figures.packages_for_users} packages; bundles ${bundles.join(", ")}`);
    console.log(
      `cold start  ${figures.cold_start_ms} ms to the first connection, bare node ${figures.bare_node_ms} ms: ratio ${(figures.cold_start_ms / figures.bare_node_ms).toFixed(2)}`,
    );
    console.log(
      `RSS idle    ${figures.rss_idle_mb} MB, bare node ${figures.bare_node_rss_mb} MB: ratio ${(figures.rss_idle_mb / figures.bare_node_rss_mb).toFixed(2)}`,
    );
  }
} finally {
  rmSync(home, { recursive: true, force: true });
}
