import pytest

from processors.secrecy import mask_named, mask_values


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"Token" : "a\\"b", "y": 2}', '{"Token" : "***", "y": 2}'),
        ('{"user_token":12345,"a":1}', '{"user_token":***,"a":1}'),
        ('{"token":\n "abc"}', '{"token":\n "***"}'),
        ('{"p":"{\\"token\\":\\"abc\\"}"}', '{"p":"{\\"token\\":\\"***\\"}"}'),
        ('{"password":["a","b"],"x":1}', '{"password":***,"x":1}'),
        ('{"secret":{"a":"b"},"x":2}', '{"secret":***,"x":2}'),
        ('{"token":"","x":"y"}', '{"token":"","x":"y"}'),
        ('{"token":"never ends', '{"token":"***'),
        ("{'token': 'abc', 'x': 1}", "{'token': '***', 'x': 1}"),
        ("{“secret”:“abc”}", "{“secret”:“***”}"),
        ("{secret: abc, ticker: X}", "{secret: ***, ticker: X}"),
        ("Token: correct horse\nTicker: X", "Token: ***\nTicker: X"),
        ("🔑 Token： abc def", "🔑 Token： ***"),
        ("Token:\nTicker: X", "Token:\nTicker: X"),
        ('Passphrase: "a b" c', 'Passphrase: "***" c'),
        ("SECRET=abc;TICKER=X", "SECRET=***;TICKER=X"),
        ("user token = abc", "user token = ***"),
        ("compra passphrase: foo bar", "compra passphrase: *** bar"),
        ("mytoken: abc token", "mytoken: abc token"),
        ("the token sale", "the token sale"),
        ("Token: a\nSecret: b\nPassword: c", "Token: ***\nSecret: ***\nPassword: ***"),
    ],
)
def test_values_behind_a_secrets_name_are_hidden(text: str, masked: str) -> None:
    """In every form a message has; the rest stays as it was, and masking twice changes nothing."""
    assert mask_named(text) == masked
    assert mask_named(masked) == masked


def test_known_secrets_are_hidden_anywhere() -> None:
    """Also where nothing names them; very short ones would hit innocent text."""
    assert mask_values("a s3cr3t-1 b 42", ["s3cr3t-1", "42"]) == "a *** b 42"
