// ORACLE's service worker: shows the push messages that arrive, opens their page on a click, and tells the product so.
//
// Serve it from the product's own origin and register it with the paths of the product's backend:
//   /oracle-service-worker.js?opened=/push/opened&subscribe=/push/subscribe
// `opened` is posted {"event": "push_open", "actionId": "..."}, `subscribe` the new subscription when a browser makes
// one by itself. Both come with the product's own cookies, so its backend knows whose they are.
"use strict";

const paths = new URL(self.location.href).searchParams;

self.addEventListener("push", (event) => {
  const { title, body, actionId, link } = event.data.json();
  // The same tag: a repeat takes the place of the first, without a sound.
  event.waitUntil(self.registration.showNotification(title, { body, tag: actionId, data: { actionId, link } }));
});

self.addEventListener("notificationclick", (event) => {
  const { actionId, link } = event.notification.data;
  event.notification.close();
  const told = post(paths.get("opened"), { event: "push_open", actionId });
  event.waitUntil(Promise.all([show(new URL(link, self.location.origin).href), told]));
});

self.addEventListener("pushsubscriptionchange", (event) => {
  event.waitUntil(renew(event));
});

async function show(page) {
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const open = windows.find((one) => one.url === page);
  return open ? open.focus() : self.clients.openWindow(page);
}

async function renew({ oldSubscription, newSubscription }) {
  const options = oldSubscription?.options;
  const made = newSubscription ?? (options && (await self.registration.pushManager.subscribe(options)));
  if (made) await post(paths.get("subscribe"), made);
}

async function post(path, body) {
  if (!path) return;
  const headers = { "Content-Type": "application/json" };
  try {
    await fetch(path, { method: "POST", headers, body: JSON.stringify(body), keepalive: true });
  } catch {
    // Offline: the page opens all the same, and this opening is not counted.
  }
}
