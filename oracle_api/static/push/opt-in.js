// Asks a user for push messages and hands the browser's subscription to the product's backend.
//
//   import { turnOn, turnOff } from "/oracle-opt-in.js";
//   button.onclick = () => turnOn({
//     key: "...",                    // publicKey of GET /api/oracle/push/key
//     worker: "/oracle-service-worker.js?opened=/push/opened&subscribe=/push/subscribe",
//     subscribe: "/push/subscribe",  // takes the subscription, with the user's own session
//   });
//
// Call it from a click: browsers ask nobody otherwise. Calling it again is harmless.

// "on", "denied" (the user said no), or "unsupported".
export async function turnOn({ key, worker, subscribe }) {
  if (!("serviceWorker" in navigator && "PushManager" in window)) return "unsupported";
  if ((await Notification.requestPermission()) !== "granted") return "denied";
  await navigator.serviceWorker.register(worker);
  const registration = await navigator.serviceWorker.ready;
  const made = await subscription(registration.pushManager, key);
  await send(subscribe, made);
  return "on";
}

export async function turnOff({ unsubscribe }) {
  const registration = await navigator.serviceWorker?.getRegistration();
  const made = await registration?.pushManager.getSubscription();
  if (!made) return;
  await send(unsubscribe, { endpoint: made.endpoint });
  await made.unsubscribe();
}

// One that was made for another key is worthless, and in the way of a new one.
async function subscription(pushManager, key) {
  const made = await pushManager.getSubscription();
  if (made && base64url(made.options.applicationServerKey) === key) return made;
  await made?.unsubscribe();
  return pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
}

async function send(path, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
}

function base64url(bytes) {
  const text = btoa(String.fromCharCode(...new Uint8Array(bytes)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
