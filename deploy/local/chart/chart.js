"use strict";
(() => {
  const { symbol, interval, user } = globalThis.chartConfig;
  const COLORS = { up: "#26a69a", down: "#ef5350", ground: "#131722", line: "#2a2e39", text: "#b2b5be" };
  const SHADES = { up: "rgba(38,166,154,.38)", down: "rgba(239,83,80,.38)" };
  const WATERMARK_MAX_CHARS = 32;
  const EMPTY_AFTER_MS = 60;

  const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

  // The library's own formatter builds a locale for each mark, which alone takes 15 ms of a fresh page.
  function tickMark(seconds, kind) {
    const date = new Date(seconds * 1000);
    const kinds = LightweightCharts.TickMarkType;
    if (kind === kinds.Year) return String(date.getUTCFullYear());
    if (kind === kinds.Month) return MONTHS[date.getUTCMonth()];
    if (kind === kinds.DayOfMonth) return String(date.getUTCDate());
    return date.toISOString().slice(11, kind === kinds.TimeWithSeconds ? 19 : 16);
  }

  const pane = document.querySelector(".chart-pane");
  const strip = document.getElementById("strip");
  const state = { symbol, bars: [], decimals: 2, drawn: false };

  function createSurface() {
    const chart = LightweightCharts.createChart(pane, {
      width: pane.clientWidth,
      height: pane.clientHeight,
      layout: {
        background: { color: COLORS.ground },
        textColor: COLORS.text,
        fontSize: 13,
        fontFamily: getComputedStyle(document.body).fontFamily,
      },
      grid: { vertLines: { color: "#1f232e" }, horzLines: { color: "#1f232e" } },
      crosshair: { mode: LightweightCharts.CrosshairMode.Normal },
      // A fixed width: the pane must not be laid out again in the frame after the data was drawn.
      rightPriceScale: {
        borderColor: COLORS.line,
        minimumWidth: 76,
        scaleMargins: { top: 0.16, bottom: 0.22 },
      },
      timeScale: {
        borderColor: COLORS.line,
        timeVisible: !/[DWM]$/.test(interval),
        secondsVisible: /S$/.test(interval),
        tickMarkFormatter: tickMark,
        barSpacing: 8,
        rightOffset: 7,
      },
    });
    const candles = chart.addCandlestickSeries({
      upColor: COLORS.up,
      downColor: COLORS.down,
      wickUpColor: COLORS.up,
      wickDownColor: COLORS.down,
      borderVisible: false,
    });
    const volumes = chart.addHistogramSeries({
      priceScaleId: "",
      priceFormat: { type: "volume" },
      priceLineVisible: false,
      lastValueVisible: false,
    });
    volumes.priceScale().applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    addEventListener("resize", () => chart.resize(pane.clientWidth, pane.clientHeight, true));
    return { chart, candles, volumes };
  }

  // Made with the data, or empty when that is late: drawing empty canvases first would keep data that is
  // already there waiting for two frames.
  let made = null;
  const surface = () => (made ??= createSurface());
  setTimeout(surface, EMPTY_AFTER_MS);

  const toCandle = ([ms, open, high, low, close]) => ({ time: ms / 1000, open, high, low, close });
  const toVolume = ([ms, open, , , close, volume]) => ({
    time: ms / 1000,
    value: volume,
    color: close >= open ? SHADES.up : SHADES.down,
  });
  const lastBar = () => state.bars[state.bars.length - 1];

  function show(name, text) {
    document.querySelector(`[data-name="${name}"]`).textContent = text;
  }

  function writeLegend() {
    const [, open, high, low, close, volume] = lastBar();
    const previous = state.bars[state.bars.length - 2][4];
    const change = close - previous;
    const price = (value) => value.toFixed(state.decimals);
    const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
    show("legend-open", price(open));
    show("legend-high", price(high));
    show("legend-low", price(low));
    show("legend-close", price(close));
    show("legend-change", `${signed(change, state.decimals)} (${signed((change / previous) * 100, 2)}%)`);
    show("legend-volume", String(volume));
    document.querySelector(".legend").dataset.trend = close >= open ? "up" : "down";
  }

  function writeStrip() {
    const lastBarMs = lastBar()[0];
    const content = { symbol: state.symbol, interval, user, lastBarMs };
    const said = JSON.stringify(content);
    if (state.strip === said) return;
    chartStrip.paint(strip, content);
    state.strip = said;
  }

  function endLoading() {
    document.querySelectorAll('[class^="loaderItem"]').forEach((loader) => loader.remove());
  }

  // The library has asked for its animation frame before this is called, so ours runs right behind its
  // drawing, in the same frame: strip, legend and `dataReady` never say more than the picture shows.
  function withNextDrawing(action) {
    requestAnimationFrame(action);
  }

  function tell(shown) {
    state.symbol = shown;
    show("legend-source-title", shown);
  }

  function drawAll({ bars, decimals, symbol: shown = symbol }) {
    const { chart, candles, volumes } = surface();
    tell(shown);
    state.decimals = decimals;
    candles.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
    chart.applyOptions({
      watermark: {
        visible: shown.length <= WATERMARK_MAX_CHARS,
        text: shown,
        fontSize: 64,
        color: "rgba(178,181,190,.07)",
      },
    });
    candles.setData(bars.map(toCandle));
    volumes.setData(bars.map(toVolume));
    withNextDrawing(() => {
      state.bars = bars;
      writeLegend();
      writeStrip();
      endLoading();
      state.drawn = true;
      performance.mark("chart-ready");
    });
  }

  function keep(bar) {
    if (bar[0] === lastBar()[0]) state.bars.pop();
    state.bars.push(bar);
  }

  function drawTick({ bars }) {
    const { candles, volumes } = surface();
    for (const bar of bars) {
      candles.update(toCandle(bar));
      volumes.update(toVolume(bar));
    }
    withNextDrawing(() => {
      bars.forEach(keep);
      writeLegend();
      writeStrip();
    });
  }

  function showInvalidSymbol() {
    endLoading();
    document.querySelector('[data-name="invalid-symbol"]').hidden = false;
  }

  // The symbol is told before its bars are there.
  function echo({ symbol: told, ready }) {
    tell(told);
    state.drawn = ready;
  }

  function drawNothing(bars) {
    surface();
    withNextDrawing(() => {
      endLoading();
      Object.assign(state, { bars, drawn: true });
    });
  }

  const draw = {
    bars: drawAll,
    tick: drawTick,
    invalid_symbol: showInvalidSymbol,
    echo,
    blank: ({ bars }) => drawNothing(bars),
    no_bars: () => drawNothing([]),
  };
  chartFeed.listen((message) => draw[message.type](message));

  const activeChart = Object.freeze({
    symbol: () => state.symbol,
    resolution: () => interval,
    dataReady: () => state.drawn,
    barsCount: () => state.bars.length,
  });
  globalThis.TradingViewApi = Object.freeze({ activeChart: () => activeChart });
})();
