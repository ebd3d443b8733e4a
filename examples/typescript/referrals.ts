/** Reads referral events and stores each once. A file, one line an event, stands for your database. */
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import type { ReferralEvent } from "./referral-event.js";

/** A message that cannot be stored: it is no event, or of a type that this program does not know. */
export class UnreadableError extends Error {}

/** The event in a message's body. Throws an UnreadableError if there is none, or if it is of another type. */
export function read(body: string | Uint8Array): ReferralEvent {
  try {
    return asEvent(JSON.parse(typeof body === "string" ? body : new TextDecoder("utf-8", { fatal: true }).decode(body)));
  } catch (error) {
    throw error instanceof UnreadableError ? error : new UnreadableError(`not JSON: ${error}`);
  }
}

/** The same for a body that is parsed already. */
export function asEvent(value: unknown): ReferralEvent {
  const event = value as Partial<ReferralEvent> | null;
  if (event?.type === "partnercenter.referral.v1" && event.id && event.subject && event.data) return event as ReferralEvent;
  throw new UnreadableError("not an event of type partnercenter.referral.v1");
}

/** What is known of the referrals. */
export class Store {
  private readonly seen = new Set<string>();
  private readonly latest = new Map<string, ReferralEvent>();

  constructor(private readonly path: string) {
    const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];
    for (const line of lines) this.remember(JSON.parse(line));
  }

  /** Store an event's referral. Returns whether it is news: no duplicate, and nothing older than what is known. */
  add(event: ReferralEvent): boolean {
    if (this.seen.has(event.id)) return false;
    appendFileSync(this.path, `${JSON.stringify(event)}\n`, { flush: true });
    return this.remember(event);
  }

  private remember(event: ReferralEvent): boolean {
    this.seen.add(event.id);
    const known = this.latest.get(event.subject);
    if (known && (event.sequence ?? "") < (known.sequence ?? "")) return false;
    this.latest.set(event.subject, event);
    return true;
  }
}
