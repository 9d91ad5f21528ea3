"""What a person sees once everything runs."""

from deploy.local.addresses import Addresses
from deploy.local.demo import Demo
from deploy.local.layout import Layout

# On one line and without quotes of any shell's own, so that it can be pasted anywhere.
_ALERT = (
    '{"indicator": "ADX DEF [APIDEVS]", "ticker": "BINANCE:BTCUSDT", "price": 67890.5, '
    '"signal_type": "Divergencia Alcista 🟢", "interval": "15"}'
)

_TEMPLATE = """\

The pipeline runs. It works for the demo tenant until you press Ctrl-C; its data stays in {folder}.

  Webhook       {webhook_url}
  API           {api_url}

Send an alert:

  curl -sS '{webhook_url}?chart={chart_id}' -d '{alert}'

See what became of it, with a link to the picture:

  curl -sS -H 'Authorization: Bearer {user_key}' '{api_url}/api/users/{user_id}/signals?limit=5'

  Logs          {logs}/
  For programs  {demo} has the addresses and the platform's key
  Stop          Ctrl-C

"""


def banner(layout: Layout, addresses: Addresses, demo: Demo) -> str:
    """The text, with the demo tenant's secrets in it."""
    return _TEMPLATE.format(
        folder=layout.folder,
        webhook_url=demo.webhook_url(addresses),
        api_url=addresses.api_origin,
        chart_id=demo.chart_id,
        alert=_ALERT,
        user_key=demo.user_key.get_secret_value(),
        user_id=demo.user_id,
        logs=layout.logs,
        demo=layout.demo,
    )
