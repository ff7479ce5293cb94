import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { basename, dirname, join } from "node:path";
import { afterAll, afterEach, expect, test as anywhere, vi } from "vitest";
import { HeldDirectory } from "../../packages/daemon/src/agents/openai/held-directory.ts";
import { SandboxMaker } from "../../packages/daemon/src/agents/openai/sandbox.ts";
import { sandboxFilter } from "../../packages/daemon/src/agents/openai/sandbox-filter.ts";
import { systemProgramDirs } from "../../packages/daemon/src/system-program.ts";
import { AgentDriver } from "../support/agent-driver.ts";
import { whole } from "../support/amount.ts";
import { bubblewrapWorks, connectsTo, freshDir, inside, tries } from "../support/sandboxed.ts";

/** What a command can do in a sandbox, tried from inside, under the bubblewrap of this machine. */
// Where much else runs, a process takes its time.
vi.setConfig({ testTimeout: 240_000 });
const test = anywhere.skipIf(!bubblewrapWorks);
const servers: Server[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

async function listening(at: string | number): Promise<Server> {
  const server = createServer((socket) => socket.on("error", () => undefined).end("HERE"));
  servers.push(server);
  await new Promise<void>((resolve) => (typeof at === "string" ? server.listen(at, resolve) : server.listen(at, "127.0.0.1", resolve)));
  return server;
}

/** A daemon's directories with a key, a socket and a configuration in them, beside a directory to work in, in a home. */
function house(workdir = "home/project") {
  const root = freshDir();
  const at = (path: string): string => join(root, path);
  for (const dir of ["home/.ssh", "home/project", "home/state/sessions", "home/config", "run"]) mkdirSync(at(dir), { recursive: true });
  writeFileSync(at("home/.ssh/id_ed25519"), "THE-SECRET");
  writeFileSync(at("home/state/host-key"), "THE-SECRET");
  writeFileSync(at("home/config/config.toml"), "THE-SECRET");
  writeFileSync(at("outside"), "THE-SECRET");
  const forbiddenDirs = [at("home/state"), at("run"), at("home/config")];
  const childEnv = { PATH: process.env["PATH"] ?? "", HOME: at("home") };
  return { at, home: at("home"), workdir: at(workdir), forbiddenDirs, childEnv };
}

// --- The file system --------------------------------------------------------------------------------------

test("B46 in a sandbox a command writes in its workdir, where it stays, and nowhere else", async () => {
  const place = house();
  const outside = place.at("outside");
  const name = `sandbox-test-${process.pid}`;
  const targets = [
    ...["/usr", "/etc", "", "/bin", "/opt", "/var", "/tmp", "/var/tmp", "/proc", place.home, place.at(".")].map((dir) => `${dir}/${name}`),
    outside,
  ];
  const script = targets.map((path) => `(echo no > ${path}) 2>/dev/null`).join("; ");
  await inside(`echo yes > kept; mkdir -p deep/er; echo yes > deep/er/kept; ${script}`, place);
  expect(readFileSync(join(place.workdir, "kept"), "utf8") + readFileSync(join(place.workdir, "deep/er/kept"), "utf8")).toBe("yes\nyes\n");
  expect(statSync(join(place.workdir, "kept")).uid).toBe(process.getuid?.());
  expect(readFileSync(outside, "utf8")).toBe("THE-SECRET");
  const there = targets.filter((path) => existsSync(path));
  for (const path of there) rmSync(path);
  expect(there).toEqual([outside]);
  expect(readdirSync(place.home).toSorted()).toEqual([".ssh", "config", "project", "state"]);
});

test("B46 nothing of the home is there but the workdir and programs on the PATH, and what is written there vanishes", async () => {
  const place = house();
  mkdirSync(place.at("home/.tool/bin"), { recursive: true });
  writeFileSync(place.at("home/.tool/bin/mytool"), "#!/bin/sh\necho a tool of the home\n");
  writeFileSync(place.at("home/.tool/credentials"), "THE-SECRET");
  chmodSync(place.at("home/.tool/bin/mytool"), 0o755);
  const env = { ...place.childEnv, PATH: `${place.at("home/.tool/bin")}:${place.childEnv.PATH}` };
  const { output } = await inside("find ~ | sort; mytool; touch ~/cache && echo written; (echo x > ~/.tool/bin/mytool) 2>&1", { ...place, childEnv: env });
  const seen = ["", "/.tool", "/.tool/bin", "/.tool/bin/mytool", "/project"].map((path) => place.home + path);
  expect(output.split("\n").slice(0, 7)).toEqual([...seen, "a tool of the home", "written"]);
  expect(output).toMatch(/Read-only file system$/);
  expect(existsSync(place.at("home/cache"))).toBe(false);
});

test("B46 a program directory that was replaced by a link to something else shows nothing of that", async () => {
  const place = house();
  mkdirSync(place.at("elsewhere/venv"), { recursive: true });
  for (const name of ["bin", "lib"]) symlinkSync(place.at("home/.ssh"), place.at(`elsewhere/venv/${name}`));
  const env = { ...place.childEnv, PATH: `${place.at("elsewhere/venv/bin")}:${place.childEnv.PATH}` };
  expect((await inside(`ls -R ${place.at("elsewhere")}; find ~ /tmp -name id_ed25519`, { ...place, childEnv: env })).output).toMatch(
    /No such file or directory$/,
  );
});

test("B46 /tmp and /run are a command's own: files and sockets of others are not there", async () => {
  const root = freshDir();
  await listening(join(root, "sock"));
  const { output } = await inside(`ls -A /tmp /var/tmp; ls /run /home /root/.ssh /sys /mnt /srv 2>/dev/null; ${connectsTo.unix(join(root, "sock"))}`, {
    workdir: freshDir(),
    sandbox: "network",
    childEnv: { PATH: "/usr/bin:/bin", HOME: "/nowhere/home" },
  });
  expect(output).toMatch(/^\/tmp:\nsessiond-agent-\w+\n\n\/var\/tmp:\nno: No such file or directory$/);
});

const allWays: Readonly<Record<string, (dir: string, workdir: string) => string>> = {
  "by its name": (dir) => dir,
  "by dots": (dir) => `../../home/../home/${dir.split("/").at(-1)}`,
  "through a link in the workdir": (dir, workdir) => (symlinkSync(dir, join(workdir, `to-${basename(dir)}`)), `to-${basename(dir)}`),
  "through the root of another process": (dir) => `/proc/${process.pid}/root${dir}`,
  "through the root of its first process": (dir) => `/proc/1/root${dir}`,
  "through the working directory of its first process": (dir) => `/proc/1/cwd/..${dir}`,
};
const ways = Object.fromEntries(Object.entries(allWays).filter((_, index) => whole || index % 2 === 0));

for (const sandbox of whole ? (["no_network", "network"] as const) : (["network"] as const))
  test(`B46 with sandbox ${sandbox} the daemon's key, state, socket and configuration are reached in none of ${Object.keys(ways).length} ways`, async () => {
    for (const [way, path] of Object.entries(ways)) {
      const place = house();
      await listening(place.at("run/sock"));
      const files = ["home/state/host-key", "home/config/config.toml"];
      const socket = join(path(place.at("run"), place.workdir), "sock");
      const tried = files.map((file) => {
        const dir = path(dirname(place.at(file)), place.workdir);
        const to = `${dir}/${basename(file)}`;
        return `cat ${to}; ls ${dir}; ln ${to} mine; cp ${to} mine; (echo x > ${to})`;
      });
      const { output } = await inside(`${tried.join("; ")}; ${connectsTo.unix(socket)}`, { ...place, sandbox });
      expect(output, way).toMatch(/no: [\w ]+$/);
      expect(output, way).not.toContain("THE-SECRET");
      for (const file of files) expect(readFileSync(place.at(file), "utf8"), way).toBe("THE-SECRET");
      expect(existsSync(join(place.workdir, "mine")), way).toBe(false);
    }
  });

test("B46 a workdir that holds the daemon's directories and the home shows them empty, and they cannot be put elsewhere", async () => {
  const place = house(".");
  const { output } = await inside(
    "find . -type f | sort; ls -A home/state run home/config; for dir in home run home/state; do mv $dir stolen 2>/dev/null && echo moved $dir; rmdir $dir 2>/dev/null && echo removed $dir; done; (echo x > home/state/host-key) && cat home/state/host-key",
    { ...place, home: place.at("elsewhere") },
  );
  expect(output.split("\n")).toEqual(["./home/.ssh/id_ed25519", "./outside", "home/config:", "", "home/state:", "", "run:", "x"]);
  expect(readFileSync(place.at("home/state/host-key"), "utf8")).toBe("THE-SECRET");
  const hidden = await inside("find home; cat home/.ssh/id_ed25519", place);
  expect(hidden.output).not.toMatch(/THE-SECRET|id_ed25519$/m);
});

test("B46 a configuration that is not there yet cannot be made by a command in a workdir that would hold it", async () => {
  const place = house(".");
  const later = place.at("home/later/sessiond");
  await inside("mkdir -p home/later/sessiond; echo x > home/later/sessiond/config.toml; mv home/later home/away", {
    ...place,
    forbiddenDirs: [later],
    home: place.at("elsewhere"),
  });
  expect(readdirSync(later)).toEqual([]);
});

test("B46 a program directory that holds the daemon's shows it empty, and a workdir in it is not worked in", async () => {
  const place = house();
  const bin = place.at("opt/bin");
  mkdirSync(join(bin, "state"), { recursive: true });
  writeFileSync(join(bin, "state/host-key"), "THE-SECRET");
  const options = { ...place, forbiddenDirs: [join(bin, "state")], childEnv: { ...place.childEnv, PATH: `${bin}:${place.childEnv.PATH}` } };
  expect(await inside(`ls ${bin} ${bin}/state`, options)).toMatchObject({ ok: true, output: `${bin}:\nstate\n\n${bin}/state:` });
  const refused = await inside("echo run > run", { ...options, workdir: join(bin, "state") });
  expect(refused).toMatchObject({ ok: false, end: expect.stringContaining("belongs to sessiond itself") });
  expect(readdirSync(join(bin, "state"))).toEqual(["host-key"]);
  expect((await inside("true", { ...options, workdir: "/" })).end).toContain("root of the file system");
});

test("B46 a key of the daemon's that lies elsewhere is read neither in a sandbox nor by a file tool, nor moved or linked, wherever it lies", async () => {
  const place = house();
  const keys = ["opt/bin/tls.pem", "home/project/plain.pem", "home/project/deep/er/model.key"];
  for (const dir of ["opt/bin", "home/project/deep/er"]) mkdirSync(place.at(dir), { recursive: true });
  for (const key of keys) writeFileSync(place.at(key), "THE-SECRET");
  symlinkSync(place.at("opt/bin/tls.pem"), join(place.workdir, "to.pem"));
  // As a configuration may name it.
  symlinkSync(place.at("home/project/deep/er/model.key"), place.at("named.key"));
  const secretFiles = [place.at("opt/bin/tls.pem"), place.at("home/project/plain.pem"), place.at("named.key"), place.at("never/there.key")];
  const options = { ...place, secretFiles, childEnv: { ...place.childEnv, PATH: `${place.at("opt/bin")}:${place.childEnv.PATH}` } };
  const driver = new AgentDriver({ ...options, sandbox: "no_network" });
  const read = ["plain.pem", "deep/er/model.key", "to.pem"].flatMap((path) => [`read ${path}`, `write ${path}: x`, `edit ${path}: THE-SECRET => x`]);
  const turn = driver.prompt(`${read.join(" then ")} then search SECRET`);
  await turn.ended;
  await driver.agent.close();
  expect(
    turn.results.map(({ status, result }) => `${status}: ${result}`).filter((said) => !/^failed: .*(belongs to sessiond itself|lies outside)/.test(said)),
  ).toEqual([expect.stringMatching(/^completed: No match in \d files\.$/)]);
  const seen = ["plain.pem", "deep/er/model.key", "to.pem", place.at("opt/bin/tls.pem")];
  const tried = seen.map((path) => `cat ${path}; cp ${path} mine; ln -L ${path} mine; mv ${path} mine; (echo x > ${path}); rm -f ${path}`);
  const { output } = await inside(`ls ${place.at("opt/bin")}; ${tried.join("; ")}; mv deep stolen; mv deep/er stolen; cat stolen/er/model.key mine`, options);
  expect(output).toMatch(/^tls\.pem\n/);
  expect(output).not.toContain("THE-SECRET");
  for (const key of keys) expect(readFileSync(place.at(key), "utf8"), key).toBe("THE-SECRET");
  expect(existsSync(join(place.workdir, "mine")) && readFileSync(join(place.workdir, "mine"), "utf8")).not.toBe("THE-SECRET");
  expect(existsSync(place.at("never"))).toBe(false);
});

// --- Processes ------------------------------------------------------------------------------------------------

test("B46 a command sees, signals and traces no process but its own, and bubblewrap has no environment and no words that tell one", async () => {
  const driver = new AgentDriver({ workdir: freshDir(), sandbox: "no_network", given: { VIRTUAL_ENV: "THE-GIVEN-VALUE", NOTE: "two\nlines" } });
  const seen = `ls /proc | grep -c '^[0-9]'; kill -0 ${process.pid} 2>/dev/null; echo $?; cat /proc/1/environ | wc -c; cat /proc/${process.pid}/environ; strace -p ${process.pid}; env`;
  const turn = driver.prompt(`run ${seen}; echo ready; while [ ! -e go ]; do sleep 0.02; done`);
  await turn.until((all) => all.text("tool_call_chunk").includes("ready"));
  const output = turn.text("tool_call_chunk");
  // Its own: bubblewrap's, the shell, those that list.
  expect(Number(output.split("\n")[0])).toBeLessThanOrEqual(5);
  expect(output).toMatch(/^\d\n1\n0\n/);
  expect(output).toMatch(/PTRACE\w+, \d+\): No such process/);
  expect(output).toMatch(/^VIRTUAL_ENV=THE-GIVEN-VALUE$/m);
  expect(output).toMatch(/^NOTE=two\nlines$/m);
  expect(output).toMatch(/^SESSIOND_MARK=ins\.boot\.call_\w+$/m);
  const found = processesOf("ins.boot.");
  expect(found.filter(({ words }) => words.includes("bwrap")).map(({ environment }) => environment)).toEqual(["", ""]);
  expect(found.map(({ words }) => words).join()).not.toContain("THE-GIVEN-VALUE");
  writeFileSync(join(driver.workdir, "go"), "");
  await turn.ended;
  await driver.agent.close();
});

