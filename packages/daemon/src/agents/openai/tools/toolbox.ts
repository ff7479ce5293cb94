import { edit } from "./edit.ts";
import { list } from "./list.ts";
import { read } from "./read.ts";
import { search } from "./search.ts";
import { shell } from "./shell.ts";
import type { Tool } from "./tool.ts";
import { write } from "./write.ts";

/** Every tool of the built-in agent, in the order in which the model is told of them. */
export const toolbox: readonly Tool[] = [read, list, search, write, edit, shell];

export const toolNamed = (name: string): Tool | undefined => toolbox.find((tool) => tool.name === name);
