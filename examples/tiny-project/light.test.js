import assert from "node:assert/strict";
import { test } from "node:test";
import { next } from "./light.js";

test("after red comes green", () => assert.equal(next("red"), "green"));
test("after yellow it begins again", () => assert.equal(next("yellow"), "red"));
