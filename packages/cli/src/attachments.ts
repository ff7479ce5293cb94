import { readFileSync, statSync, type Stats } from "node:fs";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { ContentPart } from "@sessiond/client";
import { limits } from "@sessiond/shared";
import type { Command } from "commander";
import { Failure } from "./exit-codes.ts";
import { gathered } from "./options.ts";
import { foreignLine } from "./screen.ts";

/** Files and pictures that go with a prompt. The daemon's limits are looked at before anything is sent: then the sentence can name the file. */
export interface AttachmentFlags {
  readonly file?: readonly string[];
  readonly image?: readonly string[];
}

export const addAttachmentOptions = (command: Command): Command =>
  command
    .option("--file <file>", "a text file that goes with the prompt; may be given again", gathered)
    .option("--image <file>", "a picture, for agents that take pictures: png, jpeg, gif or webp; likewise", gathered);

/** The prompt's words first, then what goes with it. @throws Failure usage, naming the file */
export function withAttachments(prompt: string, { file = [], image = [] }: AttachmentFlags): ContentPart[] {
  const parts: ContentPart[] = [{ type: "text", text: prompt }, ...file.map(textPart), ...image.map(imagePart)];
  if (parts.length > limits.prompt_parts_max)
    throw new Failure("usage", `A prompt takes ${limits.prompt_parts_max - 1} files and pictures at most; name those that matter in its text.`);
  const bytes = sum(parts, (part) => ("text" in part ? Buffer.byteLength(part.text) : 0) + ("uri" in part ? Buffer.byteLength(part.uri) : 0));
  if (file.length > 0 && bytes > limits.prompt_bytes_max)
    throw new Failure("usage", `With its files the prompt has ${kilo(bytes)}, and at most ${kilo(limits.prompt_bytes_max)} are taken. ${itself}`);
  const pictured = sum(parts, (part) => (part.type === "image" ? part.data.length : 0));
  if (pictured > limits.prompt_images_bytes_max)
    throw new Failure(
      "usage",
      `The pictures have ${kilo(pictured)} as they are sent, and at most ${kilo(limits.prompt_images_bytes_max)} are taken. ${smaller}`,
    );
  return parts;
}

const itself = "Name a large file in the prompt instead: the agent reads it itself.";
const smaller = "Scale a picture down, or save it as JPEG.";

function textPart(path: string): ContentPart {
  const bytes = bytesOf(path, limits.prompt_bytes_max, itself);
  if (pictureType(bytes) !== null) throw new Failure("usage", `${foreignLine(path)} is a picture; --image takes it.`);
  try {
    return { type: "resource", uri: pathToFileURL(resolve(path)).href, text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes) };
  } catch {
    throw new Failure("usage", `${foreignLine(path)} is no UTF-8 text. Name it in the prompt instead, and the agent looks at it itself.`);
  }
}

function imagePart(path: string): ContentPart {
  // Base64 makes four bytes of three.
  const bytes = bytesOf(path, Math.floor((limits.prompt_images_bytes_max * 3) / 4), smaller);
  const type = pictureType(bytes);
  if (type === null) throw new Failure("usage", `${foreignLine(path)} is no PNG, JPEG, GIF or WebP picture. --file takes a text.`);
  return { type: "image", mime_type: type, data: bytes.toString("base64") };
}

/** Looks at what it is before it reads: a pipe would be waited for, a huge file would fill the memory. */
function bytesOf(path: string, max: number, advice: string): Buffer {
  let about: Stats;
  try {
    about = statSync(path);
  } catch {
    throw new Failure("usage", `${foreignLine(path)} is not there, or may not be looked at.`);
  }
  if (!about.isFile()) throw new Failure("usage", `${foreignLine(path)} is ${about.isDirectory() ? "a directory" : "no plain file"}.`);
  if (about.size > max) throw new Failure("usage", `${foreignLine(basename(path))} has ${kilo(about.size)}, and at most ${kilo(max)} are taken. ${advice}`);
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch {
    throw new Failure("usage", `${foreignLine(path)} cannot be read.`);
  }
  if (bytes.length === 0) throw new Failure("usage", `${foreignLine(path)} is empty.`);
  return bytes;
}

/** By how it begins, whatever it is called. */
function pictureType(bytes: Buffer): string | null {
  const ascii = (from: number, to: number): string => bytes.toString("latin1", from, to);
  if (ascii(0, 8) === "\u0089PNG\r\n\u001a\n") return "image/png";
  if (ascii(0, 3) === "\u00ff\u00d8\u00ff") return "image/jpeg";
  if (ascii(0, 6) === "GIF87a" || ascii(0, 6) === "GIF89a") return "image/gif";
  if (ascii(0, 4) === "RIFF" && ascii(8, 12) === "WEBP") return "image/webp";
  return null;
}

const sum = (parts: readonly ContentPart[], of: (part: ContentPart) => number): number => parts.reduce((all, part) => all + of(part), 0);
const kilo = (bytes: number): string => `${Math.ceil(bytes / 1024)} kB`;
