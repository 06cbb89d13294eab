// The flag and what follows from it and from a request's headers: the user's bucket, the side. Without any platform:
// the Worker and nginx (njs) share this file, contract/flag.py says the same in Python, tests/router/vectors.json holds all three.

const BUCKETS = 10000;
export const SIDES = ["mysql", "aurora"];
export const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);
export const FIRST = Object.freeze({ v: 0, epoch: 0, weight: 0, writes: "open", mode: "mysql" });   // nothing known: the source serves

// The user's bucket, 0..9999: FNV-1a over the UTF-16 code units of `salt:user`, finished as MurmurHash3's fmix32.
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

export const other = (side) => (side === "mysql" ? "aurora" : "mysql");

export function sameText(a, b) {                                 // takes as long for a nearly right token as for a wrong one
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i % b.length);
  return difference === 0;
}

// What a request says of itself; `header` gives a header's value, or nothing.

function cookie(header, name) {
  const match = new RegExp(`(?:^|;\\s*)${name}=([^;]*)`).exec(header("cookie") || "");
  return match ? match[1] : null;
}

export function userOf(header) {
  return header("x-user-id") || cookie(header, "uid") || header("cf-connecting-ip") || "anonymous";
}

export function forcedSide(header, wanted) {
  const side = header("x-zdm-force"), token = header("x-zdm-force-token");
  return SIDES.includes(side) && wanted && token && sameText(token, wanted) ? side : null;
}

// The user's reads would go to the side that has not got this write yet: for a short while they go to the writer.
export function ownWriteCookie(ms, secure) {
  if (ms === 0) return "";
  const age = Math.ceil(ms / 1000);
  return `zdm_rw=${Date.now() + ms}; Max-Age=${age}; Path=/; HttpOnly; SameSite=Lax${secure ? "; Secure" : ""}`;
}

export function wroteJustNow(header, ms) {
  const left = Number(cookie(header, "zdm_rw") || 0) - Date.now();
  return left > 0 && left <= ms;
}
