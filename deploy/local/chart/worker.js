"use strict";
// Answers every later visit with the page that was kept on the first one, whatever is asked for then.
addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate") {
    event.respondWith(caches.match("/kept-page").then((kept) => kept ?? fetch(event.request)));
  }
});
