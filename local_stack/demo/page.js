"use strict";

const byId = (id) => document.getElementById(id);
const SHOWN = 100;
const FETCHING = "fetching";
const QUEUE = "queue";
const COMMAND = "command";
const FOUND = "found by reconciliation";
const FOLDED = { first: 2, last: 5 }; // the steps of a long trail that stay visible
const narrow = matchMedia("(max-width: 1100px)");

/* Rows by referral ID, or by message ID if the message names no referral. */
const names = new Map();
const rows = new Map();
const changed = new Set();
const outcomeCounts = { events: 0, rejects: 0 };
let live = false; // false while the history is replayed
let shown = null; // the row whose document is open
let keeps = false; // whether events and rejects stay on their queues

/* ---- the stream ---- */

function connect() {
  const stream = new EventSource("local/stream");
  stream.onmessage = (message) => take(JSON.parse(message.data));
  stream.onerror = () => {
    live = false;
    say("connection", "Disconnected", "gone");
    trouble("The local stack has stopped. Start it with “make run”; this page reconnects automatically.");
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
}

function take(record) {
  if (record.kind === "hello") start(record);
  else if (record.kind === "now") present(record);
  else if (record.kind === "outcome") outcome(record);
  else stage(record);
}

function start(record) {
  shown = null;
  place();
  rows.clear();
  byId("referrals").replaceChildren();
  outcomeCounts.events = outcomeCounts.rejects = 0;
  keeps = record.keep;
  for (const label of document.querySelectorAll(".kept")) label.textContent = keeps ? "on the queue" : "received";
  byId("schedule").textContent = record.schedule.replaceAll(",", ", ");
  const select = byId("referral");
  const before = names.size ? select.value : record.referrals[1]?.id;
  for (const { id, name } of record.referrals) {
    if (!names.has(id)) select.lastElementChild.before(new Option(name, id));
    names.set(id, name);
  }
  select.value = before;
  select.dispatchEvent(new Event("change"));
  draw();
}

function present(record) {
  live = true;
  say("connection", "Connected", "live");
  if (record.waiting === undefined) return;
  if (record.app === false) trouble("The app has stopped. Restart it with “make run”.");
  else if (record.waiting === null) trouble("The queues do not respond. If this stays, restart “make run”.");
  else trouble("");
  byId("requests").textContent = record.waiting ? record.waiting.requests : "–";
  if (keeps && record.waiting) for (const queue of ["events", "rejects"]) byId(queue).textContent = record.waiting[queue];
  const { partnerCenter, dropped, token, events } = record.faults;
  const form = byId("faults").elements;
  byId("other-fault").hidden = partnerCenter !== "other";
  form.partnerCenter.value = partnerCenter;
  form.dropped.checked = dropped;
  form.token.checked = token;
  form.events.checked = events;
}

/* ---- referrals and their stages ---- */

function rowOf(referralId, messageId) {
  const key = referralId ?? messageId;
  const row = rows.get(key) ?? { key, named: Boolean(referralId), steps: [], state: "", tone: "", due: 0, documents: [] };
  rows.delete(key); // the Map's order is that of the last activity
  rows.set(key, row);
  changed.delete(key);
  changed.add(key);
  requestAnimationFrame(draw);
  return rows.get(key);
}

function stage(record) {
  if (record.event === "reconcile.finished" && live) say("faulty", `Reconciled: ${record.listed} changed, ${record.requested} requested.`);
  if (record.event === "webhook.refused") record.messageId = `notification at ${clock(record.at)}`;
  const onStage = STAGES[record.kind === "log" ? record.event : record.kind];
  if (onStage && (record.referralId || record.messageId)) onStage(rowOf(record.referralId, record.messageId), record);
}

const STAGES = {
  received(row, { by, at }) {
    if (row.ended) Object.assign(row, { steps: [], ended: false, reason: "", detail: "" });
    row.isLogged = by !== QUEUE;
    row.steps.push(`${clock(at)} received by ${by}`);
    become(row, "Received");
  },
  dropped(row, { at }) {
    Object.assign(row, { steps: [`${clock(at)} notification dropped`], reason: "" });
    become(row, "Changed, and not announced", "wait");
    news(row, "changed, and not announced");
  },
  "webhook.accepted": (row, { at }) => STAGES.received(row, { by: "webhook", at }),
  fetching(row, { at }) {
    if (row.ended || !row.steps.length) STAGES.received(row, { by: QUEUE, at });
    if (row.steps.at(-1) !== FETCHING) row.steps.push(FETCHING);
    become(row, "Fetching");
  },
  "upstream.answered"(row, { status, seconds, cause }) {
    const isFetching = row.steps.at(-1) === FETCHING;
    if (cause === "reconcile" && !row.steps.includes(FOUND)) row.steps.splice(isFetching ? -1 : row.steps.length, 0, FOUND);
    answered(row, String(status), seconds);
  },
  "upstream.failed"(row, { error, seconds }) { answered(row, error === "timeout" ? "no answer" : error, seconds); },
  "attempt.failed"(row, { reason, status }) {
    if (status === 200) answered(row, "200");
    row.reason = reason;
    if (row.ended) showCallerError(row);
  },
  responded(row, { status, reason, detail }) {
    row.steps.push(`caller got ${status}`);
    Object.assign(row, { status, reason: row.reason || reason, detail });
    if (status >= 400) showCallerError(row);
  },
  "referral.deferred"(row, { seconds, reason, attempt, at }) {
    row.due = Date.parse(at) + seconds * 1000;
    row.steps.push(`deferred ${seconds} s`);
    become(row, `Deferred, ${reason}`, "wait");
    row.attempt = attempt;
    news(row, `deferred for ${seconds} seconds, ${reason}`);
  },
  "referral.forwarded"(row, event) {
    row.steps = row.steps.filter((text) => text !== "forwarded"); // its event may have come first
    STAGES["upstream.answered"](row, event);
    step(row, "forwarded");
    become(row, row.attempt ? "Forwarded after retries" : "Forwarded", "good", true);
    news(row, "forwarded");
  },
  "referral.unchanged"(row, event) {
    STAGES["upstream.answered"](row, event);
    row.steps.push("unchanged");
    become(row, "Unchanged: this version was published before", "good", true);
    news(row, "unchanged");
  },
  "referral.rejected"(row, { reason, at }) {
    if (!row.steps.length) STAGES.received(row, { by: "queue", at });
    row.steps.push("rejected");
    become(row, `Rejected, ${reason}`, "bad", true);
    news(row, `rejected, ${reason}`);
  },
  refused(row, { what, detail, at }) {
    Object.assign(row, { what, steps: [`${clock(at)} refused`] });
    become(row, `Refused: ${detail}`, "bad", true);
    news(row, `refused, ${detail}`);
  },
  "webhook.refused": (row, { check, detail, at }) =>
    STAGES.refused(row, { what: "Notification", detail: `${detail} (check: ${check})`, at }),
  "handover.failed"(row, { reason }) {
    row.steps.push(`hand-over failed, ${reason}`);
    become(row, "Awaiting redelivery", "wait");
  },
  "message.held": (row, { seconds }) => become(row, `Put back for ${seconds} s`, "wait"),
};

function become(row, state, tone = "", ended = false) {
  if (tone !== "wait") row.due = 0;
  if (ended) row.attempt = 0;
  Object.assign(row, { state, tone, ended });
}

/** The response may arrive before the log event that explains it. */
function showCallerError(row) {
  const why = row.status === 400 && row.detail ? `: ${row.detail}` : "";
  become(row, `Caller got ${row.status}${row.reason ? `, ${row.reason}` : ""}${why}`, "bad", true);
  news(row, `the caller got ${row.status}`);
}

function step(row, text) {
  row.steps.splice(/^caller got/.test(row.steps.at(-1) ?? "") ? -1 : row.steps.length, 0, text);
}

/** Consecutive attempts with the same result are shown as one step. */
function answered(row, how, seconds) {
  if (!row.isLogged && row.steps[0]) row.steps[0] = row.steps[0].replace(COMMAND, QUEUE);
  row.isLogged = true;
  const callerStep = /^caller got/.test(row.steps.at(-1) ?? "") ? row.steps.pop() : "";
  if (row.steps.at(-1) === FETCHING) row.steps.pop();
  const took = seconds === undefined ? "" : ` in ${seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`}`;
  const [, before, times] = /^fetch: (.+?)(?: ×(\d+)| in .*)?$/.exec(row.steps.at(-1) ?? "") ?? [];
  if (before === how) row.steps[row.steps.length - 1] = `fetch: ${how} ×${Number(times ?? 1) + 1}`;
  else row.steps.push(`fetch: ${how}${took}`);
  if (callerStep) row.steps.push(callerStep);
}

function outcome({ queue, document: cloudEvent }) {
  outcomeCounts[queue] += 1;
  byId(queue).textContent = outcomeCounts[queue];
  const row = rowOf(cloudEvent.subject, cloudEvent.id.split("/")[0]);
  row.documents.push({ queue, cloudEvent });
  if (queue === "events" && row.isLogged === false) publishedByCommand(row);
  if (shown === row) fill(row);
  if (cloudEvent.changed) step(row, `changed: ${cloudEvent.changed.replaceAll(",", ", ")}`);
}

/** A command forwards referrals by itself: the app's log says nothing of them. */
function publishedByCommand(row) {
  row.steps[0] = row.steps[0].replace(QUEUE, COMMAND);
  if (row.steps.at(-1) === FETCHING) row.steps.pop();
  step(row, "forwarded");
  become(row, "Forwarded", "good", true);
}

const clock = (at) => new Date(at).toLocaleTimeString("en-GB");
const title = (row) => names.get(row.key) ?? row.what ?? (row.named ? "Unknown referral" : "Message without a referral ID");

function news(row, what) {
  if (live) byId("news").append(Object.assign(document.createElement("span"), { textContent: `${title(row)}: ${what}. ` }));
  while (byId("news").childElementCount > 20) byId("news").firstElementChild.remove();
}

/* ---- drawing ---- */

function draw() {
  for (const key of changed) if (rows.has(key)) drawRow(rows.get(key));
  changed.clear();
  byId("none").hidden = rows.size > 0;
}

function drawRow(row) {
  if (!row.item) {
    row.item = make("li", live ? "new" : "");
    row.title = make("h3");
    row.id = make("p", "id", row.key);
    row.actions = make("div", "actions");
    row.stateLine = make("p", "state");
    row.trail = make("ol", "trail");
    row.button = make("button");
    row.button.type = "button";
    row.button.addEventListener("click", () => show(row));
    row.actions.append(row.button);
    row.item.append(row.title, row.actions, row.id, row.stateLine, row.trail);
    row.title.textContent = title(row);
    while (rows.size > SHOWN) {
      const [key, oldest] = rows.entries().next().value;
      if (oldest === shown) {
        shown = null;
        place();
      }
      oldest.item?.remove();
      rows.delete(key);
    }
  }
  if (byId("referrals").firstElementChild !== row.item) {
    const focused = row.item.contains(document.activeElement) ? document.activeElement : null;
    byId("referrals").prepend(row.item);
    focused?.focus({ preventScroll: true });
  }
  const latest = row.documents.at(-1);
  row.button.hidden = !latest;
  if (latest) {
    row.button.textContent = latest.queue === "events" ? "Event" : "Reject";
    row.button.setAttribute("aria-label", `${row.button.textContent} of ${title(row)}`);
  }
  drawTrail(row);
  row.stateLine.className = `state ${row.tone}`;
  drawState(row);
}

function drawTrail(row) {
  const items = row.steps.map((text) => make("li", "", text));
  const middle = items.slice(FOLDED.first, -FOLDED.last);
  if (middle.length > 1 && !row.unfolded) {
    const more = make("button", "more", `${middle.length} more steps`);
    more.type = "button";
    more.addEventListener("click", () => {
      row.unfolded = true;
      drawTrail(row);
      row.trail.children[FOLDED.first].tabIndex = -1;
      row.trail.children[FOLDED.first].focus();
    });
    const fold = make("li");
    fold.append(more);
    items.splice(FOLDED.first, middle.length, fold);
  }
  const hadFocus = row.trail.contains(document.activeElement);
  row.trail.replaceChildren(...items);
  if (hadFocus) row.trail.querySelector(".more")?.focus({ preventScroll: true });
}

function drawState(row) {
  const left = Math.max(0, Math.ceil((row.due - Date.now()) / 1000));
  row.stateLine.textContent = row.due ? `${row.state}; again ${left ? `in ${left} s` : "any moment"}` : row.state;
}

setInterval(() => {
  for (const row of rows.values()) if (row.due && row.item) drawState(row);
}, 1000);

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/* ---- the event or reject ---- */

function show(row) {
  shown = row;
  fill(row);
  place();
  say("copied", "");
  byId("json").scrollTop = 0;
  byId("document-title").focus();
  if (narrow.matches) row.item.scrollIntoView();
}

/** Where the window is narrow, the document opens under its row; else it has a column of its own. */
function place() {
  const isInline = narrow.matches && shown;
  (isInline ? shown.item : byId("columns")).append(byId("document"));
  byId("back").hidden = !isInline;
  byId("document").hidden = narrow.matches && !shown;
}

narrow.addEventListener("change", place);
place();

byId("back").addEventListener("click", () => {
  const { button } = shown;
  shown = null;
  place();
  button.focus();
});

const latestOf = (row) => row.documents.at(-1).cloudEvent;

function fill(row) {
  const { queue } = row.documents.at(-1);
  const text = JSON.stringify(latestOf(row), null, 2);
  byId("document-title").textContent = `${queue === "events" ? "Event" : "Reject"}: ${title(row)}`;
  byId("nothing").hidden = true;
  byId("document-actions").hidden = byId("json").hidden = false;
  const parts = text.split(/("(?:[^"\\]|\\.)*")(?=(:)?)/g);
  const pre = byId("json");
  pre.replaceChildren();
  for (let at = 0; at < parts.length; at += 3) {
    pre.append(parts[at]);
    if (parts[at + 1]) pre.append(make("span", parts[at + 2] ? "name" : "string", parts[at + 1]));
  }
}

byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(JSON.stringify(latestOf(shown), null, 2));
    say("copied", "Copied.");
  } catch {
    say("copied", "The browser does not allow copying. Select the text instead.", "bad");
  }
});

byId("again").addEventListener("click", (event) => act(event.currentTarget, "copied", async () => {
  await call("POST", "local/requests", JSON.stringify(latestOf(shown)));
  return "Sent to referral-requests.";
}));

/* ---- sending, and injecting faults ---- */

async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, { method, body });
  } catch {
    throw new Error("The local stack does not respond. Start it with “make run”.");
  }
  const result = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(result.error ?? `${response.status} ${result.title ?? response.statusText}. ${result.detail ?? ""}`);
  return { status: response.status, result };
}

/** Run one action at a time, and show its result. */
async function act(button, where, work) {
  if (button?.getAttribute("aria-disabled") === "true") return;
  button?.setAttribute("aria-disabled", "true");
  say(where, "");
  try {
    say(where, await work());
  } catch (error) {
    say(where, error.message, "bad");
  } finally {
    button?.removeAttribute("aria-disabled");
  }
}

const SENDERS = {
  async http(id) {
    const { status } = await call("POST", `api/referrals/${encodeURIComponent(id)}`);
    return `Response: ${status} with the event.`;
  },
  async queue(id) {
    await call("POST", "local/requests", id);
    return "Sent to referral-requests.";
  },
  async webhook(id) {
    const { result } = await call("POST", "local/notifications", JSON.stringify({ referralId: id }));
    if (!result.attempts) return "Changed in Partner Center. Its notification was dropped.";
    return `Changed in Partner Center. Response to its notification: ${result.status ?? "none"}.`;
  },
};

byId("send").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = byId("referral").value || byId("other").value.trim();
  if (!id) {
    say("sent", "Enter an ID or a message first.", "bad");
    byId("other").focus();
    return;
  }
  const by = event.target.elements.by.value;
  act(event.target.querySelector("button"), "sent", () => SENDERS[by](id));
});

byId("referral").addEventListener("change", () => { byId("other-field").hidden = byId("referral").value !== ""; });

byId("faults").addEventListener("submit", (event) => event.preventDefault());
byId("faults").addEventListener("change", setFaults);
byId("reconcile").addEventListener("click", (event) => act(event.currentTarget, "faulty", async () => {
  await call("POST", "local/reconciliations");
  return "Reconciling.";
}));
byId("works").addEventListener("click", () => {
  byId("faults").reset();
  setFaults();
});

function setFaults() {
  const { partnerCenter, dropped, token, events } = byId("faults").elements;
  const wanted = { partnerCenter: partnerCenter.value, dropped: dropped.checked, token: token.checked, events: events.checked };
  act(null, "faulty", async () => {
    await call("PUT", "local/faults", JSON.stringify(wanted));
    return Object.values(wanted).some(Boolean) ? "Faults are active." : "No faults.";
  });
}

function say(id, text, className = "") {
  const element = byId(id);
  element.textContent = text;
  element.classList.remove("bad", "live", "gone");
  if (className) element.classList.add(className);
}

function trouble(text) {
  const element = byId("trouble");
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

connect();
