import { exitCodes } from "./exit-codes.ts";
import { leave } from "./leaving.ts";

/** A Ctrl-C is the command's to act on while it has something to interrupt; every other one leaves at once. */
const hurriedMs = 300;

/**
 * @param interrupt  acts, and says whether there was anything to act on
 * @returns          what ends this
 */
export function onInterrupt(interrupt: () => boolean, code: number = exitCodes.interrupted): () => void {
  const listener = (): void => {
    if (!interrupt()) void leave(code, hurriedMs);
  };
  process.on("SIGINT", listener);
  return () => void process.off("SIGINT", listener);
}

/** A terminal that closes, a supervisor that ends us: the session works on. */
export function onGoodbye(): void {
  process.on("SIGTERM", () => void leave(143, hurriedMs));
  process.on("SIGHUP", () => void leave(129, hurriedMs));
}
