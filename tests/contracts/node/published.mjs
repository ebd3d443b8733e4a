// The published documents, and the tools to try on them.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const ROOT = process.env.REPOSITORY;

/** The path of a published document. */
export const published = (path) => join(ROOT, path);

/** A published document. */
export const read = (path) => JSON.parse(readFileSync(published(path), "utf8"));

/** The names of the published JSON Schemas. */
export const SCHEMAS = readdirSync(published("schemas"))
  .filter((name) => name.startsWith("partnercenter."))
  .map((name) => name.replace(/\.json$/, ""));

/** The example events of a type, by path. */
export function examples(type) {
  const paths = readdirSync(published("schemas/examples")).map((name) => `schemas/examples/${name}`);
  const events = paths.map((path) => [path, read(path)]).filter(([, document]) => document.type === type);
  assert.ok(events.length > 3);
  return Object.fromEntries(events);
}

/** Run a tool, which must succeed. Resolves with what it prints. */
export const run = (tool, ...parameters) =>
  new Promise((resolve, reject) => {
    const done = (error, out, errors) => (error ? reject(new Error(`${tool} failed:\n${out}${errors}`)) : resolve(out));
    execFile(join("node_modules", ".bin", tool), parameters, { maxBuffer: 1 << 26 }, done);
  });
