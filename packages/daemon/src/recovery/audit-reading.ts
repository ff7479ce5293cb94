import { open, type FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import { isErrno } from "../disk.ts";

/**
 * Reads the audit file and the older ones, each line once and in the order in which it was written, also
 * while a daemon writes and moves them on. Files are told apart by what they are, not by their names, which
 * change.
 */
export interface AuditLine {
  readonly text: string;
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

interface Opened {
  readonly handle: FileHandle;
  /** What it is, under whatever name: a number may be given again, but not with the same birth. */
  readonly identity: string;
  readonly name: string;
  at: number;
  line: number;
  /** The beginning of a line whose end is not there yet. */
  rest: Buffer;
}

const newline = 0x0a;
const pieceBytes = 65_536;

export class AuditReader {
  readonly #path: string;
  readonly #kept: number;
  /** Those that were begun. */
  readonly #known = new Set<string>();
  #newest: Opened | null = null;

  /** @param kept  numbers that older files may have */
  constructor(path: string, kept: number) {
    this.#path = path;
    this.#kept = kept;
  }

  /** What has come since the last time; all of it the first time. A line that has no end yet is left for the next time. */
  async *further(): AsyncGenerator<AuditLine> {
    const fresh = await this.#openNewer();
    if (this.#newest !== null) yield* linesOf(this.#newest, fresh.length > 0);
    for (const [at, file] of fresh.entries()) {
      await this.#newest?.handle.close();
      this.#newest = file;
      this.#known.add(file.identity);
      yield* linesOf(file, at < fresh.length - 1);
    }
  }

  /** The beginning of a last line, where nobody wrote its end. */
  unfinished(): AuditLine | null {
    const file = this.#newest;
    return file === null || file.rest.length === 0 ? null : { text: file.rest.toString("utf8"), file: file.name, line: file.line + 1 };
  }

  async close(): Promise<void> {
    await this.#newest?.handle.close();
    this.#newest = null;
  }

  /** Newest first, because files move to higher numbers meanwhile: one may be met twice, and none is missed. @returns oldest first */
  async #openNewer(): Promise<Opened[]> {
    const found: Opened[] = [];
    for (let number = 0; number <= this.#kept; number++) {
      const path = number === 0 ? this.#path : `${this.#path}.${number}`;
      const file = await openAt(path);
      if (file === null) continue;
      const known = this.#known.has(file.identity);
      if (!known && found.every(({ identity }) => identity !== file.identity)) found.push(file);
      else await file.handle.close();
      if (known) break;
    }
    return found.toReversed();
  }
}

/** Null where it is not there; what is no file has no lines. */
async function openAt(path: string): Promise<Opened | null> {
  try {
    const handle = await open(path, "r");
    const stat = await handle.stat({ bigint: true });
    if (stat.isFile()) return { handle, identity: `${stat.ino} ${stat.birthtimeNs}`, name: basename(path), at: 0, line: 0, rest: Buffer.alloc(0) };
    await handle.close();
    return null;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return null;
    throw error;
  }
}

/** @param ended  nothing more will come: what is left over is a line too */
async function* linesOf(file: Opened, ended: boolean): AsyncGenerator<AuditLine> {
  // Somebody has emptied it.
  if ((await file.handle.stat()).size < file.at) Object.assign(file, { at: 0, line: 0, rest: Buffer.alloc(0) });
  const piece = Buffer.allocUnsafe(pieceBytes);
  for (;;) {
    const { bytesRead } = await file.handle.read(piece, 0, pieceBytes, file.at);
    if (bytesRead === 0) break;
    file.at += bytesRead;
    let bytes = Buffer.concat([file.rest, piece.subarray(0, bytesRead)]);
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline)) {
      yield lineOf(file, bytes.subarray(0, end));
      bytes = bytes.subarray(end + 1);
    }
    file.rest = bytes;
  }
  if (!ended || file.rest.length === 0) return;
  yield lineOf(file, file.rest);
  file.rest = Buffer.alloc(0);
}

function lineOf(file: Opened, bytes: Buffer): AuditLine {
  file.line += 1;
  return { text: bytes.toString("utf8"), file: file.name, line: file.line };
}