/** Those of this test process's commands, by what they show to everyone and to the owner. */
function processesOf(mark: string): { words: string; environment: string }[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const all = pids.map((pid) => ({ words: textOf(`/proc/${pid}/cmdline`), environment: textOf(`/proc/${pid}/environ`) }));
  return all.filter(({ words, environment }) => (words + environment).includes(`SESSIOND_MARK\0${mark}`) || environment.includes(`SESSIOND_MARK=${mark}`));
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/** What must not work: each says OUT where it does, and does no harm then. */
const escapes: Readonly<Record<string, string>> = {
  "mount the system writable": "mount -o remount,rw,bind /usr && echo OUT",
  "mount something": "mkdir m; mount -t tmpfs none m && echo OUT && umount m",
  "uncover a directory": "umount /var/tmp && echo OUT",
  "a user namespace of its own": "unshare -U true && echo OUT; unshare -Um true && echo OUT; unshare -m true && echo OUT",
  "a sandbox within": "bwrap --ro-bind / / true && echo OUT",
  "a setting of the kernel": "for name in core_pattern domainname; do file=/proc/sys/kernel/$name; cat $file > was && (cat was > $file) && echo OUT; done",
  sysrq: "(echo h > /proc/sysrq-trigger) && echo OUT",
  "an interrupt's setting": "for file in /proc/irq/*/smp_affinity; do cat $file > was && (cat was > $file) && echo OUT; done",
  "a device": "mknod disk b 8 0 && echo OUT; mknod mem c 1 1 && echo OUT",
  "the machine's disks": "ls /dev/sd* /dev/vd* /dev/nvme* /dev/mem /dev/kmsg && echo OUT",
  "another root": "chroot / true && echo OUT",
  capabilities: "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status /proc/1/status | grep -v '0000000000000000$' && echo OUT",
  "a program that gives rights": "grep -q '^NoNewPrivs:.1$' /proc/self/status || echo OUT; mount | grep -E ' on /(usr|opt|etc) ' | grep -v nosuid && echo OUT",
  "another account": 'perl -MPOSIX -e \'setuid(1234) and print "OUT"; setgid(1234) and print "OUT"\'',
  "the keyboard of a terminal": 'perl -e \'open T, "+</dev/tty" or exit; ioctl(T, 0x5412, "x") and print "OUT"\'',
  "the name of the machine": 'hostname "$(hostname)" && echo OUT',
  "shared memory": "ls -A /dev/shm /dev/mqueue 2>/dev/null | grep -v ':$' | grep . && echo OUT",
  "the machine's clock": "date -s @$(date +%s) >was && echo OUT",
  "the log of the kernel": "dmesg >was && echo OUT",
};

test(`B46 none of ${Object.keys(escapes).length} ways out of a sandbox leads out`, async () => {
  const script = Object.entries(escapes).map(([name, command]) => `echo "- ${name}"; (${command}) 2>/dev/null`);
  const { output } = await inside(script.join("; "));
  expect(output.split("\n")).toEqual(Object.keys(escapes).map((name) => `- ${name}`));
});

/** What spawnSync feeds to nothing but standard input. */
function openFilter(filter: Uint8Array): number {
  const file = join(freshDir(), "filter");
  writeFileSync(file, filter);
  return openSync(file, "r");
}

anywhere.skipIf(!bubblewrapWorks || process.getuid?.() !== 0)(
  "B46 nor where the daemon's account is an ordinary one, to which a workdir belongs as well",
  async () => {
    const workdir = freshDir();
    const nobody = 65_534;
    chownSync(workdir, nobody, nobody);
    const env = { PATH: "/usr/bin:/bin" };
    const maker = new SandboxMaker({ childEnv: env, home: "/nowhere/home", forbiddenDirs: [], programDirs: systemProgramDirs });
    const held = await HeldDirectory.open(workdir);
    const { words, filter, descriptors, release } = await maker.enclosure({ workdir: held, sandbox: "no_network", env, mark: "ins.boot.call" });
    const tried = Object.values(escapes).map((command) => `(${command}) 2>/dev/null`);
    const [file = "", ...args] = words.slice(0, words.indexOf("--info-fd"));
    const script = `id -u; ${tried.join("; ")}; touch made`;
    const stdio = ["ignore" as const, "pipe" as const, "pipe" as const, "ignore" as const, "ignore" as const, openFilter(filter), ...descriptors];
    const { stdout } = spawnSync(file, [...args, "--", "/bin/sh", "-c", script], { env: {}, uid: nobody, gid: nobody, encoding: "utf8", stdio });
    await Promise.all([held.close(), release()]);
    expect(stdout).toBe(`${nobody}\n`);
    expect(statSync(join(workdir, "made")).uid).toBe(nobody);
  },
);

// --- System calls -----------------------------------------------------------------------------------------------

/** Their numbers on this machine; -1 has none. */
const callNumbers: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  x64: { add_key: 248, request_key: 249, keyctl: 250, open: 2, openat: 257, openat2: 437, creat: 85, mknod: 133, fchmodat2: 452, io_uring_setup: 425 },
  arm64: { add_key: 217, request_key: 218, keyctl: 219, openat: 56, openat2: 437, fchmodat2: 452, io_uring_setup: 425 },
};
const numbers = callNumbers[process.arch] ?? {};
/** In perl: does the call, and prints what came of it. */
const calling = (name: string, ...args: readonly (string | number)[]): string =>
  `{ my @with = (${args.join(", ")}); my $at = syscall(${numbers[name] ?? -1}, @with); print $at < 0 ? "$!\n" : "OUT\n" }`;

