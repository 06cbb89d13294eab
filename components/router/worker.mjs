// The router in front of both origins: sticky reads by weight, writes to the side that may write, held while neither may.
//
// Invariants:
// - The flag is a hint that only ever moves forward: it is adopted when its (epoch, v) is higher, wherever it comes from
//   (KV, an answer's `x-zdm-flag`, an origin's `/__zdm/flag`). The databases are the fence; a stale router is slow, never wrong.
// - A write is sent again after a 421 only: the origin says that it executed nothing. After a timeout or a lost connection
//   nobody knows, and the answer says so (`unknown-outcome`).
// - A read goes to the other side only where the flag lets that side serve reads.
// - Between requests only values are kept, never promises, streams or timers: the runtime ties those to one request.
//
// Bindings: FLAGS (KV namespace), FLAG_KEY, SALT, MYSQL_ORIGIN, AURORA_ORIGIN (base URLs), HOLD_MS, FORCE_TOKEN; optional
// FLAG_TTL_MS, READ_YOUR_WRITES_MS, ORIGIN_TIMEOUT_MS, MAX_BODY_BYTES.

const BUCKETS = 10000;
const SIDES = ["mysql", "aurora"];
const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);
const FIRST = Object.freeze({ v: 0, epoch: 0, weight: 0, writes: "open", mode: "mysql" });   // nothing known: the source serves
const READ_PATIENCE_MS = 3000;      // how long a read that no side may serve is tried again
const POLL_LEASE_MS = 1500;         // a poll that has not ended by then is somebody else's to make

let flag = null;                    // the highest flag seen by this isolate
let readAt = 0;                     // when KV was last asked (ms)
let mayPollAt = 0;                  // from when on the next held request may ask the origins (ms)

// The user's bucket, 0..9999: FNV-1a over the UTF-16 code units of `salt:user`, finished as MurmurHash3's fmix32.
// contract/flag.py computes the same.
export function bucketOf(user, salt) {
  const text = `${salt}:${user}`;
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 16;
  return (h >>> 0) % BUCKETS;
}

// The flag in the text, or null if it holds none: whoever calls keeps what it has.
export function parseFlag(text) {
  let f;
  try { f = JSON.parse(text); } catch { return null; }
  if (f === null || typeof f !== "object") return null;
  const { v, epoch, weight, writes, mode } = f;
  const whole = (n) => Number.isSafeInteger(n) && n >= 0;
  if (!whole(v) || !whole(epoch) || typeof weight !== "number" || !(weight >= 0 && weight <= 100)) return null;
  if (!["open", "hold", "reject"].includes(writes) || !SIDES.includes(mode)) return null;
  return { v, epoch, weight, writes, mode };
}

export function newer(a, b) {
  return b === null || a.epoch > b.epoch || (a.epoch === b.epoch && a.v > b.v);
}

// Whether a side may serve reads: after the cutover MySQL's rows are old, and before the pilot Aurora's may be.
export function mayRead(f, side) {
  return f.mode === side || (side === "mysql" ? f.weight < 100 : f.weight > 0);
}

// Where a request goes and why. `to` is null where a write has to wait ("held") or is refused ("rejected").
export function decide(f, { write, bucket, wrote = false, forced = null }) {
  if (forced !== null) return { to: forced, why: "forced" };
  if (write) {
    if (f.writes === "open") return { to: f.mode, why: "writer" };
    return { to: null, why: f.writes === "hold" ? "held" : "rejected" };
  }
  if (wrote) return { to: f.mode, why: "own-write" };
  return { to: bucket < Math.round(f.weight * 100) ? "aurora" : "mysql", why: "weight" };
}

const other = (side) => (side === "mysql" ? "aurora" : "mysql");

function adopt(text) {
  const f = text ? parseFlag(text) : null;
  if (f !== null && newer(f, flag)) flag = f;
}

async function readFlag(env) {
  readAt = Date.now();
  try {
    adopt(await env.FLAGS.get(env.FLAG_KEY || "flag"));
  } catch (e) {
    console.error(`the flag cannot be read from KV: ${e}`);
  }
}

async function askOrigin(env, side) {
  try {
    const answer = await fetch(originOf(env, side) + "/__zdm/flag", { signal: AbortSignal.timeout(1000) });
    const text = await answer.text();
    if (answer.ok) adopt(text);
  } catch { /* the other one, or the next time */ }
}

