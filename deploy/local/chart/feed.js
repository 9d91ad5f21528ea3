"use strict";
// Stands inside the page, so that data travels while style and chart library are still being loaded.
globalThis.chartConfig = JSON.parse(document.getElementById("chart-config").textContent);
globalThis.chartFeed = (() => {
  const { symbol, interval } = globalThis.chartConfig;
  const query = new URLSearchParams({ symbol, interval, elapsed_ms: Math.round(performance.now()) });
  const socket = new WebSocket(`ws://${location.host}/data?${query}`);
  const early = [];
  let listener = (message) => early.push(message);
  socket.addEventListener("message", (event) => listener(JSON.parse(event.data)));
  return {
    listen(next) {
      listener = next;
      early.splice(0).forEach(next);
    },
  };
})();
