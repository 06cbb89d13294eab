// The router in nginx (njs, QuickJS): it decides, waits and polls here; nginx itself sends the request and the answer.
//
// Invariants: those of components/router/worker.mjs. And:
// - All workers share what is known: a flag is its own key in a shared dictionary, and the highest key is the flag. Adding
//   one cannot take a higher one away, whichever worker comes first.
// - A request is sent by an internal redirect to @<side>_read or @<side>_write (configuration.py); nginx keeps its body.
//   Back here it comes through @again (421, or a read that failed) or @lost (a write whose outcome nobody knows).
// - nginx redirects a request ten times at most and every try takes two. So after its second 421 a write is sent again
//   only when the origin itself says that it may (its /__zdm/flag); a fifth 421 is answered with 503, nothing executed.

import {
  FIRST, SAFE, SIDES, bucketOf, decide, forcedSide, mayRead, newer, other, ownWriteCookie, parseFlag, userOf, wroteJustNow,
} from "flag.mjs";

const READ_PATIENCE_MS = 3000;      // how long a read that no side may serve is tried again
const POLL_LEASE_MS = 1500;         // a poll that has not ended by then is somebody else's to make
const TRIES = 5;                    // of one request: what nginx's redirects allow

const { SALT = "", HOLD_MS, MAX_HELD, READ_YOUR_WRITES_MS, FORCE_TOKEN } = process.env;
const ORIGINS = { mysql: process.env.MYSQL_ORIGIN, aurora: process.env.AURORA_ORIGIN };

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const nameOf = (r) => `${r.variables.connection}.${r.variables.connection_requests}`;      // of a request, in all workers
const headerOf = (r) => (name) => r.headersIn[name];

// The highest flag that any worker has seen.
function known() {
  let best = null;
  for (const text of ngx.shared.flags.keys()) {
    const f = parseFlag(text);
    if (newer(f, best)) best = f;
  }
  return best ?? FIRST;
}

function adopt(text) {
  const f = text ? parseFlag(text) : null;
  if (f === null || !newer(f, known())) return;
  const { flags } = ngx.shared;
  flags.add(JSON.stringify(f), "");
  const best = known();
  for (const key of flags.keys()) if (newer(best, parseFlag(key))) flags.delete(key);
}

async function askOrigin(side) {
  try {
    const answer = await ngx.fetch(`${ORIGINS[side]}/__zdm/flag`);       // for a second at most: js_fetch_timeout
    const text = await answer.text();
    if (!answer.ok || parseFlag(text) === null) return;
    ngx.shared.said.set(side, text);
    adopt(text);
  } catch { /* the other one, or the next time */ }
}

// All the time, beside the requests: in one worker, at a short interval (configuration.py).
async function poll() {
  await Promise.all(SIDES.map(askOrigin));
}

// One step of waiting for a newer flag. One request of all workers asks the origins, the others wait.
async function awaitNews(since) {
  const age = Date.now() - since, { lease } = ngx.shared;
  const pause = age < 2000 ? 25 : age < 10000 ? 100 : 250;
  if (lease.add("poll", "", POLL_LEASE_MS)) {
    await poll();
    lease.set("poll", "", pause);
  } else {
    await sleep(pause + Math.random() * 10);
  }
}

// Whether a side itself says that it may write, with no older a flag than ours.
function opened(side, f) {
  const said = parseFlag(ngx.shared.said.get(side) ?? null);
  return said !== null && !newer(f, said) && said.mode === side && said.writes === "open";
}

function refuse(r, status, code, detail, why = code, side = "none") {
  r.headersOut["content-type"] = "application/json";
  r.headersOut["cache-control"] = "no-store";
  r.headersOut["x-zdm-route"] = side;
  r.headersOut["x-zdm-why"] = why;
  if (status === 503) r.headersOut["retry-after"] = "1";
  r.return(status, JSON.stringify({ error: { code, detail: [detail] } }));
}

function send(r, side, why, f, forced) {
  const v = r.variables;
  v.zdm_tries = String(Number(v.zdm_tries) + 1);
  [v.zdm_sent, v.zdm_why] = [JSON.stringify(f), why];
  [v.zdm_epoch, v.zdm_v, v.zdm_forced] = [String(f.epoch), String(f.v), forced ? "1" : ""];
  r.internalRedirect(`@${side}_${SAFE.has(r.method) ? "read" : "write"}`);
}

// Whether a write may wait: each that does holds a JavaScript context, and memory is bounded. One whose client has gone
// is not counted for longer than it would have waited.
function mayWait(r) {
  const { waiting } = ngx.shared, id = nameOf(r);
  return waiting.has(id) || (waiting.size() < Number(MAX_HELD) && waiting.add(id, "", Number(HOLD_MS)));
}

