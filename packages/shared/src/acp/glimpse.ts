/**
 * What can be told of a message that is not read, being too long or too deep, from how it begins and how it ends:
 * enough to answer a request by its id, and to end the wait for a response.
 */
export interface Glimpse {
  readonly id?: string | number | null | undefined;
  readonly kind: "request" | "notification" | "response" | "unknown";
}

// A member whose value is a string without escapes, a whole number or null; others are stepped into, so they end the head.
const member = /\s*"(?<name>[a-zA-Z]{1,16})"\s*:\s*(?:(?<value>"[^"\\]*"|-?\d+|null)\s*(?:,|\}\s*$)|(?<open>))/y;
// The last brace of a message is its own, so what stands right before it is a member of the message.
const lastId = /,\s*"id"\s*:\s*("[^"\\]*"|-?\d+|null)\s*\}\s*$/;

/**
 * @param head  the first characters of the line
 * @param tail  the last ones; the two may overlap
 */
export function glimpse(head: string, tail: string): Glimpse {
  let id: string | undefined;
  const seen = new Set<string>();
  const start = /^\uFEFF?\s*\{/.exec(head);
  member.lastIndex = start === null ? head.length : start[0].length;
  for (;;) {
    const found = member.exec(head)?.groups;
    if (found === undefined) break;
    const { name = "", value } = found;
    seen.add(name);
    if (value === undefined) break;
    if (name === "id") id = value;
  }
  id ??= lastId.exec(tail)?.[1];
  const answer = seen.has("result") || seen.has("error");
  const kind = answer ? "response" : !seen.has("method") ? "unknown" : id === undefined ? "notification" : "request";
  return { kind, ...(id === undefined ? {} : { id: parsed(id) }) };
}

function parsed(id: string): string | number | null | undefined {
  try {
    const value: unknown = JSON.parse(id);
    return typeof value === "string" || Number.isSafeInteger(value) || value === null ? (value as string | number | null) : undefined;
  } catch {
    return undefined; // a control character in a string
  }
}