test("B46 the owner's keys in the kernel cannot be reached from a sandbox, neither read nor listed, nor put there", async () => {
  const { add_key: add = -1, keyctl = -1 } = numbers;
  const env = { PATH: "/usr/bin:/bin" };
  const maker = new SandboxMaker({ childEnv: env, home: "/nowhere/home", forbiddenDirs: [], programDirs: systemProgramDirs });
  const held = await HeldDirectory.open(freshDir());
  const { words, filter, descriptors, release } = await maker.enclosure({ workdir: held, sandbox: "no_network", env, mark: "ins.boot.call" });
  // Whoever started the daemon left a key in the session's keyring (-3), of which the command says the serial number.
  const find = `my ($type, $name, $text) = ("user", "THE-NAME", "x" x 64);`;
  const finds = `${find} my $key = syscall(${keyctl}, 10, -3, $type, $name, 0); print "$!\n" if $key < 0; $key = $ARGV[0] if $key < 0;
    my $got = syscall(${keyctl}, 11, $key, $text, 64); print $got < 0 ? "$!\n" : substr($text, 0, $got) . "\n";
    ${calling("add_key", "$type", '"mine"', '"x"', 1, -3)} ${calling("request_key", "$type", "$name", 0, 0)}`;
  const starts = `syscall(${keyctl}, 1, 0); my ($type, $name, $text) = ("user", "THE-NAME", "THE-SECRET"); my $key = syscall(${add}, $type, $name, $text, 10, -3); exec @ARGV, $key`;
  const [file = "", ...args] = words.slice(0, words.indexOf("--info-fd"));
  const script = `perl -e '${finds}' "$0"; cat /proc/keys /proc/key-users`;
  const stdio = ["ignore" as const, "pipe" as const, "pipe" as const, "ignore" as const, "ignore" as const, openFilter(filter), ...descriptors];
  const { stdout, stderr } = spawnSync("perl", ["-e", starts, file, ...args, "--", "/bin/sh", "-c", script], { env, encoding: "utf8", stdio });
  await Promise.all([held.close(), release()]);
  expect(stdout + stderr).toBe(`${"Operation not permitted\n".repeat(4)}cat: /proc/keys: Permission denied\ncat: /proc/key-users: Permission denied\n`);
});

