// The flag for fast flips: one Durable Object, one copy, strongly consistent. It takes a flag only if its (epoch, v) is
// higher than that of the one it holds. A hint like KV's copy, only faster: the truth is in the databases.

import { newer, parseFlag } from "./flag.mjs";

const answer = (status, text) => new Response(text, { status, headers: { "content-type": "application/json", "cache-control": "no-store" } });

export class FlagObject {
  constructor(state) {
    this.storage = state.storage;                                // other requests wait while the storage is read or written
  }

  async fetch(request) {
    const given = request.method === "PUT" ? parseFlag(await request.text()) : null;
    const held = await this.storage.get("flag") ?? null;
    if (request.method === "GET") return held === null ? answer(404, "null") : answer(200, held);
    if (request.method !== "PUT") return answer(405, "null");
    if (given === null) return answer(400, "null");
    const text = JSON.stringify(given);
    if (text === held) return answer(200, held);                 // the same again: an answer was lost on its way
    if (held !== null && !newer(given, parseFlag(held))) return answer(409, held);
    await this.storage.put("flag", text);
    return answer(200, text);
  }
}

export default { fetch: () => answer(404, "null") };
