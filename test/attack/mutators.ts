import type { Row } from "@sessiond/shared";
import type { Chance } from "../support/chance.ts";
import { at, isFields, placesOf, put, raw, textOf, withKey, type Fields, type Json, type Place } from "./json-text.ts";

/**
 * What is done to a call that would be in order. A mutator takes one call of any verb and gives the message, or messages,
 * to say instead. None of them knows a verb.
 */
export interface Given {
  readonly verb: string;
  readonly kind: Row["kind"];
  /** Its credential too. */
  readonly input: Fields;
  readonly id: number;
  /** The field by which the gate chooses its rule, where the verb has one. */
  readonly by: string | undefined;
  /** Other verbs, for what takes more than one. */
  readonly others: readonly string[];
  readonly chance: Chance;
}

export interface Said {
  readonly bytes: string | Buffer;
  readonly binary?: true;
}

export type Mutator = (given: Given) => readonly Said[];

const one = <T>({ chance }: Given, values: readonly T[]): T => values[Math.floor(chance.upTo(values.length))] as T;
const text = (value: Json): readonly Said[] => [{ bytes: textOf(value) }];

const messageOf = ({ id, kind, verb, input }: Given): Fields => ({ id, method: kind, params: { path: verb, input } });

/** Some place in the message, the whole of it aside. */
const anyPlace = (given: Given): Place => one(given, placesOf(messageOf(given)).slice(1));
const inPlace =
  (value: (given: Given, was: Json) => Json): Mutator =>
  (given) => {
    const [message, place] = [messageOf(given), anyPlace(given)];
    return text(put(message, place, value(given, at(message, place))));
  };
const withParams = (given: Given, more: Fields): Fields => ({ ...messageOf(given), params: { path: given.verb, input: given.input, ...more } });
const withPath =
  (path: (given: Given) => Json): Mutator =>
  (given) =>
    text(withParams(given, { path: path(given) }));
const withId =
  (id: (given: Given) => Json): Mutator =>
  (given) =>
    text({ ...messageOf(given), id: id(given) });
const withInput =
  (input: (given: Given) => Json): Mutator =>
  (given) =>
    text(withParams(given, { input: input(given) }));

/** In some object of the message, however deep, one key more. */
const keyed =
  (key: string, value: (given: Given) => Json): Mutator =>
  (given) => {
    const message = messageOf(given);
    const objects = placesOf(message).filter((place) => isFields(at(message, place)));
    const place = one(given, objects);
    return text(put(message, place, withKey(at(message, place) as Fields, key, value(given), given.chance.upTo(2) < 1)));
  };

const huge = (given: Given): string => one(given, ["x", "ssd_c_ses_", "\u{1f600}", "a/../", '"', "\\"]).repeat(Math.floor(2 ** (8 + given.chance.upTo(7))));
const deep = (open: string, close: string) => (given: Given) => {
  // As deep as a message may be long.
  const levels = Math.min(given.chance.upTo(30) < 1 ? 100_000 : one(given, [1_000, 2_000, 4_000]), Math.floor(900_000 / (open.length + close.length)));
  return raw(open.repeat(levels) + (open === "[" ? "" : "1") + close.repeat(levels));
};
/** What would open a door, were it looked up where nobody put it. */
const polluting = (given: Given): Json => ({
  ...given.input,
  auth: given.input["auth"] ?? { host_key: "x" },
  role: "viewer",
  admitted: true,
  path: "hello",
  type: "query",
});
const batch = (given: Given, count: number): Json[] => Array.from({ length: count }, (_, n) => ({ ...messageOf(given), id: given.id + n }));

const requests = (count: number): string => Array.from({ length: count }, (_, n) => `{"id":${n}},`).join("");
const [hundred, tenThousand] = [requests(100), requests(10_000)];

const strangeWords = ["constructor", "__proto__", "prototype", "toString", "valueOf", "hasOwnProperty", "then", "_def", "createCaller", "__defineGetter__"];
const lookAlike = (verb: string): string => verb.replace("e", "\u0435").replace("o", "\uff4f").replace("_", "\u203f").replace("a", "\u0430");

