import { basename, dirname } from "node:path";
import type { Chance } from "../support/chance.ts";

/**
 * What is on the simulated disk: as processes see it, and as a loss of power would leave it. Data of a
 * file is safe from its sync on, a name from the sync of its directory on; of the rest a beginning may
 * survive, the last piece torn. Names of one directory change in order, as journalling file systems do.
 */
export class Inode {
  bytes: Buffer = Buffer.alloc(0);
  /** What a sync has covered. */
  synced: Buffer = Buffer.alloc(0);
  /** Since the last sync. */
  readonly dirty: Change[] = [];
  /** Counts what may have changed bytes that were there. */
  rewrites = 0;

  write(position: number, bytes: Buffer): void {
    if (position < this.bytes.length) this.rewrites += 1;
    this.#change({ position, bytes });
  }

  truncate(length: number): void {
    this.rewrites += 1;
    this.#change({ length });
  }

  sync(): void {
    this.synced = this.bytes;
    this.dirty.length = 0;
  }

  /** What a loss of power leaves. */
  lose(chance: Chance): void {
    const survive = Math.floor(chance.upTo(this.dirty.length + 1));
    let bytes = this.synced;
    for (const change of this.dirty.slice(0, survive)) bytes = changed(bytes, change);
    const torn = this.dirty[survive];
    if (torn !== undefined && "bytes" in torn) {
      const part = torn.bytes.subarray(0, Math.floor(chance.upTo(torn.bytes.length)));
      bytes = changed(bytes, { position: torn.position, bytes: part });
      // The size may be on disk before the data is.
      if (chance.upTo(4) < 1) bytes = changed(bytes, { length: torn.position + torn.bytes.length });
    }
    this.bytes = this.synced = bytes;
    this.rewrites += 1;
    this.dirty.length = 0;
  }

  #change(change: Change): void {
    this.dirty.push(change);
    this.bytes = changed(this.bytes, change);
  }
}

type Change = { readonly position: number; readonly bytes: Buffer } | { readonly length: number };

function changed(before: Buffer, change: Change): Buffer {
  if ("length" in change)
    return change.length <= before.length ? before.subarray(0, change.length) : Buffer.concat([before, Buffer.alloc(change.length - before.length)]);
  const { position, bytes } = change;
  const after = Buffer.alloc(Math.max(before.length, position + bytes.length));
  before.copy(after);
  bytes.copy(after, position);
  return after;
}

export class Directory {
  readonly names = new Map<string, Inode | Directory>();
  durable = new Map<string, Inode | Directory>();
  /** Changes of names since the last sync, in order; each happens as a whole. */
  readonly pending: (readonly [string, Inode | Directory | null][])[] = [];

  change(changes: readonly [string, Inode | Directory | null][]): void {
    apply(this.names, changes);
    this.pending.push(changes);
  }

  sync(): void {
    for (const changes of this.pending.splice(0)) apply(this.durable, changes);
  }

  lose(chance: Chance): void {
    const survive = Math.floor(chance.upTo(this.pending.length + 1));
    for (const changes of this.pending.splice(0).slice(0, survive)) apply(this.durable, changes);
    this.names.clear();
    for (const [name, node] of this.durable) this.names.set(name, node);
    for (const node of this.names.values()) node.lose(chance);
  }
}

function apply(names: Map<string, Inode | Directory>, changes: readonly [string, Inode | Directory | null][]): void {
  for (const [name, node] of changes) {
    if (node === null) names.delete(name);
    else names.set(name, node);
  }
}

export const errno = (code: string, what: string): Error => Object.assign(new Error(`${code}: simulated, ${what}`), { code });

export class Platter {
  readonly root = new Directory();

  find(path: string): Inode | Directory | undefined {
    let node: Inode | Directory | undefined = this.root;
    for (const name of path.split("/").filter((part) => part !== "")) node = node instanceof Directory ? node.names.get(name) : undefined;
    return node;
  }

  file(path: string): Inode | undefined {
    const node = this.find(path);
    return node instanceof Inode ? node : undefined;
  }

  directory(path: string): Directory {
    const node = this.find(path);
    if (!(node instanceof Directory)) throw errno("ENOENT", path);
    return node;
  }

  /** @returns false when it is there already */
  make(path: string): boolean {
    if (path === "/" || this.find(path) instanceof Directory) return false;
    this.make(dirname(path));
    this.directory(dirname(path)).change([[basename(path), new Directory()]]);
    return true;
  }

  /** Opens a file to be written, and makes it. */
  create(path: string): Inode {
    const there = this.file(path);
    if (there !== undefined) return there;
    const inode = new Inode();
    this.directory(dirname(path)).change([[basename(path), inode]]);
    return inode;
  }

  rename(from: string, to: string): void {
    const node = this.find(from);
    if (node === undefined || dirname(from) !== dirname(to)) throw errno("ENOENT", from);
    this.directory(dirname(from)).change([
      [basename(from), null],
      [basename(to), node],
    ]);
  }

  /** With all that is in it. @param share  how much of a directory is gone: less than 1 leaves the rest of it */
  remove(path: string, share = 1): void {
    const node = this.find(path);
    if (node === undefined) return;
    if (node instanceof Directory) {
      const names = [...node.names.keys()];
      for (const name of names.slice(0, Math.ceil(names.length * share))) this.remove(`${path}/${name}`);
      if (share < 1) return;
    }
    this.directory(dirname(path)).change([[basename(path), null]]);
  }

  /** What a loss of power would leave under this name. */
  durableFile(path: string): Inode | undefined {
    let node: Inode | Directory | undefined = this.root;
    for (const name of path.split("/").filter((part) => part !== "")) node = node instanceof Directory ? node.durable.get(name) : undefined;
    return node instanceof Inode ? node : undefined;
  }

  /** The power goes and comes back. */
  losePower(chance: Chance): void {
    this.root.lose(chance);
  }
}
