"use strict";

const byId = (id) => document.getElementById(id);
const SHOWN = 100;
const FETCHING = "fetching";
const FOUND = "found by reconciliation";

/* Rows by referral ID, or by message ID if the message names no referral. */
const names = new Map();
const rows = new Map();
const changed = new Set();
const outcomeCounts = { events: 0, rejects: 0 };
let live = false; // false while the history is replayed
let shown = null;

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
  rows.clear();
  byId("referrals").replaceChildren();
  outcomeCounts.events = outcomeCounts.rejects = 0;
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
  else if (record.waiting === null) trouble("The queues do not respond.");
  else trouble("");
  byId("requests").textContent = record.waiting ? record.waiting.requests : "–";
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
  if (!rows.has(key)) rows.set(key, { key, named: Boolean(referralId), steps: [], state: "", tone: "", due: 0, documents: [] });
  changed.add(key);
  requestAnimationFrame(draw);
  return rows.get(key);
}

function stage(record) {
  if (record.event === "reconcile.finished" && live) say("faulty", `Reconciled: ${record.listed} changed, ${record.requested} requested.`);
  const onStage = STAGES[record.kind === "log" ? record.event : record.kind];
  if (onStage && (record.referralId || record.messageId)) onStage(rowOf(record.referralId, record.messageId), record);
}

const STAGES = {
  received(row, { by, at }) {
    if (row.ended) Object.assign(row, { steps: [], ended: false, reason: "" });
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
    if (row.ended || !row.steps.length) STAGES.received(row, { by: "queue", at });
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
  responded(row, { status }) {
    row.steps.push(`caller got ${status}`);
    row.status = status;
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
  become(row, `Caller got ${row.status}${row.reason ? `, ${row.reason}` : ""}`, "bad", true);
  news(row, `the caller got ${row.status}`);
}

function step(row, text) {
  row.steps.splice(/^caller got/.test(row.steps.at(-1) ?? "") ? -1 : row.steps.length, 0, text);
}

/** Consecutive attempts with the same result are shown as one step. */
function answered(row, how, seconds) {
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
  if (cloudEvent.changed) step(row, `changed: ${cloudEvent.changed.replaceAll(",", ", ")}`);
}

const clock = (at) => new Date(at).toLocaleTimeString("en-GB");
const title = (row) => names.get(row.key) ?? (row.named ? row.key : "Message without a referral ID");

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
    row.actions = make("div", "actions");
    row.stateLine = make("p", "state");
    row.trail = make("ol", "trail");
    row.button = make("button");
    row.button.type = "button";
    row.button.addEventListener("click", () => show(row));
    row.actions.append(row.button);
    row.item.append(row.title, row.actions, row.stateLine, row.trail);
    row.title.textContent = title(row);
    row.title.title = row.key;
    byId("referrals").prepend(row.item);
    while (rows.size > SHOWN) {
      const [key, oldest] = rows.entries().next().value;
      oldest.item?.remove();
      rows.delete(key);
    }
  }
  const latest = row.documents.at(-1);
  row.button.hidden = !latest;
  if (latest) {
    row.button.textContent = latest.queue === "events" ? "Event" : "Reject";
    row.button.setAttribute("aria-label", `${row.button.textContent} of ${title(row)}`);
  }
  row.trail.replaceChildren(...row.steps.slice(-8).map((text) => make("li", "", text)));
  row.stateLine.className = `state ${row.tone}`;
  drawState(row);
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
  shown = row.documents.at(-1);
  const text = JSON.stringify(shown.cloudEvent, null, 2);
  byId("document-title").textContent = `${shown.queue === "events" ? "Event" : "Reject"}: ${title(row)}`;
  byId("nothing").hidden = true;
  byId("document-actions").hidden = byId("json").hidden = false;
  const parts = text.split(/("(?:[^"\\]|\\.)*")(?=(:)?)/g);
  const pre = byId("json");
  pre.replaceChildren();
  for (let at = 0; at < parts.length; at += 3) {
    pre.append(parts[at]);
    if (parts[at + 1]) pre.append(make("span", parts[at + 2] ? "name" : "string", parts[at + 1]));
  }
  pre.scrollTop = 0;
  say("copied", "");
  byId("document-title").focus();
}

byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(JSON.stringify(shown.cloudEvent, null, 2));
    say("copied", "Copied.");
  } catch {
    say("copied", "The browser does not allow copying. Select the text instead.", "bad");
  }
});

byId("again").addEventListener("click", (event) => act(event.currentTarget, "copied", async () => {
  await call("POST", "local/requests", JSON.stringify(shown.cloudEvent));
  return "Sent to referral-requests.";
}));

/* ---- sending, and injecting faults ---- */

async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, { method, body });
  } catch {
    throw new Error("The local stack does not respond.");
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
