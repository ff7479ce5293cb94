import { createHash } from "node:crypto";
import type { Approval, Diff, Location, SessionEvent, ToolKind } from "@sessiond/client";
import { diffLines, sumOf, type DiffLine } from "./diff-lines.ts";
import { foreign, foreignLine, type Block, type Screen, type Style } from "./screen.ts";
import { clip } from "./table.ts";

/**
 * The tool calls of a transcript: what each is about and where, what it prints, what it changes in files, and how
 * it ended. They may run side by side, so whatever does not belong to the call named last names its own.
 */
export interface ToolCallsOptions {
  /** Paths below it are shown without it. */
  readonly workdir: () => string | undefined;
}

type EventOf<T extends SessionEvent["type"]> = Extract<SessionEvent, { type: T }>;

interface Call {
  tool: string;
  kind: ToolKind;
  title: string;
  places: readonly Location[];
  /** Not shown yet, as far as `seen` does not name them. */
  diffs: readonly Diff[];
  readonly seen: Set<string>;
  streamed: boolean;
  ended: boolean;
}

/** Of one turn that are kept for what an agent tells late. */
const callsMax = 256;
const resultLinesMax = 12;
const diffLinesMax = 40;
const diffLineChars = 200;
const placesMax = 4;
const rail = "  │ ";
const signStyles: Readonly<Record<DiffLine["sign"], Style>> = { "-": "red", "+": "green", " ": "dim", "…": "dim" };

export class ToolCalls {
  readonly #screen: Screen;
  readonly #options: ToolCallsOptions;
  /** Of the running turn, ended ones too: agents tell late what a call has changed. */
  readonly #calls = new Map<string, Call>();
  #last = "";

  constructor(screen: Screen, options: ToolCallsOptions) {
    this.#screen = screen;
    this.#options = options;
  }

