// Keeps one session alive from Node, with nothing but the npm package `redis`.
//
//   node heartbeat.mjs REDIS_URL HEARTBEAT_KEY TTL_SECONDS
//
// Prints each change of the answer: `alive` (EXPIRE said 1), `over` (it said 0: acquire again). An error is printed and tried
// again, because an outage of Redis does not end a session. Ends by itself when the session is over.
import { setTimeout as pause } from "node:timers/promises";
import { createClient } from "redis";

const [url, key, ttl] = process.argv.slice(2);
const client = createClient({ url, RESP: 3, socket: { connectTimeout: 5000 } });
client.on("error", (error) => console.error(String(error)));
await client.connect();

let said = "";
while (said !== "over") {
  let now = said;
  try {
    now = (await client.expire(key, Number(ttl))) ? "alive" : "over";
  } catch (error) {
    console.error(String(error));
  }
  if (now !== said) console.log((said = now));
  // A third of the TTL, less up to a fifth of that, so that many clients do not beat in step.
  if (said !== "over") await pause((Number(ttl) * 1000 * (1 - Math.random() / 5)) / 3);
}
client.destroy();