test("B46 no file of a command gives others the owner's rights, whatever makes it, and all other modes are as they are", async () => {
  const workdir = freshDir();
  const said = "$! = 0; ";
  const [at, suid] = [-100, 0o4755];
  const [flags, tmpfile] = [0o102, 0o20200002];
  const tried: readonly string[] = [
    ...["u+s", "g+s", "4755", "2755", "6755"].map((mode) => `chmod ${mode} f 2>&1 || chmod ${mode} deep 2>&1`),
    "install -m 4755 /bin/true installed 2>&1",
    ...[`sysopen(F, "made", 66, ${suid})`, `chmod(${suid}, "f")`, `open(F, "<", "f"), chmod(${suid}, *F)`].map(
      (does) => `perl -e '${said}${does}; print "$!\n"'`,
    ),
    `perl -e 'my ($f, $d, $how) = ("f", ".", pack("QQQ", ${flags}, ${suid}, 0)); ${[
      calling("openat", at, '"made2"', flags, suid),
      calling("openat", at, "$d", tmpfile, suid),
      calling("open", '"made3"', flags, suid),
      calling("creat", '"made4"', suid),
      calling("mknod", '"made5"', 0o100000 | suid, 0),
      calling("fchmodat2", at, "$f", suid, 0),
      calling("openat2", at, '"made6"', "$how", 24),
      calling("io_uring_setup", 1, '"x" x 120'),
    ].join(" ")}'`,
  ];
  const { output } = await inside(`umask 0; touch f; mkdir deep; ${tried.join("; ")}`, { workdir });
  expect(output.split("\n").filter((line) => !/(Operation not permitted|Function not implemented)$/.test(line))).toEqual([]);
  const modes = (): number[] => readdirSync(workdir).map((name) => statSync(join(workdir, name)).mode & 0o6000);
  expect(modes().filter((mode) => mode !== 0)).toEqual([]);
  // A mode that is none: without a file to make, the register holds anything.
  const harmless = `chmod 755 f; stat -c %a f; chmod 1777 deep; stat -c %a deep; install -m 640 /bin/true t; stat -c %a t; perl -e '${calling("openat", at, '"f"', 0, 0o6777)}'`;
  expect((await inside(harmless, { workdir })).output).toBe("755\n1777\n640\nOUT");
});

