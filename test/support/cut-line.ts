import { mkdirSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { DaemonHome } from "./daemon-home.ts";

/** A line between clients and a home's daemon that can be cut: every connection on it is destroyed, on both sides, without a word. */
export class CutLine {
  /** For clients that come over this line. */
  readonly env: Record<string, string>;
  readonly #server: Server;
  readonly #ends = new Set<Socket>();

  private constructor(home: DaemonHome, runtime: string) {
    this.env = { ...home.env, XDG_RUNTIME_DIR: runtime };
    this.#server = createServer((near) => {
      const far = connect(home.socket);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#ends.add(from);
        from.on("error", () => undefined);
        from.once("close", () => {
          this.#ends.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
  }

  static async open(home: DaemonHome): Promise<CutLine> {
    const runtime = join(home.root, "line");
    mkdirSync(join(runtime, "sessiond"), { recursive: true, mode: 0o700 });
    const line = new CutLine(home, runtime);
    await new Promise<void>((resolve) => line.#server.listen(join(runtime, "sessiond", "sock"), resolve));
    return line;
  }

  cut(): void {
    for (const end of this.#ends) end.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
