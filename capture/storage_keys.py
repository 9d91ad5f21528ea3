"""How pictures are named."""

import hashlib
import hmac
from datetime import timedelta

from pydantic import SecretStr

from runtime.pictures import day_folder
from schemas.plans import PLAN_TERMS
from schemas.records import CaptureRequest


def key_of_request(secret: SecretStr, request: CaptureRequest) -> str:
    """The same for the same request, and not to be guessed without the secret.

    In the retention class of the request's plan. Its day is the one on which the picture was asked for, which
    is never later than the one it is taken on: no link outlives its picture.
    """
    asked_at = request.capture_by - timedelta(seconds=PLAN_TERMS[request.plan].capture_within_s)
    message = f"{request.signal_id}|{request.request_no}".encode()
    name = hmac.digest(secret.get_secret_value().encode(), message, hashlib.sha256).hex()
    return f"{day_folder(request.plan, asked_at.date())}/{name}.png"
