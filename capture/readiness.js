// Evaluated before any script of the page. Watches the chart frame by frame and reports each change of state
// through the binding: "document" when the page is parsed, then "waiting", "ready", "settled" or "blocked".
(site, wanted) => {
  "use strict";
  if (globalThis.top !== globalThis) return;

  const { page, api, blockers, settle } = site;
  const announce = globalThis[site.binding];
  const unsettled = { readySince: null, quietSince: null, cells: null, isSettled: false };
  const state = { ...unsettled, said: "", lasting: undefined, lastingSince: 0, old: null };

  // What may be missing for a while, but not for ever: all that is missing then belongs to one of these.
  const LASTING = [
    { names: ["symbol", "interval", "fresh"], limit_ms: settle.wrong_chart_ms, outcome: "wrong_chart" },
    { names: ["bars", "drawn"], limit_ms: settle.blank_ms, outcome: "blank_picture" },
  ];

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
      bars: chart ? ask(chart, api.bars) !== 0 : true,
      loaders: !anyVisible(page.loader),
      fonts: document.fonts.status === "loaded",
      canvas: one(page.canvas) !== null,
      symbol: sameSymbol(symbol, !chart),
      interval: sameInterval(interval),
    };
    return { outcome: null, missing: Object.keys(checks).filter((name) => !checks[name]) };
  }

  // The same with what was painted, which costs more and is asked only where it decides.
  function inspect() {
    const { outcome, missing } = look();
    const isWrong = missing.length > 0 && missing.every((name) => name === "symbol" || name === "interval");
    const cells = outcome === null && (isWrong || missing.length === 0) ? sample() : null;
    if (cells !== null && missing.length === 0) {
      if (!isDrawn(cells)) missing.push("drawn");
      else if (state.old !== null && changedShare(state.old, cells) <= settle.stale_share) missing.push("fresh");
    }
    return { outcome, missing, isWrong, cells };
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

  // One shade, and lines hardly to be told from it, are a chart without bars.
  function isDrawn(cells) {
    let [least, most] = [765, 0];
    for (let at = 0; at < cells.length; at += 4) {
      if (cells[at + 3] === 0) continue;
      const shade = cells[at] + cells[at + 1] + cells[at + 2];
      [least, most] = [Math.min(least, shade), Math.max(most, shade)];
    }
    return most - least > settle.contrast;
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

  function verdict(missing, now) {
    const belongs = ({ names }) => missing.every((name) => names.includes(name));
    const lasting = missing.length > 0 ? LASTING.find(belongs) : undefined;
    if (lasting !== state.lasting) Object.assign(state, { lasting, lastingSince: now });
    return lasting !== undefined && now - state.lastingSince > lasting.limit_ms ? lasting.outcome : null;
  }

  function watchPaint(cells, now) {
    say("ready");
    const quiet = quietFor(cells, now) >= quietNeeded();
    const capped = !quiet && now - state.readySince > settle.cap_ms;
    state.isSettled = quiet || capped;
    if (state.isSettled) say("settled", { capped });
  }

  // Animation frames and navigation count from the same moment.
  function quietNeeded() {
    return Math.min(Math.max(state.readySince * settle.quiet_share, settle.quiet_min_ms), settle.quiet_max_ms);
  }

  function quietFor(cells, now) {
    if (state.cells === null || changedShare(state.cells, cells) > settle.changed_share) state.quietSince = now;
    state.cells = cells;
    state.readySince ??= now;
    return now - state.quietSince;
  }

  function step(now) {
    // while the picture is being shot, the page is left in peace
    const { outcome, missing, isWrong, cells } = state.isSettled ? look() : inspect();
    const ended = outcome ?? verdict(missing, now);
    if (ended !== null) return say("blocked", { outcome: ended });
    // a chart may tell the new symbol while it still shows this
    if (isWrong && cells && isDrawn(cells)) state.old = cells;
    if (missing.length > 0) {
      Object.assign(state, unsettled);
      say("waiting", { missing });
    } else if (!state.isSettled) {
      state.old = null;
      watchPaint(cells, now);
    }
    return requestAnimationFrame(step);
  }

  // Hides overlays, but nothing that is a blocker or holds one: those are to be seen.
  function hideOverlays() {
    const telling = blockers.map(({ selector }) => selector).join(",");
    // a constructed sheet, since the page's own policy may forbid inline styles
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(
      `:is(${page.hidden.join(",")}):not(:is(${telling}), :has(:is(${telling}))) { display: none !important; }`,
    );
    document.adoptedStyleSheets.push(sheet);
  }

  function begin() {
    hideOverlays();
    say("document", { signed_in: one(page.signed_in) !== null, outcome: look().outcome });
    requestAnimationFrame(step);
  }

  // The canvases' part of the viewport: left, top, right, bottom.
  function paneBox() {
    const boxes = [...document.querySelectorAll(page.canvas)].filter(visible).map((one) => one.getBoundingClientRect());
    const far = (side, most) => Math.round(most(...boxes.map((box) => box[side])));
    return boxes.length === 0
      ? null
      : [far("left", Math.min), far("top", Math.min), far("right", Math.max), far("bottom", Math.max)];
  }

  globalThis[site.probe] = () => {
    const { outcome, missing } = inspect();
    // a frame that nobody else has seen: the page has to settle again
    if (missing.length > 0) Object.assign(state, unsettled);
    return JSON.stringify({ outcome, missing, pane: paneBox() });
  };
  document.addEventListener("DOMContentLoaded", begin, { once: true });
}
