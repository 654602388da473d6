// Sends events with the stock client, at the rate of a busy backend, and ends when each has been delivered or given up.
//   node deliver.mjs HOST WRITE_KEY COUNT EVENTS_PER_SECOND
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'

const { Analytics } = createRequire(`${process.cwd()}/`)('@segment/analytics-node')
const [host, writeKey, count, rate] = process.argv.slice(2)
const analytics = new Analytics({ host, writeKey, flushAt: 20, flushInterval: 200, maxRetries: 20 })
let failed = 0
analytics.on('error', () => { failed += 1 })
const started = performance.now()
for (let n = 0; n < Number(count); n += 1) {
  analytics.track({ userId: `u${n % 50}`, event: 'Lesson Completed', messageId: `node-${n}`, properties: { n } })
  const ahead = (n / Number(rate)) * 1000 - (performance.now() - started)
  if (ahead > 20) await sleep(ahead)
}
await analytics.closeAndFlush({ timeout: 300_000 })
console.log(JSON.stringify({ failed }))
