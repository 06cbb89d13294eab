// The sample shop's load for k6: what is sent is in mix.js, how fast is said by `zdm load-test` in the environment.
import exec from "k6/execution";
import http from "k6/http";
import { next, planOf, remember } from "./mix.js";

const { URL: base, HOST: host, RUN: run, SUMMARY: summary } = __ENV;
const rate = Number(__ENV.RATE), ramp = Number(__ENV.RAMP), seconds = Number(__ENV.SECONDS);
const plan = planOf(__ENV);
const memory = { unpaid: [], done: [] };            // this virtual user's own orders
const users = Math.max(20, Math.ceil(rate / 2));    // answers of half a second still keep the rate

export const options = {
  scenarios: {
    ramp: {
      executor: "ramping-arrival-rate", startRate: 0, timeUnit: "1s", stages: [{ target: Math.round(rate), duration: `${ramp}s` }],
      preAllocatedVUs: users, maxVUs: users * 4,
    },
    full: {
      executor: "constant-arrival-rate", rate: Math.round(rate), timeUnit: "1s", startTime: `${ramp}s`, duration: `${seconds}s`,
      preAllocatedVUs: users, maxVUs: users * 4, gracefulStop: "45s",
    },
  },
  // k6 keeps figures of a part only where a threshold names it; these always hold, and the command judges
  thresholds: {
    "http_req_duration{scenario:full}": ["max>=0"],
    "http_req_failed{scenario:full}": ["rate>=0"],
    "http_reqs{scenario:full}": ["count>=0"],
  },
  summaryTrendStats: ["med", "p(95)", "p(99)", "max"],
  noCookiesReset: true,
  insecureSkipTLSVerify: false,
};

export default function () {
  const ref = `${run}-${exec.scenario.name[0]}${exec.scenario.iterationInTest}`;   // new in every run, at most 36 characters
  const request = next(Math.random, plan, memory, ref);
  const headers = { "content-type": "application/json", "x-user-id": request.user };
  if (host) headers.Host = host;
  const body = request.body === null ? null : JSON.stringify(request.body);
  const answer = http.request(request.method, base + request.path, body, { headers, redirects: 0, tags: { name: request.name } });
  if (answer.status >= 200 && answer.status < 300) remember(memory, request, answer.json());
}

export function handleSummary(data) {
  return { [summary]: JSON.stringify(data) };
}
