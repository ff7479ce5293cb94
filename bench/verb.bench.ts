import type { Bench } from "./row.ts";

export const verb: Bench = { name: "verb", about: "", run: () => Promise.resolve([]) };
