"""The chart look-alike: a small local site that behaves like TradingView's chart page where it matters.

For local runs and tests on loopback only. Prices are invented. What a picture of it shows can be read back
with `strip.decode`.
"""
