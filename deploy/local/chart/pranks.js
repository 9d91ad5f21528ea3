"use strict";
// What the page does once its data has come, by the name the server gave. Each gets the message with the
// bars and the function that draws it; a prank that does not pass it on leaves the chart loading.
(() => {
  const { prank, symbol } = globalThis.chartConfig;
  const PREVIOUS = "PREVIOUS:FRAME";
  const frames = (count, action) => (count ? requestAnimationFrame(() => frames(count - 1, action)) : action());

  // Covers the page, strip included, so that it cannot be overlooked in a picture.
  function overlay(attributes, title) {
    const cover = document.createElement("div");
    Object.entries(attributes).forEach(([name, value]) => cover.setAttribute(name, value));
    cover.classList.add("overlay");
    cover.append(Object.assign(document.createElement("h1"), { textContent: title }));
    document.body.append(cover);
  }

  // The previous symbol's bars: these, turned upside down.
  function previous(message) {
    const turned = ([ms, open, high, low, close, volume]) => [ms, 1 / open, 1 / low, 1 / high, 1 / close, volume];
    return { ...message, symbol: PREVIOUS, decimals: 6, bars: message.bars.map(turned) };
  }

  // The previous symbol is drawn; then the page tells the new one, whose bars come later.
  function changeOver(message, draw, { ready }) {
    draw(previous(message));
    // counted in frames, so that whoever looks at each frame has seen the previous symbol, however busy
    frames(8, () => {
      draw({ type: "echo", symbol, ready });
      setTimeout(() => draw({ ...message, symbol }), 750);
    });
  }

  function keepLoader() {
    const pane = document.querySelector(".chart-container");
    const loader = document.querySelector('[class^="loaderItem"]');
    new MutationObserver(() => loader.isConnected || pane.append(loader)).observe(pane, { childList: true });
  }

  function growHeap() {
    const kept = [];
    for (;;) kept.push(new Array(50000).fill(kept.length + 0.5));
  }

  // Deeper than the layout engine's stack.
  function nestWithoutEnd() {
    let at = document.body;
    for (let depth = 0; depth < 60000; depth += 1) at = at.appendChild(document.createElement("div"));
  }

  async function keepPage() {
    const cache = await caches.open("pages");
    await cache.put("/kept-page", await fetch(location.href));
    await navigator.serviceWorker.register("/worker.js");
    await navigator.serviceWorker.ready;
  }

  function growPage() {
    const tall = Object.assign(document.createElement("canvas"), { width: 4000, height: 10000 });
    tall.getContext("2d").fillRect(0, 0, 4000, 10000);
    document.body.append(tall);
    setInterval(() => {
      for (let i = 0; i < 500; i += 1) document.body.append(document.createElement("p"));
    }, 100);
  }

  const pranks = {
    reconnect: () => overlay({ "data-name": "reconnect" }, "Session disconnected"),
    flagged: () => overlay({ "data-name": "account-flagged" }, "Suspicious activity"),
    promo(message, draw) {
      draw(message);
      setTimeout(() => overlay({ "data-name": "promo-dialog" }, "Upgrade today"), 60);
    },
    alerts(message, draw) {
      draw(message);
      frames(2, () => overlay({ "data-name": "alerts-fired" }, "Your alert has fired"));
    },
    offer(message, draw) {
      draw(message);
      frames(1, () => overlay({ role: "dialog", "aria-label": "Offer" }, "Maybe later"));
    },
    cookies(message, draw) {
      overlay({ "data-name": "cookie-banner" }, "We value your privacy");
      draw(message);
    },
    loader(message, draw) {
      keepLoader();
      draw(message);
    },
    blank: (message, draw) => draw({ ...message, type: "blank" }),
    no_bars: (message, draw) => draw({ ...message, type: "no_bars" }),
    stale: (message, draw) => changeOver(message, draw, { ready: false }),
    echo: (message, draw) => changeOver(message, draw, { ready: true }),
    stuck: (message, draw) => draw(previous(message)),
    alert_box(message, draw) {
      alert("Are you still there?");
      draw(message);
    },
    loop() {
      for (;;);
    },
    memory: growHeap,
    crash: nestWithoutEnd,
    leave: () => location.replace("http://elsewhere.example/chart/"),
    worker: (message, draw) => keepPage().finally(() => draw(message)),
    huge(message, draw) {
      growPage();
      draw(message);
    },
  };

  const feed = globalThis.chartFeed;
  const listen = feed.listen;
  // prices that move would be those of another symbol, or of none
  const isStill = ["stale", "echo", "stuck", "blank", "no_bars"].includes(prank);
  feed.listen = (draw) =>
    listen((message) => {
      if (message.type === "bars") pranks[prank](message, draw);
      else if (!isStill) draw(message);
    });
})();
