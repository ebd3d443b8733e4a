// The CloudEvents SDK for JavaScript takes every example event whole.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HTTP } from "cloudevents";
import { examples } from "./published.mjs";

for (const type of ["partnercenter.referral.v1", "partnercenter.referral.rejected.v1"]) {
  for (const [path, sent] of Object.entries(examples(type))) {
    test(path, () => {
      const headers = { "content-type": "application/cloudevents+json" };
      const event = HTTP.toEvent({ headers, body: JSON.stringify(sent) });
      assert.ok(event.validate());
      const { time, ...taken } = JSON.parse(JSON.stringify(event));
      const { time: sentTime, ...others } = sent;
      assert.deepEqual(taken, others);
      assert.equal(Date.parse(time), Date.parse(sentTime));
    });
  }
}
