import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { eventually } from "./eventually.ts";
import { isAlive, processesWith } from "./processes.ts";

/**
 * The packages as a stranger gets them: packed, and installed in an empty folder that knows nothing of this repository;
 * with a home for what is run there. `close` ends every process that was started from it.
 */
const repository = resolve(import.meta.dirname, "../..");

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Installed {
  readonly root = realpathSync(mkdtempSync(join(tmpdir(), "ssi-")));
  readonly tarballs = join(this.root, "tarballs");
  /** Where `npm install` was run. */
  readonly folder = join(this.root, "consumer");
  readonly workdir = join(this.root, "project");
  readonly command = join(this.folder, "node_modules/.bin/sessiond");
  readonly env: Record<string, string> = {
    HOME: join(this.root, "home"),
    XDG_STATE_HOME: join(this.root, "state"),
    XDG_RUNTIME_DIR: join(this.root, "run"),
    XDG_CONFIG_HOME: join(this.root, "config"),
    PATH: process.env["PATH"] ?? "/usr/bin:/bin",
  };

  constructor() {
    for (const dir of [this.tarballs, this.folder, this.workdir, this.env["HOME"], this.env["XDG_RUNTIME_DIR"]]) mkdirSync(dir ?? "", { mode: 0o700 });
    this.write("package.json", '{"name":"consumer","version":"1.0.0","private":true}\n');
  }

  write(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  /** Pack the packages of that folder, then install all of them. Peers are left out: nothing that is run needs one. */
  async install(packages: readonly string[]): Promise<void> {
    await this.#npm("pack", "--pack-destination", this.tarballs, ...packages.map((name) => join(repository, "packages", name)));
    const files = readdirSync(this.tarballs).map((file) => join(this.tarballs, file));
    await this.#npm("install", "--prefer-offline", "--no-audit", "--no-fund", "--omit=peer", "--loglevel=error", ...files);
  }

  /** Types of Node, as whoever writes for Node has them. */
  addNodeTypes(): void {
    for (const name of ["@types/node", "undici-types"])
      cpSync(join(repository, "node_modules", name), join(this.folder, "node_modules", name), { recursive: true });
  }

  /** @returns what the compiler complains of */
  async typeErrors(config: object): Promise<string> {
    const tsc = join(repository, "node_modules/typescript/bin/tsc");
    const { stdout } = await this.run(process.execPath, [tsc, "-p", this.write("tsconfig.json", JSON.stringify(config))], this.folder);
    return stdout;
  }

  run(file: string, args: readonly string[], cwd = this.workdir, env: NodeJS.ProcessEnv = this.env): Promise<Ended> {
    return new Promise((done) => {
      const child = execFile(file, args, { cwd, env, timeout: 60_000 }, (error, stdout, stderr) =>
        done({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
      );
      child.stdin?.end();
    });
  }

  /** Files of an installed package, by path within it, and all their bytes. */
  contents(name: string): { files: string[]; bytes: number } {
    const dir = join(this.folder, "node_modules", name);
    const files = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((path) => statSync(join(dir, path)).isFile());
    return { files: files.toSorted(), bytes: files.reduce((sum, path) => sum + statSync(join(dir, path)).size, 0) };
  }

  async close(): Promise<void> {
    const processes = () => processesWith(`XDG_STATE_HOME=${this.env["XDG_STATE_HOME"]}`).map(({ pid }) => pid);
    for (const pid of processes()) if (isAlive(pid)) process.kill(pid, "SIGKILL");
    await eventually("every process of the installation is gone", () => processes().length === 0);
    rmSync(this.root, { recursive: true, force: true });
  }

  /** With this account's cache, and without what an npm around this test tells its children. */
  async #npm(...args: string[]): Promise<void> {
    const own = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) || /^npm_config_(cache|registry|userconfig|.*proxy|cafile)$/i.test(name));
    const { code, stdout, stderr } = await this.run("npm", args, this.folder, { ...Object.fromEntries(own), npm_config_update_notifier: "false" });
    if (code !== 0) throw new Error(`npm ${args[0]} failed:\n${stdout}${stderr}`);
  }
}
