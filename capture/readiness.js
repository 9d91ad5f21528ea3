// Evaluated before any script of the page. Watches the chart frame by frame and reports each change of state
// through the binding: "document" when the page is parsed, then "waiting", "ready", "settled" or "blocked".
(site, wanted) => {
  "use strict";
  if (globalThis.top !== globalThis) return;

  const { page, api, blockers, settle } = site;
  const announce = globalThis[site.binding];
  const state = { said: "", wrongSince: null, readySince: null, quietSince: null, cells: null, isSettled: false };

  const one = (selector) => document.querySelector(selector);

  function visible(element) {
    if (!element.checkVisibility({ visibilityProperty: true })) return false;
    const { left, top, right, bottom } = element.getBoundingClientRect();
    return right > 0 && bottom > 0 && left < innerWidth && top < innerHeight;
  }

  const anyVisible = (selector) => [...document.querySelectorAll(selector)].some(visible);

  function activeChart() {
    try {
      return api.chart.reduce((owner, name) => (typeof owner[name] === "function" ? owner[name]() : owner[name]), globalThis);
    } catch {
      return null;
    }
  }

  function ask(chart, name) {
    try {
      return chart[name]();
    } catch {
      return null;
    }
  }

  const text = (selector) => one(selector)?.textContent.trim() ?? null;
  const plain = (symbol) => symbol.toUpperCase().replace(/_DLY?:/g, ":");
  const code = (interval) => (/^[SDWM]$/.test(interval) ? `1${interval}` : interval);

  // A legend may leave the exchange out; the page's own object never does.
  function sameSymbol(shown, fromLegend) {
    if (!shown) return false;
    const [a, b] = [plain(wanted.symbol), plain(shown)];
    return a === b || (!a.includes(":") && b.endsWith(`:${a}`)) || (fromLegend && !b.includes(":") && a.endsWith(`:${b}`));
  }

  const sameInterval = (shown) => wanted.interval === null || (shown !== null && code(shown) === wanted.interval);

  // What the chart says of itself, and what still keeps it from being the picture that was asked for.
  function look() {
    const blocker = blockers.find(({ selector }) => anyVisible(selector));
    if (blocker) return { outcome: blocker.outcome, missing: [] };
    const chart = activeChart();
    const symbol = chart ? ask(chart, api.symbol) : text(page.legend_symbol);
    const interval = chart ? ask(chart, api.interval) : text(page.legend_interval);
    const checks = {
      signed_in: one(page.signed_in) !== null,
      data: chart ? ask(chart, api.ready) === true : true,
      loaders: !anyVisible(page.loader),
      fonts: document.fonts.status === "loaded",
      canvas: one(page.canvas) !== null,
      symbol: sameSymbol(symbol, !chart),
      interval: sameInterval(interval),
    };
    return { outcome: null, missing: Object.keys(checks).filter((name) => !checks[name]) };
  }

  const grid = new OffscreenCanvas(settle.columns, settle.rows).getContext("2d", { willReadFrequently: true });

  // The visible canvases on a small grid; null when the browser forbids to read one of them.
  function sample() {
    const across = settle.columns / innerWidth;
    const down = settle.rows / innerHeight;
    grid.clearRect(0, 0, settle.columns, settle.rows);
    for (const canvas of document.querySelectorAll(page.canvas)) {
      const { left, top, width, height } = canvas.getBoundingClientRect();
      if (canvas.width && canvas.height && width && height) {
        grid.drawImage(canvas, left * across, top * down, width * across, height * down);
      }
    }
    try {
      return grid.getImageData(0, 0, settle.columns, settle.rows).data;
    } catch {
      return null;
    }
  }

  function changedShare(before, after) {
    if (before === null || after === null) return before === after ? 0 : 1;
    let changed = 0;
    for (let at = 0; at < after.length; at += 4) {
      const moved =
        Math.abs(after[at] - before[at]) +
        Math.abs(after[at + 1] - before[at + 1]) +
        Math.abs(after[at + 2] - before[at + 2]);
      if (moved > settle.cell_change) changed += 1;
    }
    return changed / (settle.columns * settle.rows);
  }

  function say(kind, details = {}) {
    const message = JSON.stringify({ kind, ...details });
    if (message === state.said) return;
    state.said = message;
    announce(message);
  }

  // Everything is there but the chart shows something else.
  function isWrong(missing, now) {
    const wrong = missing.length > 0 && missing.every((name) => name === "symbol" || name === "interval");
    state.wrongSince = wrong ? (state.wrongSince ?? now) : null;
    return wrong && now - state.wrongSince > settle.wrong_chart_ms;
  }

  function watchPaint(now) {
    say("ready");
    const quiet = quietFor(now) >= quietNeeded();
    const capped = !quiet && now - state.readySince > settle.cap_ms;
    state.isSettled = quiet || capped;
    if (state.isSettled) say("settled", { capped });
  }

  // Animation frames and navigation count from the same moment.
  function quietNeeded() {
    return Math.min(Math.max(state.readySince * settle.quiet_share, settle.quiet_min_ms), settle.quiet_max_ms);
  }

  function quietFor(now) {
    const cells = sample();
    if (state.cells === null || changedShare(state.cells, cells) > settle.changed_share) state.quietSince = now;
    state.cells = cells;
    state.readySince ??= now;
    return now - state.quietSince;
  }

  function step(now) {
    const { outcome, missing } = look();
    if (outcome !== null) return say("blocked", { outcome });
    if (isWrong(missing, now)) return say("blocked", { outcome: "wrong_chart" });
    if (missing.length > 0) {
      Object.assign(state, { readySince: null, quietSince: null, cells: null, isSettled: false });
      say("waiting", { missing });
    } else if (!state.isSettled) {
      watchPaint(now);
    }
    return requestAnimationFrame(step);
  }

  function begin() {
    // a constructed sheet, since the page's own policy may forbid inline styles
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`${page.hidden.join(",")} { display: none !important; }`);
    document.adoptedStyleSheets.push(sheet);
    say("document", { signed_in: one(page.signed_in) !== null, outcome: look().outcome });
    requestAnimationFrame(step);
  }

  globalThis[site.probe] = () => JSON.stringify(look());
  document.addEventListener("DOMContentLoaded", begin, { once: true });
}
