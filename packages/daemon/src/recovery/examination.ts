import type { Finding, RecoveryLine } from "@sessiond/shared";
import type { Environment } from "../config.ts";
import type { Disk } from "../disk.ts";
import type { StoreFacts } from "./store-check.ts";

/** What doctor is given, and what its parts find. */
export interface Examination {
  readonly stateDir: string;
  readonly runtimeDir: string;
  readonly configDir: string;
  readonly socket: string;
  readonly env: Environment;
  readonly disk: Disk;
  /** The daemon that runs, where one told the command about itself. */
  readonly running: { readonly pid: number; readonly bootId: string } | null;
  /** The command has waited for an answer already. */
  readonly silent: boolean;
  /** Mend what can be mended safely. */
  readonly fix: boolean;
  readonly tell: (line: RecoveryLine) => void;
}

/** A finding, and what `--fix` does about it where that is safe. */
export interface Trouble {
  readonly finding: Finding;
  readonly repair?: {
    /** Safe also while a daemon runs. */
    readonly beside: boolean;
    run(): Promise<unknown>;
  };
}

/** What is looked at once, under the lock where doctor holds it. */
export interface Situation {
  readonly examination: Examination;
  /** A daemon runs, or something that holds its lock. */
  readonly occupied: boolean;
  /** Pids that hold a lock of these directories. */
  readonly holders: readonly number[];
  readonly facts: StoreFacts;
}