async function write(r, since, why) {
  const v = r.variables, header = headerOf(r), forced = forcedSide(header, FORCE_TOKEN);
  const bucket = bucketOf(userOf(header), SALT), until = since + Number(HOLD_MS);
  for (;;) {
    const f = known(), choice = decide(f, { write: true, bucket, forced });
    if (choice.why === "rejected") return refuse(r, 503, "rejected", "writes are not accepted now, nothing was executed");
    const tries = Number(v.zdm_tries), news = tries === 1 && newer(f, parseFlag(v.zdm_sent));
    if (forced !== null && tries > 0) return refuse(r, 421, "fenced", "nothing was executed", "forced", forced);
    if (choice.to !== null && (tries === 0 || news || opened(choice.to, f))) {
      if (tries >= TRIES) break;
      if (why === "held") v.zdm_held = String(Date.now() - since);
      const elsewhere = decide(f, { write: false, bucket }).to !== choice.to;
      v.zdm_mark = forced === null && elsewhere ? ownWriteCookie(Number(READ_YOUR_WRITES_MS), v.zdm_scheme === "https") : "";
      if (why !== null) ngx.shared.waiting.delete(nameOf(r));
      return send(r, choice.to, why ?? choice.why, f, forced !== null);
    }
    if (choice.to === null) why = "held";
    if (Date.now() >= until) break;
    if (!mayWait(r)) return refuse(r, 503, "held", "too many writes are held, nothing was executed", "hold-full");
    await awaitNews(since);
  }
  ngx.shared.waiting.delete(nameOf(r));
  refuse(r, 503, "held", "writes are held, nothing was executed", "hold-timeout");
}

function chosen(r, f) {
  const header = headerOf(r);
  return decide(f, {
    write: false, bucket: bucketOf(userOf(header), SALT),
    wrote: wroteJustNow(header, Number(READ_YOUR_WRITES_MS)), forced: forcedSide(header, FORCE_TOKEN),
  });
}

async function readAgain(r, since) {
  const v = r.variables, sent = parseFlag(v.zdm_sent), status = Number(v.upstream_status.slice(-3)), refused = status === 421;
  for (;;) {
    const f = known(), choice = chosen(r, f), side = v.zdm_side;
    if (choice.why === "forced") return refuse(r, status, refused ? "fenced" : "unreachable", "no answer", "forced", side);
    if (Number(v.zdm_tries) < TRIES) {
      if (refused && newer(f, sent)) {
        v.zdm_avoid = "";
        return send(r, choice.to, "fenced", f, false);
      }
      if (choice.why === "weight" && v.zdm_avoid === "" && mayRead(f, other(side))) {
        v.zdm_avoid = side;
        return send(r, other(side), "fallback", f, false);
      }
    }
    if (!refused) return refuse(r, status, status === 503 ? "unavailable" : "unreachable", "no answer", "lost", side);
    if (Date.now() - since >= READ_PATIENCE_MS) return refuse(r, 503, "fenced", "no side may serve this read now");
    await awaitNews(since);
  }
}

// Every request comes in here.
async function route(r) {
  const since = Date.now(), v = r.variables;
  v.zdm_since = String(since);
  if (!SAFE.has(r.method)) return write(r, since, null);
  const f = known(), choice = chosen(r, f);
  send(r, choice.to, choice.why, f, choice.why === "forced");
}

// An origin refused it (421: it executed nothing), or a read got no answer worth having.
async function again(r) {
  const v = r.variables, since = Number(v.zdm_since);
  adopt(v.upstream_http_x_zdm_flag);
  if (SAFE.has(r.method)) return readAgain(r, since);
  return write(r, since, v.zdm_held ? "held" : "fenced");
}

// An answer had a flag newer than the one that the request was sent with (a variable, so that it is called only then).
function learn(r) {
  adopt(r.variables.upstream_http_x_zdm_flag);
  return "";
}

function lost(r) {
  refuse(r, 502, "unknown-outcome", "the write happened, or did not", "lost", r.variables.zdm_side);
}

function health(r) {
  const { user } = r.args, bucket = user === undefined ? {} : { bucket: bucketOf(user, SALT) };
  r.headersOut["content-type"] = "application/json";
  r.headersOut["cache-control"] = "no-store";
  r.return(200, JSON.stringify({ ok: true, flag: known(), holdMs: Number(HOLD_MS), ...bucket }));
}

const hidden = (r) => refuse(r, 404, "not-found", "not for clients");

export default { again, health, hidden, learn, lost, poll, route };