test("B46 a sandbox has no sockets of families that know no network of its own, and runs nothing of another architecture", async () => {
  const others = [40, 38, 17, 29, 31].map((family) => tries(`socket(S, ${family}, SOCK_STREAM, 0)`));
  const pairs = [40, 30].map((family) => tries(`socketpair(S, T, ${family}, SOCK_STREAM, 0)`));
  const kept = ["PF_UNIX", "PF_INET", "PF_INET6"].map((family) => tries(`socket(S, ${family}, SOCK_STREAM, 0)`));
  for (const sandbox of ["no_network", "network"] as const) {
    const { output } = await inside([...others, ...pairs, ...kept, tries("socket(S, 16, SOCK_RAW, 0)")].join("; echo; "), { sandbox });
    expect(output.split("\n")).toEqual([...[...others, ...pairs].map(() => "no: Operation not permitted"), ...Array.from({ length: 4 }, () => "yes")]);
  }
  expect((await inside("grep -h ^Seccomp: /proc/self/status /proc/1/status; ls /proc/self/fd | grep -c '^[4-9]$'")).output).toBe("Seccomp:\t2\nSeccomp:\t2\n0");
  // The smallest i386 program: where it is run, it ends well.
  const segment = "01000000 00000000 00800408 00800408 5d000000 5d000000 05000000 00100000";
  const small = `7f454c46 01010100 ${"00".repeat(8)} 02000300 01000000 54800408 34000000 ${"00".repeat(8)} 34002000 01000000 00000000 ${segment} b801000000 31db cd80`;
  const workdir = freshDir();
  writeFileSync(join(workdir, "small"), Buffer.from(small.replaceAll(" ", ""), "hex"), { mode: 0o755 });
  expect((await inside("./small && echo OUT", { workdir })).output).not.toMatch(/OUT/);
  // As a program of x32 calls getpid; the bit is no number on arm64 either.
  expect((await inside(`perl -e 'syscall(0x40000000 + ${process.arch === "x64" ? 39 : 172}); print $!'`)).output).toBe("Function not implemented");
});

