"""Who may send: addresses, seen through trusted proxies, and the sender's certificate."""

from dataclasses import dataclass

from aiohttp import web

from ingest.addresses import AddressList, parse_list
from ingest.certificate import CertificatePolicy, certificate_ok
from ingest.forwarding import client_address
from ingest.refusal import Refusal
from ingest.settings import IngestSection
from schemas.records import Tenant


@dataclass(frozen=True, slots=True)
class SenderPolicy:
    """`allowed` holds for every tenant, beside the tenant's own list. `certificate` None: none is needed."""

    trusted_proxies: AddressList
    allowed: AddressList
    certificate: CertificatePolicy | None

    def address_of(self, request: web.BaseRequest) -> str:
        """The client's, as far as proxies are trusted to know it."""
        peer = request.remote or ""
        return client_address(peer, request.headers.getall("X-Forwarded-For", []), self.trusted_proxies)

    def check(self, request: web.BaseRequest, tenant: Tenant) -> None:
        """Raises `Refusal` 403. For a right token only: an answer tells that the tenant exists."""
        address = self.address_of(request)
        if not (self.allowed.allows(address) and parse_list(tenant.allowed_addresses).allows(address)):
            raise Refusal(403, "address_not_allowed")
        peer_is_trusted = self.trusted_proxies.contains(request.remote or "")
        if not certificate_ok(self.certificate, request.headers, peer_is_trusted=peer_is_trusted):
            raise Refusal(403, "certificate_required")


def sender_policy(settings: IngestSection) -> SenderPolicy:
    certificate = CertificatePolicy(
        settings.certificate_verify_header,
        settings.certificate_subject_header,
        subject=settings.certificate_subject,
    )
    return SenderPolicy(
        trusted_proxies=parse_list(settings.entries("trusted_proxies")),
        allowed=parse_list(settings.entries("allowed_addresses")),
        certificate=certificate if settings.certificate_required else None,
    )