  begun(event: Pick<EventOf<"tool_call">, "turn_id" | "tool_call_id" | "tool" | "kind" | "title" | "locations" | "diffs">): void {
    const { tool, kind, title, locations: places = [], diffs = [] } = event;
    const key = keyOf(event);
    const call: Call = { tool, kind, title, places, diffs, seen: new Set(), streamed: false, ended: false };
    this.#calls.set(key, call);
    if (this.#calls.size > callsMax) this.#forgetOldest();
    this.#last = key;
    this.#screen.line(`● ${nameOf(call)}`, "cyan");
    this.#at(call, places);
  }

  /** What is otherwise now; input alone is not told: the title says what matters of it. */
  changed(event: EventOf<"tool_call_changed">): void {
    const key = keyOf(event);
    const call = this.#calls.get(key);
    if (call === undefined) return;
    const before = { name: nameOf(call), places: call.places };
    call.title = event.title ?? call.title;
    call.kind = event.kind ?? call.kind;
    call.places = event.locations ?? call.places;
    call.diffs = event.diffs ?? call.diffs;
    const name = nameOf(call);
    if (name !== before.name) {
      this.#name(key, before.name);
      this.#screen.line(`  → ${name}`, "cyan");
    }
    const news = call.places.filter((place) => !before.places.some((known) => isSamePlace(known, place)));
    if (news.some((place) => !this.#isNamed(call, place))) {
      this.#name(key);
      this.#at(call, news);
    }
    if (call.ended) {
      this.#changes(key, call);
      call.diffs = [];
    }
  }

  output({ content, ...event }: Pick<EventOf<"tool_call_chunk">, "turn_id" | "tool_call_id" | "content">): void {
    const key = keyOf(event);
    const call = this.#calls.get(key);
    if (call !== undefined) call.streamed = true;
    this.#name(key);
    this.#screen.write(outputBlock(key), foreign(content.text));
  }

  /** A question shows what is to be changed whole: what stands in it is not shown once more. */
  asked({ turn_id, tool_call_id, preview }: Approval): void {
    const call = this.#calls.get(keyOf({ turn_id, tool_call_id }));
    if (call === undefined) return;
    for (const diff of call.diffs) {
      const first = diffLines(diff).find(({ sign, text }) => (sign === "-" || sign === "+") && text.trim() !== "");
      if (first !== undefined && preview.includes(foreign(first.text))) call.seen.add(markOf(diff));
    }
  }

  ended({ status, result = "", ...event }: Pick<EventOf<"tool_call_update">, "turn_id" | "tool_call_id" | "status" | "result">): void {
    const key = keyOf(event);
    const call = this.#calls.get(key);
    const ok = status === "completed";
    const lines = foreign(result).trimEnd().split("\n");
    const last = lines.at(-1) ?? "";
    const isVerdict = /^\[.*\]$/.test(last);
    const body = isVerdict ? lines.slice(0, -1) : lines;
    if (call?.streamed !== true) {
      if (body.length > 0 && body[0] !== "") this.#name(key);
      this.#screen.write(outputBlock(key), clipped(body));
    }
    if (ok && call !== undefined) this.#changes(key, call);
    const named = this.#last === key ? "" : ` ${call === undefined ? "a tool" : nameOf(call)}`;
    this.#screen.line(`  ${ok ? "✓" : "✗"}${named} ${isVerdict ? last.slice(1, -1) : ok ? "done" : "not done"}`, ok ? "green" : "red");
    if (call === undefined) return;
    call.ended = true;
    call.diffs = [];
  }

  /** Ids count in one turn only. */
  turnEnded(): void {
    this.#calls.clear();
    this.#last = "";
  }

  #forgetOldest(): void {
    for (const [key, { ended }] of this.#calls) if (ended) return void this.#calls.delete(key);
  }

  #name(key: string, name?: string): void {
    if (this.#last === key) return;
    this.#last = key;
    const call = this.#calls.get(key);
    this.#screen.line(`● ${name ?? (call === undefined ? "a tool" : nameOf(call))}`, "cyan");
  }

  /** What the title does not say already. */
  #at(call: Call, places: readonly Location[]): void {
    if (places.every((place) => this.#isNamed(call, place))) return;
    const shown = places.slice(0, placesMax).map((place) => this.#place(place));
    const left = places.length - shown.length;
    this.#screen.line(`  at ${shown.join(", ")}${left > 0 ? ` and ${left} more` : ""}`, "dim");
  }

  #isNamed({ title }: Call, place: Location): boolean {
    return foreignLine(title).includes(this.#path(place.path)) && (place.line === undefined || title.includes(String(place.line)));
  }

  #place({ path, line }: Location): string {
    return `${this.#path(path)}${line === undefined ? "" : `:${line}`}`;
  }

  #path(path: string): string {
    const workdir = this.#options.workdir();
    return foreignLine(workdir !== undefined && path.startsWith(`${workdir}/`) ? path.slice(workdir.length + 1) : path);
  }

  /** Each change once. */
  #changes(key: string, call: Call): void {
    let room = diffLinesMax;
    for (const [index, diff] of call.diffs.entries()) {
      const lines = diffLines(diff);
      const mark = markOf(diff);
      if (lines.length === 0 || call.seen.has(mark)) continue;
      call.seen.add(mark);
      this.#name(key);
      const about = diff.old_text === null ? `new, ${sumOf(lines)}` : sumOf(lines);
      this.#screen.line(`  ± ${this.#path(diff.path)} (${about})`, "dim");
      for (const [at, { sign, text }] of lines.slice(0, room).entries())
        this.#screen.write(
          { key: `diff ${key} ${index} ${at}`, to: "aside", style: signStyles[sign], prefix: rail },
          clip(`${sign}${foreignLine(text)}`, diffLineChars),
        );
      if (lines.length > room) this.#screen.line(`${rail}… ${lines.length - room} more lines`, "dim");
      this.#screen.close();
      room = Math.max(0, room - lines.length);
    }
  }
}

/** A call's id is unique in its turn only. */
const keyOf = ({ turn_id, tool_call_id }: { readonly turn_id?: string | undefined; readonly tool_call_id: string }): string =>
  `${turn_id ?? ""} ${tool_call_id}`;
const outputBlock = (key: string): Block => ({ key: `output ${key}`, to: "aside", style: "dim", prefix: rail });
const isSamePlace = (one: Location, other: Location): boolean => one.path === other.path && one.line === other.line;

/** Agents tell the same change again and again; what was shown is known by less than the files' texts. */
const markOf = (diff: Diff): string => createHash("sha256").update(JSON.stringify(diff)).digest("base64");

/** Tools whose name says what kind they are of. */
const kindsOf: Readonly<Record<string, ToolKind>> = { shell: "execute", bash: "execute", terminal: "execute", write: "edit", list: "read", grep: "search" };

/** `edit notes.txt`, `shell: npm test`, `Bash: rm a.txt (delete)`: the kind where neither the tool's name nor the title says it. */
function nameOf({ tool, kind, title }: Pick<Call, "tool" | "kind" | "title">): string {
  const name = title === "" ? tool : title === tool || title.startsWith(`${tool} `) ? title : `${tool}: ${title}`;
  const word = kind.replaceAll("_", " ");
  const isSaid = kind === "other" || kindsOf[tool.toLowerCase()] === kind || name.toLowerCase().includes(word) || tool.toLowerCase() === kind;
  return foreignLine(isSaid ? name : `${name} (${word})`);
}

function clipped(lines: readonly string[]): string {
  if (lines.length <= resultLinesMax + 1) return lines.join("\n");
  return [...lines.slice(0, resultLinesMax), `… ${lines.length - resultLinesMax} more lines`].join("\n");
}
