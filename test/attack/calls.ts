import { verbs, type Row, type VerbName } from "@sessiond/shared";
import { z } from "zod";
import { inputFor } from "../support/gate-world.ts";
import type { Fields } from "./json-text.ts";

/** Calls that would be in order, from the verb table alone: a verb that is added to it is attacked by that. */
export const names = Object.keys(verbs) as VerbName[];
export const rowOf = (name: VerbName): Row => verbs[name];

/**
 * What the verb's schema takes: facts by the field's name where there are any, else the first of them, or of a few plain
 * values, that the schema has nothing against.
 */
export function inputOf(name: VerbName, facts: Readonly<Record<string, unknown>>): Fields {
  const given = inputFor(name, facts);
  const shape = rowOf(name).input.shape as Record<string, z.ZodType>;
  return Object.fromEntries(Object.entries(given).map(([field, value]) => [field, value === undefined ? fittingFor(shape[field], facts) : value])) as Fields;
}

function fittingFor(schema: z.ZodType | undefined, facts: Readonly<Record<string, unknown>>): unknown {
  const values = [...Object.values(facts), ...wordsOf(schema), true, 1, "x", [], {}];
  return [...values, ...values.map((value) => [value])].find((value) => schema?.safeParse(value).success === true);
}

/** The words of an enumeration, or of a list of them. */
function wordsOf(schema: z.ZodType | undefined): unknown[] {
  if (schema === undefined) return [];
  const { enum: words = [], items } = z.toJSONSchema(schema, { unrepresentable: "any" }) as { enum?: unknown[]; items?: { enum?: unknown[] } };
  return [...words, ...(items?.enum ?? [])];
}

/**
 * A call that its credential and schema would let through, and that ends or changes the daemon itself: what needs no input
 * and is the owner's. With the right credential these are said only where the schema refuses them.
 */
export function wouldEndIt({ path, method, input }: { readonly path: string; readonly method: string; readonly input: unknown }): boolean {
  const row = names.includes(path as VerbName) ? rowOf(path as VerbName) : undefined;
  if (row === undefined || row.kind !== method || row.kind !== "mutation" || row.gate !== "host" || !row.input.safeParse({}).success) return false;
  const { auth: _auth, ...rest } = typeof input === "object" && input !== null ? (input as Record<string, unknown>) : {};
  return row.input.safeParse(rest).success;
}
