"""From raw bytes to signals: pure functions inside, a thin Faust shell outside."""
