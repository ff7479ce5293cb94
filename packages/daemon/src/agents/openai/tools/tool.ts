import type { Limits, RulePattern, Sandbox, schemas } from "@sessiond/shared";
import { z } from "zod";
import { diskReason } from "../../../disk.ts";
import type { MarkedChild } from "../../children.ts";
import type { Paths } from "../paths.ts";

/**
 * What a tool is. A tool is defined over its typed input (`defineTool`); the loop sees it
 * erased, as one that takes the model's object and gives back something ready to be shown,
 * asked about and run. A tool with a preview asks before it runs; one without never does.
 */
type ToolKind = z.infer<typeof schemas.toolKind>;

/** An expected failure; its message is what the model is told. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}

export interface ToolResult {
  readonly ok: boolean;
  /** What the model is told; never empty. */
  readonly text: string;
}

/** What the person is shown, whole, and the file that it was made from. */
export interface Preview {
  readonly text: string;
  /** SHA-256 of the file that is to be replaced, `absent`, or "" when no file is concerned. */
  readonly fileDigest: string;
  /** What an answer may be remembered for, exactly. */
  readonly pattern: RulePattern;
}

export interface ToolContext {
  readonly paths: Paths;
  readonly limits: Limits;
  /** In what commands run. */
  readonly sandbox: Sandbox;
  readonly signal: AbortSignal;
  /** True when the answer was given to exactly this call on exactly this file. */
  isAsShown(fileDigest: string): boolean;
  /** Start a shell command of this call, marked, in the workdir and the sandbox, with the scrubbed environment. @throws ToolError when it may not be run */
  spawn(command: string): Promise<MarkedChild>;
}

/** Yields output as it comes; returns what the model is told. */
export type ToolRun = AsyncGenerator<string, ToolResult, void>;

interface ToolDefinition<I> {
  readonly name: string;
  readonly kind: ToolKind;
  readonly description: string;
  readonly input: z.ZodType<I>;
  title(input: I): string;
  /** The file that it concerns, as the model names it. */
  location?(input: I): string;
  preview?(input: I, context: ToolContext): Promise<Preview>;
  run(input: I, context: ToolContext): ToolRun;
}

/** A tool with its input. */
export interface ReadyTool {
  /** Null: it runs without asking. */
  readonly preview: ((context: ToolContext) => Promise<Preview>) | null;
  run(context: ToolContext): ToolRun;
}

export interface Tool {
  readonly name: string;
  readonly kind: ToolKind;
  readonly description: string;
  /** JSON schema of its input, for the model. */
  readonly parameters: Record<string, unknown>;
  /** One line for a screen. */
  title(input: Record<string, unknown>): string;
  /** Null: it concerns no one file. */
  location(input: Record<string, unknown>): string | null;
  /** @returns what is wrong with the input, as a sentence for the model, when it does not fit */
  ready(input: Record<string, unknown>): ReadyTool | string;
}

export function defineTool<I>(definition: ToolDefinition<I>): Tool {
  const { name, kind, description, preview } = definition;
  let schema: Tool["parameters"] | undefined;
  return {
    name,
    kind,
    description,
    // Made when a model is first asked, not at every start.
    get parameters() {
      schema ??= jsonSchemaOf(definition.input);
      return schema;
    },
    title: (raw) => {
      const input = definition.input.safeParse(raw);
      return input.success ? oneLine(definition.title(input.data)) : name;
    },
    location: (raw) => {
      const input = definition.input.safeParse(raw);
      return input.success ? (definition.location?.(input.data) ?? null) : null;
    },
    ready: (raw) => {
      const input = definition.input.safeParse(raw);
      if (!input.success) return `The arguments do not fit the tool ${name}: ${z.prettifyError(input.error)}`;
      return {
        preview: preview === undefined ? null : (context) => preview(input.data, context),
        run: (context) => definition.run(input.data, context),
      };
    },
  };
}

function jsonSchemaOf(input: z.ZodType): Tool["parameters"] {
  const { $schema: _, ...schema } = z.toJSONSchema(input, { io: "input" });
  return schema;
}

const titleCharsMax = 160;

export function oneLine(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length <= titleCharsMax ? line : `${line.slice(0, titleCharsMax - 1)}…`;
}

/** Any failure of a tool as a sentence for the model. */
export function failureText(error: unknown): string {
  if (error instanceof ToolError) return error.message;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const known: Record<string, string> = {
    ENOENT: "There is no such file or directory.",
    ENOTDIR: "A part of the path is not a directory.",
    EISDIR: "That is a directory.",
    EACCES: "Permission denied.",
    ELOOP: "The path is a link.",
    ENXIO: "That is not a regular file.",
    ENOSPC: "The disk is full.",
  };
  // Without the path: it may go by a descriptor, which says nothing to anybody.
  const said = error instanceof Error && code === "" ? error.message : diskReason(error);
  return known[code] ?? `The tool failed: ${said}`;
}
