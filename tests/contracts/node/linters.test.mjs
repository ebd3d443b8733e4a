// The OpenAPI and AsyncAPI documents by the rules of Spectral, OWASP, Azure and Redocly.
import { test } from "node:test";
import { run, published } from "./published.mjs";

const documents = [published("referral_fn/api/openapi.json"), published("schemas/asyncapi.json")];

test("Spectral finds nothing", () =>
  run("spectral", "lint", "--ruleset", "spectral.mjs", "--fail-severity", "hint", ...documents));

test("Redocly finds nothing", () => run("redocly", "lint", "--config", "redocly.yaml", ...documents));
