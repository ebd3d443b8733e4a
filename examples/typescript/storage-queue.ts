/**
 * Stores the referrals that arrive on an Azure Storage queue, until SIGTERM or SIGINT.
 *
 * Settings: EVENTS_URL, the URL of the queue; DATABASE; VISIBILITY_SECONDS, how long a message that was not stored stays hidden.
 */
import { setTimeout } from "node:timers/promises";
import { DefaultAzureCredential } from "@azure/identity";
import { QueueClient, type DequeuedMessageItem } from "@azure/storage-queue";
import { read, Store, UnreadableError } from "./referrals.js";

/** After so many deliveries, a message that cannot be read is set aside. */
const MAX_DELIVERIES = 5;

const url = process.env.EVENTS_URL!;
const visibilityTimeout = Number(process.env.VISIBILITY_SECONDS ?? 60);
const credential = new DefaultAzureCredential();
const queue = new QueueClient(url, credential);
const setAside = new QueueClient(`${url}-set-aside`, credential);
const store = new Store(process.env.DATABASE ?? "referrals.ndjson");

/** Store a message's event, then delete the message. One that cannot be read is set aside in the end, never lost. */
async function handle(message: DequeuedMessageItem): Promise<void> {
  try {
    store.add(read(Buffer.from(message.messageText, "base64")));
  } catch (error) {
    if (!(error instanceof UnreadableError)) throw error;
    console.warn(`message ${message.messageId}, delivery ${message.dequeueCount}: ${error.message}`);
    if (message.dequeueCount < MAX_DELIVERIES) return; // it comes again, perhaps to a newer version of this program
    await setAside.sendMessage(message.messageText, { messageTimeToLive: -1 });
  }
  await queue.deleteMessage(message.messageId, message.popReceipt);
}

let stopping = false;
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => (stopping = true));
while (!stopping) {
  const { receivedMessageItems } = await queue.receiveMessages({ numberOfMessages: 32, visibilityTimeout });
  for (const message of receivedMessageItems) await handle(message);
  if (receivedMessageItems.length === 0) await setTimeout(1000);
}
