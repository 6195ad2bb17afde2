// Tries, as whoever the URL names, a heartbeat and what a client must not do; prints one line of JSON.
//
//   node forbidden.mjs REDIS_URL HEARTBEAT_KEY
import { createClient } from "redis";

const [url, key] = process.argv.slice(2);
const client = createClient({ url, RESP: 3 });
client.on("error", (error) => console.error(String(error)));
await client.connect();

const attempts = {
  set: () => client.set(key, "x"),
  persist: () => client.persist(key),
  del: () => client.del(key),
  get: () => client.get(key),
  publish: () => client.publish("__keyspace@0__:" + key, "expired"),
  scan: () => client.scan("0"),
  flushAll: () => client.flushAll(),
};
const answers = { expire: await client.expire(key, 900), pExpire: await client.pExpire(key, 900_000) };
for (const [name, attempt] of Object.entries(attempts)) {
  answers[name] = await attempt().then(
    () => "allowed",
    (error) => String(error.message).split(" ")[0],
  );
}
console.log(JSON.stringify(answers));
client.destroy();