anywhere("B46 where the numbers of the system calls are not known there is no filter, and so no sandbox", async () => {
  expect(["x64", "arm64"].map((arch) => sandboxFilter(arch)?.length)).toEqual([expect.any(Number), expect.any(Number)]);
  expect(["ia32", "arm", "riscv64", "toString"].map(sandboxFilter)).toEqual([null, null, null, null]);
});

// --- The network -----------------------------------------------------------------------------------------------

test("B46 without network nothing of the machine's can be reached, by address or abstract name, and with it a port can", async () => {
  const server = await listening(0);
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const name = `sessiond-test-${process.pid}`;
  await listening(`\0${name}`);
  const abstract = connectsTo.unix(`\\0${name}`);
  expect((await inside(connectsTo.tcp(port))).output).toMatch(/^no: Connection refused$/);
  expect((await inside(abstract)).output).toMatch(/^no: Connection refused$/);
  expect((await inside("ls /sys/class/net; grep -c : /proc/net/dev")).output).toMatch(/\n1$/);
  expect((await inside(tries(`socket(S, PF_INET, SOCK_DGRAM, 0) && connect(S, sockaddr_in(53, inet_aton("8.8.8.8")))`))).output).toMatch(
    /^no: Network is unreachable$/,
  );
  expect((await inside(connectsTo.tcp(port), { sandbox: "network" })).output).toBe("yes");
  expect((await inside("cat /etc/resolv.conf >/dev/null && echo yes", { sandbox: "network" })).output).toBe(existsSync("/etc/resolv.conf") ? "yes" : "");
});

