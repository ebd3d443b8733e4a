// A stand-in for Service Bus over AMQP, for consumers: one queue, whose messages come as JSON lines on stdin, each with
// `id` and `body`. Prints its port, then what becomes of each delivery. What is neither completed nor dead-lettered
// is not delivered again.
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import rhea from "rhea";

const QUEUE = "events";
const container = rhea.create_container({ id: "service-bus" });
container.sasl_server_mechanisms.enable_anonymous();
const waiting = [];
let sequence = 0;

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

for (const kind of ["sender", "receiver"])
  container.on(`${kind}_open`, ({ [kind]: link }) => {
    link.set_source(link.source);
    link.set_target(link.target);
  });

container.on("message", ({ message, connection }) => {
  const answer = { to: message.reply_to, correlation_id: message.message_id, body: null };
  answer.application_properties = { "status-code": 202, "status-description": "Accepted" };
  connection.find_sender((sender) => sender.source.address === "$cbs").send(answer);
});

container.on("sendable", ({ sender }) => {
  if (sender.source.address.split("/").at(-1) === QUEUE) deliver(sender); // Python sends a URL
});

container.on("sender_draining", ({ sender }) => sender.set_drained(true));

function deliver(sender) {
  while (waiting.length > 0 && sender.sendable()) {
    const { id, body } = waiting.shift();
    const message = {
      message_id: id,
      delivery_count: 0,
      content_type: "application/cloudevents+json",
      body: rhea.message.data_section(Buffer.from(body, "utf8")),
      message_annotations: {
        "x-opt-sequence-number": rhea.types.wrap_long(++sequence),
        "x-opt-enqueued-time": rhea.types.wrap_timestamp(Date.now()),
        "x-opt-locked-until": rhea.types.wrap_timestamp(Date.now() + 60_000),
      },
    };
    const delivery = sender.send(message, Buffer.from(randomUUID().replaceAll("-", ""), "hex"));
    delivery.queued = id;
  }
}

for (const [state, outcome] of Object.entries({ accepted: "completed", rejected: "dead-lettered" }))
  container.on(state, ({ delivery }) => {
    if (!delivery.queued) return; // an answer to a token
    delivery.update(true, rhea.message[state]().described());
    print({ id: delivery.queued, outcome });
  });

for (const event of ["disconnected", "connection_error", "session_error", "receiver_error", "sender_error"])
  container.on(event, () => {});

const listener = container.listen({ host: "127.0.0.1", port: 0 });
listener.on("listening", () => print({ port: listener.address().port }));
createInterface({ input: process.stdin })
  .on("line", (line) => waiting.push(JSON.parse(line)))
  .on("close", () => process.exit());
