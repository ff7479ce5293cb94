import { mkdirSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { DaemonHome } from "./daemon-home.ts";

/** A line between clients and a daemon that can be cut: every connection on it is destroyed, on both sides, without a word. */
class Line {
  protected readonly server: Server;
  readonly #ends = new Set<Socket>();

  protected constructor(dial: () => Socket) {
    this.server = createServer((near) => {
      const far = dial();
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

  cut(): void {
    for (const end of this.#ends) end.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** One to a home's unix socket. */
export class CutLine extends Line {
  /** For clients that come over this line. */
  readonly env: Record<string, string>;

  private constructor(home: DaemonHome, runtime: string) {
    super(() => connect(home.socket));
    this.env = { ...home.env, XDG_RUNTIME_DIR: runtime };
  }

  static async open(home: DaemonHome): Promise<CutLine> {
    const runtime = join(home.root, "line");
    mkdirSync(join(runtime, "sessiond"), { recursive: true, mode: 0o700 });
    const line = new CutLine(home, runtime);
    await new Promise<void>((resolve) => line.server.listen(join(runtime, "sessiond", "sock"), resolve));
    return line;
  }
}

/** One to a TCP port of this machine, which may become another while clients redial. */
export class TcpLine extends Line {
  /** Where it leads. */
  to = 0;
  /** Where it begins; the daemon must know that name. */
  port = 0;

  private constructor() {
    super(() => connect(this.to, "127.0.0.1"));
  }

  static async open(): Promise<TcpLine> {
    const line = new TcpLine();
    await new Promise<void>((resolve) => line.server.listen(0, "127.0.0.1", resolve));
    line.port = (line.server.address() as AddressInfo).port;
    return line;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }
}
