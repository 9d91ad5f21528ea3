"""Any message can be tried, and the answer is about the signal that would be published."""

from hypothesis import given
from hypothesis import strategies as st

from processors.indicators import indicator_folders
from processors.indicators.files import compile_book, read_files
from processors.indicators.trial import Sample, try_message
from schemas.records import ParseStatus
from tests.support.webhooks import RECEIVED_AT, parse

FILES = read_files(*indicator_folders(None))
BOOK = compile_book(FILES)
PIECES = st.sampled_from(
    [
        *("ADX DEF", "Ticker: ", "🪙 ", "OKX:OP", "Precio=", "💰", "1,5", "Señal: ", "BUY", "🔴", "\n", ";"),
        *("{", "}", '"price":', "time", "chart: ", '"', ",", "\0", "{{x}}", "NaN"),
    ]
)
BODIES = st.one_of(
    st.binary(max_size=60), st.lists(PIECES, max_size=14).map(lambda parts: "".join(parts).encode())
)


@given(BODIES, st.text("chart=&%A1", max_size=12))
def test_any_message_can_be_tried(body: bytes, query: str) -> None:
    """It never fails, reads as the parser does, and has something to say of what is not parsed."""
    trial = try_message(Sample(body, RECEIVED_AT, query), FILES, BOOK)
    expected = parse(body, query)
    assert trial.signal.source == expected.source
    assert trial.recognised_by[:1] == (
        [expected.source.indicator_file] if expected.source.indicator_file else []
    )
    assert trial.signal.fields == expected.fields
    assert trial.signal.parse_status is ParseStatus.PARSED or trial.advice
    with_value = {row.field for row in trial.rows if row.value is not None} - {"delayed"}
    assert with_value <= {row.field for row in trial.rows if row.origin}
