// The router in front of both origins: sticky reads by weight, writes to the side that may write, held while neither may.
//
// Invariants:
// - The flag is a hint that only ever moves forward: it is adopted when its (epoch, v) is higher, wherever it comes from
//   (Durable Object, KV, an answer's `x-zdm-flag`, an origin's `/__zdm/flag`). The databases are the fence; a stale router
//   is slow, never wrong.
// - A write is sent again after a 421 only: the origin says that it executed nothing. After a timeout or a lost connection
//   nobody knows, and the answer says so (`unknown-outcome`).
// - A read goes to the other side only where the flag lets that side serve reads.
// - Between requests only values are kept, never promises, streams or timers: the runtime ties those to one request.
// - No request waits for KV or the Durable Object, but the first of an isolate for KV: what is known is used, news come
//   beside the request, at most once in FLAG_TTL_MS.
//
// Bindings: FLAGS (KV namespace), FLAG_KEY, SALT, MYSQL_ORIGIN, AURORA_ORIGIN (base URLs), HOLD_MS, FORCE_TOKEN; optional
// FLAG_OBJECT (Durable Object) with ADMIN_TOKEN, FLAG_TTL_MS (500: a fast flip holds for all within a second), READ_YOUR_WRITES_MS, ORIGIN_TIMEOUT_MS, MAX_BODY_BYTES.

import {
  FIRST, SAFE, SIDES, bucketOf, decide, forcedSide, mayRead, newer, other, ownWriteCookie, parseFlag, sameText, userOf, wroteJustNow,
} from "./flag.mjs";

const READ_PATIENCE_MS = 3000;      // how long a read that no side may serve is tried again
const STORE_PATIENCE_MS = 1000;     // how long the Durable Object or an origin may take to tell its flag
const POLL_LEASE_MS = 1500;         // a poll that has not ended by then is somebody else's to make

let flag = null;                    // the highest flag seen by this isolate
let readAt = 0;                     // when the stores were last asked (ms)
let mayPollAt = 0;                  // from when on the next held request may ask the origins (ms)

function adopt(text) {
  const f = text ? parseFlag(text) : null;
  if (f !== null && newer(f, flag)) flag = f;
}

async function readKv(env) {
  try {
    adopt(await env.FLAGS.get(env.FLAG_KEY || "flag"));
  } catch (e) {
    console.error(`the flag cannot be read from KV: ${e}`);
  }
}

function flagObject(env, init) {
  const stub = env.FLAG_OBJECT.get(env.FLAG_OBJECT.idFromName("flag"));
  return stub.fetch("https://flag/", { signal: AbortSignal.timeout(STORE_PATIENCE_MS), ...init });
}

async function readObject(env) {
  if (!env.FLAG_OBJECT) return;
  try {
    const answer = await flagObject(env);
    const text = await answer.text();
    if (answer.ok) adopt(text);
  } catch (e) {
    console.error(`the flag cannot be read from the Durable Object: ${e}`);
  }
}

async function readFlag(env) {                                   // whichever store has the higher flag, or can be reached at all
  readAt = Date.now();
  await Promise.all([readKv(env), readObject(env)]);
}

async function askOrigin(env, side) {
  try {
    const answer = await fetch(originOf(env, side) + "/__zdm/flag", { signal: AbortSignal.timeout(STORE_PATIENCE_MS) });
    const text = await answer.text();
    if (answer.ok) adopt(text);
  } catch { /* the other one, or the next time */ }
}

// Brings the flag up to date: at first from KV before anything else, later beside the request that finds it old.
async function refresh(env, ctx) {
  if (flag === null) {
    readAt = Date.now();
    const asked = readObject(env);
    ctx.waitUntil(asked);
    await readKv(env);
    if (flag === null) await Promise.all([asked, ...SIDES.map((side) => askOrigin(env, side))]);
    flag ??= FIRST;
  } else if (Date.now() - readAt > number(env.FLAG_TTL_MS, 500)) {
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
  const header = (name) => request.headers.get(name);
  const forced = forcedSide(header, env.FORCE_TOKEN), bucket = bucketOf(userOf(header), env.SALT || "");
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
        const more = forced === null && answer.ok && elsewhere ? ownWriteMark(url, env) : {};
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
  const header = (name) => request.headers.get(name);
  const forced = forcedSide(header, env.FORCE_TOKEN), bucket = bucketOf(userOf(header), env.SALT || "");
  const wrote = wroteJustNow(header, ownReadsMs(env)), since = Date.now();
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

const ownReadsMs = (env) => number(env.READ_YOUR_WRITES_MS, 5000);

function ownWriteMark(url, env) {
  const mark = ownWriteCookie(ownReadsMs(env), url.protocol === "https:");
  return mark ? { "set-cookie": mark } : {};
}

function health(url, env) {
  const user = url.searchParams.get("user");
  const bucket = user === null ? {} : { bucket: bucketOf(user, env.SALT || "") };
  const about = { ok: true, flag, ageMs: Date.now() - readAt, holdMs: number(env.HOLD_MS, 30000), ...bucket };
  return Response.json(about, { headers: { "cache-control": "no-store" } });
}

// For the commands: the Durable Object's flag, read or put there. What it takes, this isolate takes too.
async function admin(request, env) {
  const token = (request.headers.get("authorization") || "").replace(/^Bearer /, "");
  if (!env.FLAG_OBJECT || !env.ADMIN_TOKEN) return refuse(404, "not-found", "this router has no Durable Object");
  if (!token || !sameText(token, env.ADMIN_TOKEN)) return refuse(401, "unauthorized", "a bearer token is needed");
  const { method } = request;
  if (method !== "GET" && method !== "PUT") return refuse(405, "method", "GET or PUT");
  const body = method === "PUT" ? await bodyOf(request, 4096) : undefined;
  if (body === null) return refuse(413, "too-large", "a flag is short");
  try {
    const answer = await flagObject(env, { method, body, signal: AbortSignal.timeout(5 * STORE_PATIENCE_MS) });
    const text = await answer.text();
    if (answer.ok || answer.status === 409) adopt(text);
    return new Response(text, answer);
  } catch (e) {
    console.error(`the Durable Object: ${e}`);
    return refuse(503, "unreachable", "the Durable Object does not answer", "lost", later);
  }
}

export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    if (url.pathname === "/__zdm/router/flag") return admin(request, env);
    await refresh(env, ctx);
    if (url.pathname === "/__zdm/router") return health(url, env);
    if (url.pathname.startsWith("/__zdm/") || url.pathname === "/metrics") return refuse(404, "not-found", "not for clients");
    return SAFE.has(request.method) ? read(request, url, env) : write(request, url, env);
  },
};