// Brings the flag up to date: at first before anything else, later beside the request that finds it old.
async function refresh(env, ctx) {
  if (flag === null) {
    await readFlag(env);
    if (flag === null) await Promise.all(SIDES.map((side) => askOrigin(env, side)));
    flag ??= FIRST;
  } else if (Date.now() - readAt > number(env.FLAG_TTL_MS, 1000)) {
    ctx.waitUntil(readFlag(env));
  }
}

// One step of waiting for a newer flag. One request of the isolate asks the origins and now and then KV, the others wait.
async function awaitNews(env, since) {
  const now = Date.now(), age = now - since;
  const pause = age < 2000 ? 25 : age < 10000 ? 100 : 250;       // a long hold must not use up the request's subrequests
  if (now < mayPollAt) {
    await scheduler.wait(pause + Math.random() * 10);
    return;
  }
  mayPollAt = now + POLL_LEASE_MS;
  const asked = SIDES.map((side) => askOrigin(env, side));
  if (now - readAt > 1000) asked.push(readFlag(env));
  await Promise.all(asked);
  mayPollAt = Date.now() + pause;
}

function originOf(env, side) {
  return (side === "aurora" ? env.AURORA_ORIGIN : env.MYSQL_ORIGIN).replace(/\/+$/, "");
}

function number(text, fallback) {
  const n = Number(text);
  return text !== undefined && text !== "" && Number.isFinite(n) && n >= 0 ? n : fallback;
}

function cookie(request, name) {
  const match = new RegExp(`(?:^|;\\s*)${name}=([^;]*)`).exec(request.headers.get("cookie") || "");
  return match ? match[1] : null;
}

function userOf(request) {
  return request.headers.get("x-user-id") || cookie(request, "uid") || request.headers.get("cf-connecting-ip") || "anonymous";
}

function forcedSide(request, env) {
  const side = request.headers.get("x-zdm-force"), token = request.headers.get("x-zdm-force-token");
  return SIDES.includes(side) && env.FORCE_TOKEN && token && sameText(token, env.FORCE_TOKEN) ? side : null;
}

function sameText(a, b) {                                        // takes as long for a nearly right token as for a wrong one
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i % b.length);
  return difference === 0;
}

// The body as bytes, undefined if there is none, null if it is longer than `bound`.
async function bodyOf(request, bound) {
  if (Number(request.headers.get("content-length")) > bound) return null;
  if (request.body === null) return undefined;
  const reader = request.body.getReader(), chunks = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > bound) {
      await reader.cancel();
      return null;
    }
    chunks.push(value);
  }
  const body = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) { body.set(chunk, at); at += chunk.byteLength; }
  return body;
}

function send(env, side, request, url, body, f, forced) {
  const headers = new Headers(request.headers);
  for (const name of [...headers.keys()]) if (name.startsWith("x-zdm-")) headers.delete(name);
  for (const name of ["host", "content-length", "transfer-encoding"]) headers.delete(name);
  headers.set("x-zdm-epoch", String(f.epoch));
  headers.set("x-zdm-v", String(f.v));
  if (forced) headers.set("x-zdm-forced", "1");
  headers.set("x-forwarded-host", url.host);
  headers.set("x-forwarded-proto", url.protocol.slice(0, -1));
  return fetch(originOf(env, side) + url.pathname + url.search, {
    method: request.method, headers, body, redirect: "manual",
    signal: AbortSignal.timeout(number(env.ORIGIN_TIMEOUT_MS, 30000)),
  });
}

function finish(answer, side, why, heldMs = 0, more = {}) {
  const out = new Response(answer.body, answer);
  out.headers.delete("x-zdm-flag");
  out.headers.set("x-zdm-route", side);
  out.headers.set("x-zdm-why", why);
  if (heldMs > 0) out.headers.set("x-zdm-held-ms", String(heldMs));
  for (const [name, value] of Object.entries(more)) out.headers.append(name, value);
  return out;
}

function refuse(status, code, detail, why = code, more = {}) {
  return Response.json({ error: { code, detail: [detail] } },
                       { status, headers: { "x-zdm-route": "none", "x-zdm-why": why, "cache-control": "no-store", ...more } });
}

const later = { "retry-after": "1" };

