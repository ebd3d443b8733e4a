// What people generate code with makes usable types of what is published: named, typed, and compiled strictly.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { CSharpGenerator, TypeScriptGenerator } from "@asyncapi/modelina";
import { examples, published, read, run, SCHEMAS } from "./published.mjs";

const UNNAMED = /Anonymous\w*|unknown &|& \(?unknown|\bResponse\d+\b|\b(class|interface|enum) \w+\d+\b/g;
const STRICT = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck"];

/** Fails if a generator had to make up a name. */
const assertNamed = (code) => assert.deepEqual(code.match(UNNAMED) ?? [], []);

/** Lines of TypeScript whose property has no type of its own. `extra` has what has no place, and no type. */
const untyped = (code) => code.split("\n").filter((line) => /^\s+"?\w+"?\??: (unknown|any|object|\{\});/.test(line));

test("openapi-typescript makes a client's types", async () => {
  await run("openapi-typescript", published("referral_fn/api/openapi.json"), "-o", "api.ts");
  const code = readFileSync("api.ts", "utf8");
  assertNamed(code);
  assert.deepEqual(untyped(code), []);
  writeFileSync(
    "client.ts",
    `import type { components, paths } from "./api.js";
    type Schemas = components["schemas"];
    export const one: Schemas["ReferralsRequest"] = { referralId: "fa2ebe8d-754c-4d43-baa1-c31688a9c8ff" };
    export const many: Schemas["ReferralsRequest"] = { referralIds: ["fa2ebe8d-754c-4d43-baa1-c31688a9c8ff"] };
    export const added: Schemas["Problem"] = { type: "urn:x:new", title: "New", status: 503, detail: "later" };
    type Responses = paths["/referrals"]["post"]["responses"];
    export const queued = (body: Responses[202]["content"]["application/json"]): string | undefined => body.status;
    export const failed = (body: Responses[502]["content"]["application/problem+json"]): string => body.detail;
    export const event = (body: Responses[200]["content"]["application/cloudevents+json"]): string => body.data.referralId;
    `,
  );
  await run("tsc", ...STRICT, "client.ts");
});

test("json2ts makes types that every example has", async () => {
  for (const name of SCHEMAS) {
    const path = published(`schemas/${name}.json`);
    const code = await run("json2ts", "--additionalProperties=false", path);
    assertNamed(code);
    assert.deepEqual(untyped(code), []);
    writeFileSync(`${name}.ts`, code);
    const type = code.match(/^export interface (\w+)/m)[1];
    const isWhole = name.endsWith(".event");
    const values = Object.values(examples(name.replace(/\.event$/, ""))).map((event) => (isWhole ? event : event.data));
    const constants = values.map((value, index) => `export const e${index}: ${type} = ${JSON.stringify(value)};`);
    writeFileSync(`${name}.uses.ts`, `import type { ${type} } from "./${name}.js";\n${constants.join("\n")}\n`);
  }
  await run("tsc", ...STRICT, ...SCHEMAS.map((name) => `${name}.uses.ts`));
});

test("quicktype makes types of the schemas, in three languages", async () => {
  for (const name of SCHEMAS.filter((name) => name.endsWith(".event"))) {
    for (const language of ["csharp", "python", "typescript"]) {
      const top = name.includes("rejected") ? "RejectEvent" : "ReferralEvent";
      const source = ["--src-lang", "schema", "--src", published(`schemas/${name}.json`)];
      const code = await run("quicktype", "--lang", language, ...source, "--top-level", top);
      assertNamed(code);
      assert.match(code, new RegExp(`\\b(class|interface) ${top}\\b`));
      assert.deepEqual(untyped(code).filter((line) => !/\bextra\b/i.test(line)), []);
    }
  }
});

test("quicktype makes types of the examples", async () => {
  for (const type of SCHEMAS.filter((name) => !name.endsWith(".event"))) {
    const paths = Object.keys(examples(type)).map(published);
    const code = await run("quicktype", "--lang", "typescript", "--top-level", "Sample", "--just-types", ...paths);
    assertNamed(code);
    assert.deepEqual(untyped(code), []);
    for (const field of Object.keys(read(`schemas/${type}.json`).properties)) assert.match(code, new RegExp(`\\b${field}\\??:`));
  }
});

test("Modelina makes named models of the queues' messages", async () => {
  const document = read("schemas/asyncapi.json");
  for (const generator of [new TypeScriptGenerator({ modelType: "interface" }), new CSharpGenerator()]) {
    const models = await generator.generate(document);
    const names = models.map((model) => model.modelName).filter(Boolean);
    for (const name of ["ReferralEvent", "ReferralData", "Contact", "RejectEvent", "Request", "Notification"])
      assert.ok(names.includes(name), name);
    for (const model of models) assertNamed(`${model.modelName} ${model.result}`);
    if (generator instanceof TypeScriptGenerator) {
      const data = models.find((model) => model.modelName === "ReferralData").result;
      const fields = Object.keys(document.components.schemas.ReferralData.properties);
      assert.equal(data.match(/^ {2}\w+\??: /gm).length, fields.length + 1, "and additionalProperties");
    }
  }
});
