// Builds what is shipped: packages/cli/dist (three bundles side by side) and packages/{shared,client}/dist
// (modules with types, for those who write against the library). Each dist is made beside the old one and
// then takes its place, so that nobody starts a half-written file. Types are checked by `npm run check`, not here.
//
//   node scripts/build.mjs [--watch]
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, watch, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { aliases } from "./aliases.mjs";
import { markBuilt, sourceHash } from "./build-stamp.mjs";
import { written } from "./bundle-form.mjs";
import { onlyOne } from "./only-one.mjs";
import { runCommand } from "./run-command.mjs";
import { verbFacts } from "./verb-facts.mjs";

// `<name>.js` runs `<name>-main.js` by packages/cli/src/launch.ts, which keeps what V8 makes of it where `keep` holds: `doctor` and its
// like are parts of the daemon's bundle, and run little of the rest.
const bundles = [
  { name: "sessiond", entry: "packages/cli/src/main.ts", executable: true, onlyCalls: true, keep: "true" },
  // Started by `sessiond acp`, in the command's own process.
  { name: "acp", entry: "packages/acp/src/main.ts", onlyCalls: true },
  { name: "daemon", entry: "packages/daemon/src/bin.ts", executable: false, onlyCalls: false, keep: '!/^[a-z]/.test(process.argv[2] ?? "")' },
];
// An editor starts it with every window, so the command's own bundle is not loaded for it; that one has its help.
const acpAlone = '(process.argv[2] === "acp" && !process.argv.includes("--help") && !process.argv.includes("-h"))';
const launcher = { name: "launch", entry: "packages/cli/src/launch.ts", onlyCalls: false };
const libraries = ["shared", "client"]; // in this order: the client's types name the shared ones
// Native, so it cannot be bundled; the others are what `ws` asks for and does without.
const external = ["fs-native-extensions", "bufferutil", "utf-8-validate"];
const shebang = "#!/usr/bin/env node";

// In code that is kept V8 no longer knows whom to ask for `import()`: the launcher does it.
const launcherImports = { name: "launcher-imports", renderChunk: (code) => code.replace(/(?<![\w.`'"])import\(/g, "require.import(") };

/** Builds everything below `root`; throws an Error whose message is for the reader. */
export async function build(root) {
  const missing = bundles.map((bundle) => bundle.entry).filter((entry) => !existsSync(join(root, entry)));
  if (missing.length > 0) throw new Error(`build: no ${missing.join(", no ")}: the bundles have no entry to start from`);
  mkdirSync(join(root, ".tmp"), { recursive: true });
  const hash = sourceHash(root);
  await Promise.all([buildBundles(root), buildLibraries(root)]);
  markBuilt(root, hash);
}

async function buildBundles(root) {
  await replaceDir(join(root, "packages/cli/dist"), async (dir) => {
    // One run a bundle: together they would share chunks, and each is read at every cold start.
    await Promise.all([launcher, ...bundles].map((bundle) => bundleInto(root, dir, bundle)));
    // CommonJS, whose loader is a tenth of a start faster than that of modules, and whose code can be kept.
    writeFileSync(join(dir, "package.json"), '{ "type": "commonjs" }\n');
    for (const { name, executable, keep } of bundles) {
      if (keep === undefined) continue;
      const main = `"${name}-main.js"`;
      const entry = name === "sessiond" ? `${acpAlone} ? "acp-main.js" : ${main}` : main;
      const launch = `require("./launch.js").launch(__dirname, ${entry}, ${keep});\n`;
      writeFileSync(join(dir, `${name}.js`), `${executable ? `${shebang}\n` : ""}${launch}`, { mode: executable ? 0o755 : 0o644 });
    }
  });
}

async function bundleInto(root, dir, { name, entry, onlyCalls }) {
  const build = await rolldown({
    input: { [name]: join(root, entry) },
    cwd: root,
    platform: "node",
    tsconfig: false,
    external,
    resolve: { alias: aliases(root) },
    plugins: [...(onlyCalls ? [verbFacts(root)] : []), ...(name === launcher.name ? [] : [launcherImports])],
    onLog(level, log) {
      // An import that leads nowhere would only show when somebody runs that line.
      if (log.code === "UNRESOLVED_IMPORT") throw new Error(`build: ${log.message}`);
    },
  });
  try {
    await build.write({
      dir,
      format: "cjs",
      entryFileNames: name === launcher.name ? "[name].js" : "[name]-main.js",
      // No hash: a daemon that runs while its bundle is replaced still finds what it loads late.
      chunkFileNames: `${name}-[name].js`,
      ...written,
    });
  } finally {
    await build.close();
  }
}

async function buildLibraries(root) {
  for (const name of libraries) {
    const home = join(root, "packages", name);
    await replaceDir(join(home, "dist"), async (dir) => {
      const tsc = join(dirname(fileURLToPath(import.meta.resolve("typescript/package.json"))), "bin", "tsc");
      const { ok, output } = await runCommand(process.execPath, [tsc, "-p", join(home, "tsconfig.build.json"), "--outDir", dir]);
      if (!ok) throw new Error(`build: packages/${name}\n${output}`);
    });
  }
}

/** Lets `fill` write a new directory beside `dir`, then puts it in its place. */
async function replaceDir(dir, fill) {
  const fresh = `${dir}.new`;
  const old = `${dir}.old`;
  for (const path of [fresh, old]) rmSync(path, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  try {
    await fill(fresh);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    throw error;
  }
  if (existsSync(dir)) renameSync(dir, old);
  renameSync(fresh, dir);
  rmSync(old, { recursive: true, force: true });
}

async function rebuild(root) {
  const begun = performance.now();
  try {
    await onlyOne(root, () => build(root));
    console.log(`build: done in ${((performance.now() - begun) / 1000).toFixed(1)} s`);
  } catch (error) {
    console.error(error.message);
  }
}

/** Builds now and after each change; changes during a build lead to one more. */
async function watchAndBuild(root) {
  let wanted = true;
  let wake = () => {};
  for (const name of readdirSync(join(root, "packages"))) {
    const dir = join(root, "packages", name, "src");
    if (!existsSync(dir)) continue;
    watch(dir, { recursive: true }, () => {
      wanted = true;
      wake();
    });
  }
  for (;;) {
    if (!wanted) await new Promise((resume) => (wake = resume));
    await new Promise((resume) => setTimeout(resume, 100)); // an editor saves in several steps
    wanted = false;
    await rebuild(root);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = resolve(import.meta.dirname, "..");
  if (process.argv.includes("--watch")) await watchAndBuild(root);
  try {
    // `--locked`: set-up already holds the lock.
    await (process.argv.includes("--locked") ? build(root) : onlyOne(root, () => build(root)));
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