async function write(request, url, env) {
  const bound = number(env.MAX_BODY_BYTES, 1 << 20);
  const body = await bodyOf(request, bound);
  if (body === null) return refuse(413, "too-large", `a body has at most ${bound} bytes`);
  const forced = forcedSide(request, env), bucket = bucketOf(userOf(request), env.SALT || "");
  const since = Date.now(), until = since + number(env.HOLD_MS, 30000);
  let why = null;
  for (;;) {
    const known = flag, choice = decide(known, { write: true, bucket, forced });
    if (choice.why === "rejected") return refuse(503, "rejected", "writes are not accepted now, nothing was executed", "rejected", later);
    if (choice.to !== null) {
      let answer;
      try {
        answer = await send(env, choice.to, request, url, body, known, forced !== null);
      } catch (e) {
        console.error(`${request.method} ${url.pathname} at ${choice.to}: ${e}`);
        return refuse(502, "unknown-outcome", "the write happened, or did not", "lost", { "x-zdm-route": choice.to });
      }
      adopt(answer.headers.get("x-zdm-flag"));
      if (answer.status !== 421 || forced !== null) {
        const elsewhere = decide(known, { write: false, bucket }).to !== choice.to;
        const more = forced === null && answer.ok && elsewhere ? ownWriteCookie(url, env) : {};
        return finish(answer, choice.to, why ?? choice.why, why === "held" ? Date.now() - since : 0, more);
      }
      await answer.body?.cancel();                               // not executed: it may be sent again
      why ??= "fenced";
      if (newer(flag, known)) continue;
    }
    if (choice.to === null) why = "held";
    if (Date.now() >= until) return refuse(503, "held", "writes are held, nothing was executed", "hold-timeout", later);
    await awaitNews(env, since);
  }
}

async function read(request, url, env) {
  const forced = forcedSide(request, env), bucket = bucketOf(userOf(request), env.SALT || "");
  const wrote = wroteJustNow(request, env), since = Date.now();
  let why = null, avoid = null;                                  // avoid: the side that failed or refused
  for (;;) {
    const known = flag, choice = decide(known, { write: false, bucket, wrote, forced });
    const side = choice.to === avoid ? other(avoid) : choice.to;
    // forced reads and reads of one's own writes have one side only
    const mayMove = () => choice.why === "weight" && avoid === null && mayRead(flag, other(side));
    let answer = null;
    try {
      answer = await send(env, side, request, url, undefined, known, forced !== null);
    } catch (e) {
      console.error(`${request.method} ${url.pathname} at ${side}: ${e}`);
    }
    if (answer !== null) adopt(answer.headers.get("x-zdm-flag"));
    if ((answer === null || (answer.status >= 502 && answer.status <= 504)) && mayMove()) {
      await answer?.body?.cancel();
      [avoid, why] = [side, "fallback"];
      continue;
    }
    if (answer === null) return refuse(502, "unreachable", "the origin does not answer", "lost", { "x-zdm-route": side });
    if (answer.status !== 421 || forced !== null) return finish(answer, side, why ?? choice.why);
    await answer.body?.cancel();
    if (newer(flag, known)) {
      [avoid, why] = [null, "fenced"];
    } else if (mayMove()) {
      [avoid, why] = [side, "fallback"];
    } else {
      if (Date.now() - since >= READ_PATIENCE_MS) return refuse(503, "fenced", "no side may serve this read now", "fenced", later);
      [avoid, why] = [null, "fenced"];
      await awaitNews(env, since);
    }
  }
}

// The user's reads would go to the side that has not got this write yet: for a short while they go to the writer.
function ownWriteCookie(url, env) {
  const ms = number(env.READ_YOUR_WRITES_MS, 5000);
  if (ms === 0) return {};
  const secure = url.protocol === "https:" ? "; Secure" : "";
  return { "set-cookie": `zdm_rw=${Date.now() + ms}; Max-Age=${Math.ceil(ms / 1000)}; Path=/; HttpOnly; SameSite=Lax${secure}` };
}

function wroteJustNow(request, env) {
  const left = Number(cookie(request, "zdm_rw") || 0) - Date.now();
  return left > 0 && left <= number(env.READ_YOUR_WRITES_MS, 5000);
}

function health(url, env) {
  const user = url.searchParams.get("user");
  const bucket = user === null ? {} : { bucket: bucketOf(user, env.SALT || "") };
  const about = { ok: true, flag, ageMs: Date.now() - readAt, holdMs: number(env.HOLD_MS, 30000), ...bucket };
  return Response.json(about, { headers: { "cache-control": "no-store" } });
}

export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    await refresh(env, ctx);
    if (url.pathname === "/__zdm/router") return health(url, env);
    if (url.pathname.startsWith("/__zdm/") || url.pathname === "/metrics") return refuse(404, "not-found", "not for clients");
    return SAFE.has(request.method) ? read(request, url, env) : write(request, url, env);
  },
};
