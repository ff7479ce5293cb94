/**
 * Which system calls a command in a sandbox does not get, as a program that the kernel runs before
 * each (seccomp, classic BPF), and that no process of the sandbox can take off.
 *
 * Refused is what leads past the view: the owner's keys in the kernel, families of sockets that no
 * namespace holds back, and bits on files of the workdir that would give others the owner's
 * rights. What does the same by a structure in memory, into which a filter cannot look (openat2,
 * io_uring), is said not to exist, and programs do without. Calls of other architectures, which
 * the same processor may know by other numbers, end who makes them.
 *
 * Numbers: Linux' arch/x86/entry/syscalls/syscall_64.tbl, and for arm64 include/uapi/asm-generic/unistd.h;
 * architectures: include/uapi/linux/audit.h. They never change. What comes anew (as fchmodat2, 6.6) is allowed until it stands here.
 */
type Rule =
  | { readonly is: "refused" | "unknown" }
  /** The argument that is the mode of a file, and the one with the flags that say whether it counts. */
  | { readonly is: "mode"; readonly mode: number; readonly flags?: number }
  /** The first argument is a family of sockets. */
  | { readonly is: "family" };

const refused: Rule = { is: "refused" };
const unknown: Rule = { is: "unknown" };
const family: Rule = { is: "family" };
const mode = (argument: number): Rule => ({ is: "mode", mode: argument });

/** A call, its number on x86_64 and on arm64, where it has one, and what becomes of it. */
const calls: readonly (readonly [name: string, x64: number, arm64: number | null, rule: Rule])[] = [
  ["open", 2, null, { is: "mode", mode: 2, flags: 1 }],
  ["socket", 41, 198, family],
  ["socketpair", 53, 199, family],
  ["creat", 85, null, mode(1)],
  ["chmod", 90, null, mode(1)],
  ["fchmod", 91, 52, mode(1)],
  ["mknod", 133, null, mode(1)],
  ["add_key", 248, 217, refused],
  ["request_key", 249, 218, refused],
  ["keyctl", 250, 219, refused],
  ["openat", 257, 56, { is: "mode", mode: 3, flags: 2 }],
  ["mknodat", 259, 33, mode(2)],
  ["fchmodat", 268, 53, mode(2)],
  ["io_uring_setup", 425, 425, unknown],
  ["io_uring_enter", 426, 426, unknown],
  ["io_uring_register", 427, 427, unknown],
  ["openat2", 437, 437, unknown],
  ["fchmodat2", 452, 452, mode(2)],
];

/** By Node's names. */
const architectures: ReadonlyMap<string, { readonly audit: number; readonly column: 1 | 2 }> = new Map([
  ["x64", { audit: 0xc000003e, column: 1 }],
  ["arm64", { audit: 0xc00000b7, column: 2 }],
]);

/** AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: what a network namespace holds back. Of others not all know namespaces (AF_VSOCK), or they reach keys (AF_ALG). */
const families = [1, 2, 10, 16];
/** S_ISUID, S_ISGID */
const rights = 0o6000;
/** O_CREAT, __O_TMPFILE: without them there is no mode, and the register holds anything. */
const creating = 0o20000100;
/** x86_64 knows its calls by a second row of numbers, beginning here. */
const x32 = 0x40000000;

type Step = readonly [code: number, yes: number, no: number, k: number];
const load = (at: number): Step => [0x20, 0, 0, at];
/** @param yes  steps to pass over, else `no` */
const equal = (k: number, yes: number, no: number): Step => [0x15, yes, no, k];
const atLeast = (k: number, yes: number, no: number): Step => [0x35, yes, no, k];
const anyBit = (k: number, yes: number, no: number): Step => [0x45, yes, no, k];
const answer = (action: number): Step => [0x06, 0, 0, action];
const allow = answer(0x7fff0000);
const kill = answer(0x80000000);
const fail = (errno: number): Step => answer(0x00050000 | errno);
const [eperm, enosys] = [fail(1), fail(38)];

/** Of `seccomp_data`. Both architectures are little-endian, and the kernel looks at the lower half of these arguments alone. */
const [number, architecture] = [load(0), load(4)];
const argument = (index: number): Step => load(16 + 8 * index);

/** Ends in an answer whatever the arguments are. */
function stepsOf(rule: Rule): readonly Step[] {
  switch (rule.is) {
    case "refused":
      return [eperm];
    case "unknown":
      return [enosys];
    case "family":
      return [argument(0), ...families.map((each, index) => equal(each, families.length - index, 0)), eperm, allow];
    case "mode": {
      const judged = [argument(rule.mode), anyBit(rights, 0, 1), eperm, allow];
      return rule.flags === undefined ? judged : [argument(rule.flags), anyBit(creating, 0, 3), ...judged];
    }
  }
}

/**
 * @param arch  Node's name of an architecture
 * @returns what `bwrap --seccomp` reads; null where the numbers of the calls are not known
 */
export function sandboxFilter(arch: string): Uint8Array | null {
  const known = architectures.get(arch);
  if (known === undefined) return null;
  const { audit, column } = known;
  const steps = [architecture, equal(audit, 1, 0), kill, number, atLeast(x32, 0, 1), enosys];
  for (const call of calls) {
    const [number, then] = [call[column], stepsOf(call[3])];
    if (number !== null) steps.push(equal(number, 0, then.length), ...then);
  }
  steps.push(allow);
  const program = new DataView(new ArrayBuffer(8 * steps.length));
  for (const [index, [code, yes, no, k]] of steps.entries()) {
    program.setUint16(8 * index, code, true);
    program.setUint8(8 * index + 2, yes);
    program.setUint8(8 * index + 3, no);
    program.setUint32(8 * index + 4, k, true);
  }
  return new Uint8Array(program.buffer);
}
