import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * The two others, at pinned versions, by npm into a cache outside the repository. Their install scripts do not run:
 * what is measured is the native program itself, which lies in a package for this platform, not its launcher.
 */
const pinned = { "opencode-ai": "1.18.33", "@openai/codex": "0.169.0" };

export interface Installed {
  readonly binary: string;
  readonly version: string;
}

export const cacheDir = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "sessiond-bench");

/** @throws Error when npm fails, or no program for this machine is among what it brought */
export function install(tell: (line: string) => void): { readonly opencode: Installed; readonly codex: Installed } {
  const wanted = Object.entries(pinned).filter(([name, version]) => installedVersion(name) !== version);
  if (wanted.length > 0) {
    const words = wanted.map(([name, version]) => `${name}@${version}`);
    tell(`npm install ${words.join(" ")} into ${cacheDir} (some 800 MB on disk, once)`);
    mkdirSync(cacheDir, { recursive: true });
    writeFileSync(join(cacheDir, "package.json"), `${JSON.stringify({ private: true, dependencies: pinned })}\n`);
    execFileSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", cacheDir], {
      cwd: cacheDir,
      stdio: ["ignore", "ignore", "inherit"],
    });
  }
  return { opencode: program("opencode-ai", "opencode", "."), codex: program("@openai/codex", "codex", "@openai") };
}

/** The first that runs of all in packages for this machine: some are for processors that can less, or another C library. */
function program(name: keyof typeof pinned, command: string, scope: string): Installed {
  const version = pinned[name];
  const packages = readdirSync(join(cacheDir, "node_modules", scope)).filter((each) => each.startsWith(`${command}-${process.platform}-${process.arch}`));
  const files = packages.toSorted().flatMap((each) => programsIn(join(cacheDir, "node_modules", scope, each), command));
  const binary = files.find((file) => spawnSync(file, ["--version"], { encoding: "utf8", env: { HOME: cacheDir } }).stdout?.includes(version));
  if (binary === undefined) throw new Error(`no program of ${name} ${version} for ${process.platform} ${process.arch} runs in ${cacheDir}`);
  return { binary, version };
}

const programsIn = (folder: string, command: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(`/bin/${command}`) || file === `bin/${command}`)
    .map((file) => join(folder, file));

function installedVersion(name: string): string | undefined {
  const file = join(cacheDir, "node_modules", name, "package.json");
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version : undefined;
}