// --- All else is as it is without --------------------------------------------------------------------------------

const allSame = [
  "true",
  "false",
  "exit 3",
  "exit 255",
  "no-such-program",
  "echo out; echo err >&2; exit 7",
  "cat; pwd; echo $0",
  "printf 'a\\303\\244z'",
  "head -c 300000 /dev/zero | tr '\\0' x | wc -c",
  "git init -q . && git status --short | wc -l",
  "node -e 'console.log(process.cwd(), process.env.HOME)'",
  "sh -c 'sh -c \"exit 9\"'; echo $?",
  "umask; ulimit -n; id -u",
  "touch -d 2001-01-01 old; ls -l old | cut -c1-10",
  "echo one > /dev/null; test -c /dev/urandom && head -c 4 /dev/urandom | wc -c",
];
const same = allSame.filter((_, index) => whole || index % 3 === 0);

test(`a command says and ends in a sandbox as it does without, for ${same.length} of them`, async () => {
  const told = async (sandbox: "off" | "network" | "no_network"): Promise<string[]> => {
    const workdir = freshDir();
    const driver = new AgentDriver({ workdir, sandbox });
    const results: string[] = [];
    for (const command of same) {
      const turn = driver.prompt(`run ${command}`);
      await turn.ended;
      results.push(...turn.results.map(({ status, result }) => `${status}: ${result?.replaceAll(workdir, "WORKDIR")}`));
    }
    return results;
  };
  const without = await told("off");
  expect(without).toHaveLength(same.length);
  expect(await told("no_network")).toEqual(without);
  if (whole) expect(await told("network")).toEqual(without);
});

test("B46 a shell question says in which sandbox it will be run, and only when it will", async () => {
  const shown = async (sandbox: "off" | "network" | "no_network"): Promise<string | undefined> => {
    const driver = new AgentDriver({ workdir: freshDir(), sandbox, judge: () => ({ allowed: false, reason: "" }) });
    const turn = driver.prompt("run true");
    await turn.ended;
    return turn.questions[0]?.preview.replace(driver.workdir, "W");
  };
  expect([await shown("off"), await shown("no_network"), await shown("network")]).toEqual([
    "$ true\n\nin W",
    "$ true\n\nin W\nin a sandbox without network, in which only this directory can be written",
    "$ true\n\nin W\nin a sandbox with network, in which only this directory can be written",
  ]);
});

afterAll(() =>
  console.log(
    `B46: sandbox: ${Object.keys(ways).length * (whole ? 2 : 1)} ways to the daemon's files and socket, ${Object.keys(escapes).length} ways out, ${same.length} commands alike`,
  ),
);