export const mutators: Readonly<Record<string, Mutator>> = {
  untouched: (given) => text(messageOf(given)),
  "field missing": inPlace(() => undefined),
  "field null": inPlace(() => null),
  "field of another type": inPlace((given, was) => one<Json>(given, typeof was === "string" ? [17, true, false, 0] : ["17", "", true])),
  "field nested": inPlace((given, was) => one<Json>(given, [[was], { value: was }, { [given.verb]: { auth: was } }, [[[was]]]])),
  "field huge": inPlace(huge),
  "number huge": inPlace((given) => raw(one(given, ["1e400", "-1e400", "1e308", "9".repeat(400), "1e-400"]))),
  "number negative": inPlace((given) => one(given, [-1, -2_147_483_649, Number.MIN_SAFE_INTEGER])),
  "number fractional": inPlace((given) => one(given, [0.5, 1.000_000_1, 5e-324])),
  "number minus zero": inPlace(() => raw("-0")),
  "number beyond safe": inPlace((given) => raw(one(given, ["9007199254740993", "18446744073709551616", "9007199254740991.5"]))),
  "number as no number": inPlace((given) => one(given, ["NaN", "Infinity", "0x10", "1_000", "1e3"])),
  "field empty": inPlace((given) => one<Json>(given, ["", [], {}, " "])),
  "array for an object": (given) => {
    const message = messageOf(given);
    const place = one(
      given,
      placesOf(message).filter((each) => isFields(at(message, each))),
    );
    return text(put(message, place, Object.values(at(message, place) as Fields)));
  },
  "key twice": (given) => {
    const message = messageOf(given);
    const place = anyPlace(given);
    const [owner, key] = [place.slice(0, -1), place.at(-1) ?? ""];
    const fields = at(message, owner);
    if (!isFields(fields)) return text(message);
    return text(put(message, owner, withKey(fields, key, one<Json>(given, [null, 17, "x", {}, fields[key]]), given.chance.upTo(2) < 1)));
  },
  unicode: inPlace((given) =>
    one(given, ["\u202etxt.exe", "e\u0301".repeat(40), "\u{1f469}\u200d\u{1f4bb}", "\ufeff", "\u2028\u2029", "\u0000\u001b[2J", "ſ", "İ"]),
  ),
  "lone surrogate": inPlace((given) => raw(one(given, ['"\\ud800"', '"a\\udc00b"', '"\\ud83d\\ud83d"', '"\\udfff/\\ud800"']))),
  "NUL in a text": inPlace((given, was) => `${typeof was === "string" ? was : "x"}\u0000${one(given, ["", "/etc", ".json"])}`),
  "path out of bounds": inPlace((given) =>
    one(given, ["/", "/proc/self/root", "../../../../etc", "/dev/null", "~", "file:///", "//", ".".repeat(5_000), "/a".repeat(3_000)]),
  ),
  "secret in the wrong field": inPlace((given) =>
    one(given, [`ssd_c_ses_${"A".repeat(22)}_${"B".repeat(38)}`, `ssdh_${"C".repeat(49)}`, `ssdk_key_${"D".repeat(22)}`]),
  ),
  "field unknown": keyed("colour", (given) => one<Json>(given, [1, null, { host_key: "x" }, "\u0000"])),
  "key __proto__": keyed("__proto__", polluting),
  "key constructor": keyed("constructor", (given) => ({ prototype: polluting(given) })),
  "key prototype": keyed("prototype", polluting),
  "keys inherited": keyed("toString", (given) => one<Json>(given, [null, "x", { call: 1 }])),
  "__proto__ for all": (given) => text(withParams(given, { input: raw(`{"__proto__":${textOf(given.input)}}`) })),
  "id twice": (given) => [...text(messageOf(given)), ...text(messageOf(given))],
  "id huge": withId(({ id }) => String(id).padEnd(10_000, "9")),
  "id an odd number": withId((given) => raw(one(given, ["-1", "-0", "1e400", "0.1", "9007199254740993", "-9007199254740993"]))),
  "id a text": withId((given) => one(given, ["", " ", "__proto__", "constructor", "1", "null", "\u0000", "\ud800"])),
  "id null": withId(() => null),
  "id no id": withId((given) => one<Json>(given, [{}, [], true, { id: 1 }, undefined])),
  "method of another kind": (given) =>
    text({
      ...messageOf(given),
      method: one(
        given,
        ["query", "mutation", "subscription"].filter((kind) => kind !== given.kind),
      ),
    }),
  "method unknown": (given) =>
    text({ ...messageOf(given), method: one<Json>(given, ["QUERY", "", "subscription.start", "reconnect", "__proto__", null, 1, ["query"], "query "]) }),
  "stop of what is not": (given) => text({ id: one<Json>(given, [given.id, "x", -1, null, "__proto__"]), method: "subscription.stop" }),
  "stop at once": (given) => [
    ...text(messageOf(given)),
    ...text({ id: given.id, method: "subscription.stop" }),
    ...text({ id: given.id, method: "subscription.stop" }),
  ],
  "stop and again": (given) => [...text(messageOf(given)), ...text({ id: given.id, method: "subscription.stop" }), ...text(messageOf(given))],
  "path of two": withPath((given) => `${given.verb},${one(given, given.others)}`),
  "path dotted": withPath((given) =>
    one(given, [`${given.verb}.${given.verb}`, `.${given.verb}`, `${given.verb}.`, `${given.verb}._def`, `${given.verb}.constructor`]),
  ),
  "path inherited": withPath((given) => one(given, strangeWords)),
  "path look-alike": withPath(({ verb }) => (lookAlike(verb) === verb ? `${verb}\u200b` : lookAlike(verb))),
  "path encoded": withPath(({ verb, ...given }) =>
    one({ verb, ...given }, [`%${verb.charCodeAt(0).toString(16)}${verb.slice(1)}`, `${verb}%00`, `./${verb}`, `/${verb}`, `${verb}?x=1`, `${verb}\u0000`]),
  ),
  "path spelled otherwise": withPath((given) =>
    one<Json>(given, [given.verb.toUpperCase(), ` ${given.verb}`, `${given.verb}\n`, given.verb.repeat(200), "", [given.verb], { 0: given.verb }]),
  ),
  "rule of the gate inherited": withInput((given) => ({ ...given.input, [given.by ?? one(given, Object.keys(given.input))]: one(given, strangeWords) })),
  "auth of another shape": withInput((given) => ({
    ...given.input,
    auth: one<Json>(given, [[], "x", 1, true, [given.input["auth"]], { ...(given.input["auth"] as Fields | undefined), admin: true }]),
  })),
  "auth crossed": withInput((given) => {
    const auth = Object.entries((given.input["auth"] ?? {}) as Fields);
    const values = auth.map(([, value]) => value);
    return { ...given.input, auth: Object.fromEntries(auth.map(([key], n) => [key, values[(n + 1) % values.length]])) };
  }),
  "auth a little off": withInput((given) => {
    const off = (secret: Json): Json =>
      typeof secret !== "string"
        ? secret
        : one(given, [
            secret.slice(1),
            `${secret} `,
            `${secret}\u0000`,
            secret.toLowerCase(),
            secret.slice(0, -1),
            `${secret.slice(0, -1)}\u0130`,
            `${secret}${secret}`,
          ]);
    const auth = (given.input["auth"] ?? {}) as Fields;
    return { ...given.input, auth: Object.fromEntries(Object.entries(auth).map(([key, value]) => [key, off(value)])) };
  }),
  "auth beside": (given) =>
    text({ ...withParams(given, { input: { ...given.input, auth: undefined }, auth: given.input["auth"] }), auth: given.input["auth"] }),
  "input no object": withInput((given) => one<Json>(given, [null, "x", 1, true, [], [given.input], undefined])),
  "params no object": (given) => text({ ...messageOf(given), params: one<Json>(given, [null, "x", 1, [], [given.verb, given.input], undefined]) }),
  "deep arrays": (given) =>
    text(
      put(
        messageOf(given),
        one(given, [["params", "input"], ["params", "input", "auth"], ["params", "input", "x"], ["params"], ["id"]]),
        deep("[", "]")(given),
      ),
    ),
  "deep objects": (given) =>
    text(
      put(
        messageOf(given),
        one(given, [["params", "input"], ["params", "input", "auth"], ["params", "input", "x"], ["params"], ["method"]]),
        deep('{"a":', "}")(given),
      ),
    ),
  "deep all over": (given) => text(one(given, [deep("[", "]"), deep('{"params":', "}"), deep('[{"id":', "}]")])(given)),
  "batch of none": () => text([]),
  "batch of one": (given) => text([messageOf(given)]),
  "batch that is full": (given) => text(batch(given, one(given, [64, 8, 8, 8]))),
  "batch of one too many": (given) => text(batch(given, 65)),
  "batch without end": (given) => text(raw(`[${given.chance.upTo(8) < 1 ? tenThousand : hundred}${textOf(messageOf(given))}]`)),
  "batch in a batch": (given) => text([[messageOf(given)], messageOf(given)]),
  "batch of good and bad": (given) =>
    text([messageOf(given), one<Json>(given, [null, 17, {}, "x", { id: given.id + 1 }, { ...messageOf(given), jsonrpc: "1.0" }]), messageOf(given)]),
  "not JSON": (given) => [
    { bytes: one(given, ["hello?", "{", "}{", "undefined", "'{}'", "// {}", "\u0000\u0000", "<xml/>", given.verb, "{id:1}", '{"id":1,}', "NaN"]) },
  ],
  "cut short": (given) => [{ bytes: textOf(messageOf(given)).slice(0, -1 - Math.floor(given.chance.upTo(40))) }],
  "cut at the front": (given) => [{ bytes: textOf(messageOf(given)).slice(1 + Math.floor(given.chance.upTo(40))) }],
  "one character changed": (given) => {
    const whole = textOf(messageOf(given));
    const place = Math.floor(given.chance.upTo(whole.length));
    return [{ bytes: whole.slice(0, place) + one(given, ['"', "\\", "{", "}", "0", "\u0000", "\u00ff", ",", "e"]) + whole.slice(place + 1) }];
  },
  "bytes for text": (given) => [{ bytes: Buffer.from(textOf(messageOf(given))), binary: true }],
  "random bytes": (given) => [{ bytes: Buffer.from(Array.from({ length: 64 }, () => Math.floor(given.chance.upTo(256)))), binary: true }],
  "nothing in it": (given) => [{ bytes: "", ...(given.chance.upTo(2) < 1 && { binary: true }) }],
  "more around it": (given) => [
    { bytes: one(given, ["\ufeff", " \n\t", "\u0000", ")]}',\n"]) + textOf(messageOf(given)) + one(given, ["", "\n", "x", textOf(messageOf(given))]) },
  ],
  "lastEventId odd": (given) =>
    text(
      withParams(given, {
        lastEventId: one<Json>(given, ["1:0", "999999999:999999999999999", "x".repeat(5_000), "", "-1:-1", 1, null, {}, "boot0000:1", "__proto__"]),
      }),
    ),
  "lastEventId without input": (given) => text(withParams(given, { input: one<Json>(given, [undefined, null, "x", []]), lastEventId: "1:1" })),
  "words of the adapter": (given) => [{ bytes: one(given, ["PING", "PONG", "PING\n", "ping", '{"id":null,"method":"reconnect"}', '"PING"']) }],
  "jsonrpc odd": (given) => text({ ...messageOf(given), jsonrpc: one<Json>(given, ["1.0", 2, null, "", { v: "2.0" }]) }),
};
