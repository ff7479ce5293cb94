/**
 * What `sessiond verify` and `sessiond doctor` find out, and `sessiond audit` reads. An entry of the daemon's bundle tells it to
 * the command, one line of JSON a `RecoveryLine`; the command shows it.
 */
export type FindingKind =
  // A journal.
  | "journal_missing"
  | "segment_missing"
  | "head_torn"
  | "head_malformed"
  | "line_torn"
  | "line_malformed"
  | "frame_invalid"
  | "seq_hole"
  | "epoch_wrong"
  | "snapshot_unusable"
  | "snapshot_differs"
  | "unreadable"
  // The files beside it, and the registry.
  | "session_file"
  | "registry"
  | "rules_file"
  | "keys_file"
  | "entry_differs"
  | "entry_without_folder"
  | "folder_without_entry"
  | "set_aside"
  | "leftover"
  // The daemon and where it lives.
  | "daemon_silent"
  | "daemon_version"
  | "daemon_problem"
  | "lock"
  | "socket"
  | "orphans"
  | "place"
  | "disk"
  | "setup"
  | "model"
  | "agent";

export interface Finding {
  readonly kind: FindingKind;
  /** `note`: worth knowing, and nothing that anybody has to do; it does not count. */
  readonly weight: "wrong" | "note";
  readonly what: string;
  readonly mend: string;
  /** What the daemon's next start will do about it, where it will do something. */
  readonly next_start?: string;
  readonly session_id?: string;
  readonly path?: string;
  /** From 1. */
  readonly line?: number;
  /** In bytes, from 0: where that line begins. */
  readonly offset?: number;
  /** `can`: `doctor --fix` mends it; `after_down`: when no daemon runs; `done`: it has; `failed`: it tried. */
  readonly fix?: "can" | "after_down" | "done" | "failed";
}

export interface VerifiedSession {
  readonly session_id: string;
  readonly workdir: string | null;
  readonly whole: boolean;
  readonly frames: number;
  readonly segments: number;
  readonly bytes: number;
  /** Seq up to which frames were merged and dropped, as compaction does; 0 when none were. */
  readonly compacted_through: number;
  readonly findings: readonly Finding[];
}

export type RecoveryLine =
  | { readonly type: "progress"; readonly what: string; readonly done: number; readonly of: number }
  | { readonly type: "session"; readonly session: VerifiedSession }
  | { readonly type: "finding"; readonly finding: Finding }
  | { readonly type: "fact"; readonly name: string; readonly value: string }
  /** A line of the audit file, as it stands there. */
  | { readonly type: "audit"; readonly entry: string }
  /** A line that is none, or has no end. @property line  from 1 */
  | { readonly type: "torn"; readonly file: string; readonly line: number }
  /** What was asked for cannot be done as it was asked. */
  | { readonly type: "refused"; readonly reason: string }
  | { readonly type: "end" };
