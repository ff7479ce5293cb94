// Completes package-lock.json after an `npm install` against a registry that carries packages for one platform only.
// There npm leaves the optional bindings for other platforms out of the lock; `npm ci` then refuses it everywhere,
// and on another platform it would install no binding at all. What is added here has a version and no checksum;
// an `npm install` against the full registry fills that in.
//
//   node scripts/lock-platforms.mjs [--check]
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";

const path = resolve(import.meta.dirname, "..", "package-lock.json");
const lock = JSON.parse(readFileSync(path, "utf8"));
const systems = ["aix", "android", "darwin", "freebsd", "linux", "openharmony", "win32"];
const processors = {
  arm: "arm",
  "arm-eabi": "arm",
  arm64: "arm64",
  ia32: "ia32",
  loong64: "loong64",
  ppc64: "ppc64",
  riscv64: "riscv64",
  s390x: "s390x",
  wasm32: "wasm32",
  x64: "x64",
};

/** Bindings carry their platform in their name: `@oxlint/binding-linux-x64-gnu`, `@typescript/typescript-darwin-arm64`. */
function platformOf(name) {
  const words = name.split(/[-/]/);
  const os = systems.find((system) => words.includes(system));
  const cpu = Object.keys(processors).find((processor) => words.includes(processor));
  const libc =
    os !== "linux" ? undefined : words.some((word) => word.startsWith("musl")) ? "musl" : words.some((word) => word.startsWith("gnu")) ? "glibc" : undefined;
  return { ...(cpu && { cpu: [processors[cpu]] }), ...(libc && { libc: [libc] }), ...(os && { os: [os] }) };
}

const added = [];
for (const [home, parent] of Object.entries({ ...lock.packages })) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const [top, own] = [`node_modules/${name}`, `${home}/node_modules/${name}`];
    const shared = lock.packages[top];
    // Two versions of one package: the second one's bindings stand below it.
    const isMet = lock.packages[own] !== undefined || (shared !== undefined && (shared.version === version || /^[~^]/.test(version)));
    if (isMet) continue;
    const key = shared === undefined ? top : own;
    const { cpu, libc, os } = name === "fsevents" ? { os: ["darwin"] } : platformOf(name);
    if (cpu === undefined && os === undefined) throw new Error(`lock-platforms: which platform is ${name} for?`);
    // A range has a lowest version, which is one that exists.
    const exact = version.replace(/^[~^]/, "");
    lock.packages[key] = { version: exact, ...(cpu && { cpu }), ...(parent.dev && { dev: true }), ...(libc && { libc }), optional: true, ...(os && { os }) };
    added.push(name);
  }
}

const missing = `${added.length} bindings for other platforms`;
if (added.length === 0) console.log("package-lock.json knows all platforms");
else if (process.argv.includes("--check")) {
  console.log(`package-lock.json lacks ${missing} (${added[0]}, …): run node scripts/lock-platforms.mjs`);
  process.exit(1);
} else {
  const root = lock.packages[""];
  const sorted = Object.fromEntries(
    Object.entries(lock.packages)
      .filter(([key]) => key !== "")
      .sort(([a], [b]) => a.localeCompare(b, "en")),
  );
  writeFileSync(path, `${JSON.stringify({ ...lock, packages: { "": root, ...sorted } }, null, 2)}\n`);
  console.log(`package-lock.json: added ${missing}`);
}
