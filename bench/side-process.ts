import { fork, type ChildProcess } from "node:child_process";
import { join } from "node:path";

/**
 * A process of a bench: bundled beside it, spoken to by messages. It says `ready` with what is to be known of it,
 * answers each `ask`, and is ended with the bench.
 */
export class SideProcess<Ready> {
  readonly ready: Ready;
  readonly #child: ChildProcess;
  #asked = 0;

  private constructor(child: ChildProcess, ready: Ready) {
    this.#child = child;
    this.ready = ready;
  }

  static async start<Ready>(
    dir: string,
    name: "limit-daemon" | "viewers" | "model",
    words: readonly string[] = [],
    { env = process.env, nodeWords = [] }: { env?: NodeJS.ProcessEnv; nodeWords?: readonly string[] } = {},
  ): Promise<SideProcess<Ready>> {
    const child = fork(join(dir, `${name}.mjs`), [...words], { env, execArgv: [...nodeWords], stdio: ["ignore", "inherit", "inherit", "ipc"] });
    process.once("exit", () => child.kill("SIGKILL"));
    const ready = await new Promise<Ready>((resolve, reject) => {
      child.once("message", (message) => resolve((message as { ready: Ready }).ready));
      child.once("exit", (code) => reject(new Error(`${name} ended with ${code}`)));
    });
    return new SideProcess(child, ready);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  ask<Answer>(question: object): Promise<Answer> {
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`the process ended with ${code}`));
      const heard = (message: unknown): void => {
        const { id: of, answer, error } = message as { id: number; answer: Answer; error?: string };
        if (of !== id) return;
        this.#child.off("message", heard).off("exit", ended);
        if (error === undefined) resolve(answer);
        else reject(new Error(error));
      };
      this.#child.on("message", heard).once("exit", ended);
      this.#child.send({ id, question });
    });
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await gone;
  }
}

/** The other end: says `ready`, then answers each question. */
export function serveSide<Question>(ready: object, answer: (question: Question) => Promise<unknown>): void {
  process.on("message", (message: { readonly id: number; readonly question: Question }) => {
    answer(message.question).then(
      (given) => process.send?.({ id: message.id, answer: given }),
      (error: unknown) => process.send?.({ id: message.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  });
  process.send?.({ ready });
}
