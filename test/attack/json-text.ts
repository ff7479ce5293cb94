/** JSON as no object can hold it: keys twice, numbers beyond all bounds, nesting without end. */
export class Raw {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type Json = Raw | string | number | boolean | null | undefined | readonly Json[] | { readonly [key: string]: Json };
export type Fields = { readonly [key: string]: Json };

export const raw = (text: string): Raw => new Raw(text);

export const isFields = (value: Json): value is Fields => typeof value === "object" && value !== null && !(value instanceof Raw) && !Array.isArray(value);

export function textOf(value: Json): string {
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map((each) => textOf(each ?? null)).join(",")}]`;
  if (!isFields(value)) return JSON.stringify(value ?? null);
  return `{${pairsOf(value)}}`;
}

/** The inside of an object's braces. */
const pairsOf = (fields: Fields): string =>
  Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${JSON.stringify(key)}:${textOf(value)}`)
    .join(",");

/** An object with one key more, as text: also one that it has already, or one that no literal can give it. */
export const withKey = (fields: Fields, key: string, value: Json, first = false): Raw => {
  const [inside, added] = [pairsOf(fields), `${JSON.stringify(key)}:${textOf(value)}`];
  return raw(`{${(inside === "" ? [added] : first ? [added, inside] : [inside, added]).join(",")}}`);
};

export type Place = readonly string[];

/** Every place in it, the whole first. */
export function placesOf(value: Json): Place[] {
  if (Array.isArray(value)) return [[], ...(value as readonly Json[]).flatMap((each, at) => placesOf(each).map((place) => [String(at), ...place]))];
  if (!isFields(value)) return [[]];
  return [[], ...Object.entries(value).flatMap(([key, each]) => placesOf(each).map((place) => [key, ...place]))];
}

export function at(value: Json, [key, ...rest]: Place): Json {
  if (key === undefined) return value;
  return at((value as Record<string, Json>)[key], rest);
}

/** The same with something else in one place; `undefined` leaves it out. */
export function put(value: Json, [key, ...rest]: Place, other: Json): Json {
  if (key === undefined) return other;
  if (Array.isArray(value)) return (value as readonly Json[]).map((each, index) => (String(index) === key ? put(each, rest, other) : each));
  return { ...(value as Fields), [key]: put((value as Fields)[key], rest, other) };
}
