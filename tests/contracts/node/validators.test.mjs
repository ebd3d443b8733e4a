// Ajv, as it is without options and so as strict as it is, compiles every schema, and every example is valid.
import assert from "node:assert/strict";
import { test } from "node:test";
import Ajv from "ajv";
import addFormats from "ajv-formats";
import { examples, read, SCHEMAS } from "./published.mjs";

for (const name of SCHEMAS) {
  test(name, () => {
    const validate = addFormats(new Ajv()).compile(read(`schemas/${name}.json`));
    const isWhole = name.endsWith(".event");
    for (const [path, event] of Object.entries(examples(name.replace(/\.event$/, "")))) {
      assert.ok(validate(isWhole ? event : event.data), `${path}: ${JSON.stringify(validate.errors)}`);
      assert.ok(!validate(isWhole ? event.data : event), path);
    }
  });
}
