/**
 * Stores the referrals that arrive on a Service Bus queue, until SIGTERM or SIGINT.
 *
 * Settings: SERVICE_BUS_NAMESPACE, such as contoso.servicebus.windows.net, or SERVICE_BUS_CONNECTION for the emulator;
 * EVENTS_QUEUE; DATABASE.
 */
import { DefaultAzureCredential } from "@azure/identity";
import { ServiceBusClient, type ServiceBusReceivedMessage } from "@azure/service-bus";
import { asEvent, Store, UnreadableError } from "./referrals.js";

const { SERVICE_BUS_CONNECTION, SERVICE_BUS_NAMESPACE, EVENTS_QUEUE, DATABASE } = process.env;
const client = SERVICE_BUS_CONNECTION
  ? new ServiceBusClient(SERVICE_BUS_CONNECTION)
  : new ServiceBusClient(SERVICE_BUS_NAMESPACE!, new DefaultAzureCredential());
const receiver = client.createReceiver(EVENTS_QUEUE!);
const store = new Store(DATABASE ?? "referrals.ndjson");

/** Store a message's event, then complete the message. One that cannot be read goes to the dead letters. */
async function handle(message: ServiceBusReceivedMessage): Promise<void> {
  try {
    store.add(asEvent(message.body)); // the client has parsed the JSON
  } catch (error) {
    if (!(error instanceof UnreadableError)) throw error;
    console.warn(`message ${message.messageId}: ${error.message}`);
    const reason = { deadLetterReason: "unreadable", deadLetterErrorDescription: error.message };
    return receiver.deadLetterMessage(message, reason);
  }
  await receiver.completeMessage(message);
}

let stopping = false;
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => (stopping = true));
while (!stopping) {
  for (const message of await receiver.receiveMessages(32, { maxWaitTimeInMs: 2000 })) await handle(message);
}
await client.close();
