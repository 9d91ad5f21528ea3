"""How this worker's browsers are started: which flags, as whom, with the sandbox wherever it can be had."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capture.browser import BrowserStartError, LiveBrowser
from capture.chart import Origin
from capture.contexts import Warmth
from capture.launcher import Account, BrowserProgram, launch
from capture.profile import create_profile
from capture.site import Site
from runtime.clock import Clock
from runtime.logging import get_logger

PAGE_HEAP_MB: Final = 1024
"""A page whose scripts keep more than this crashes, and nothing else with it."""

_SANDBOX_REFUSED: Final = "No usable sandbox"
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - asked for its size only
_SHARED_MEMORY_LEAST_BYTES: Final = 512 * 1024 * 1024

_OFF: Final = (
    "AcceptCHFrame,AutofillServerCommunication,DialMediaRouteProvider,GlobalMediaControls,MediaRouter,"
    "OptimizationHints,PaintHolding,Translate"
)

_FLAGS: Final = (
    "--headless",
    "--no-startup-window",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-back-forward-cache",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-field-trial-config",
    "--disable-gpu",
    "--disable-hang-monitor",
    "--disable-ipc-flooding-protection",
    "--disable-sync",
    "--block-new-web-contents",
    "--deny-permission-prompts",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--password-store=basic",
    "--use-mock-keychain",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--lang=en-US",
    "--force-prefers-reduced-motion",
    # WebRTC asks no resolver: without this, pages could send datagrams to any address
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    f"--disable-features={_OFF}",
)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BrowserPlan:
    """`profiles` is the folder that holds the browsers' temporary folders."""

    executable: Path
    account: Account | None
    profiles: Path
    origin: Origin
    site: Site
    warmth: Warmth


class BrowserStarter:
    """Starts browsers. Once the system has refused the sandbox, it is left off, and the log says so."""

    def __init__(self, plan: BrowserPlan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._sandboxed = True

    async def start(self) -> LiveBrowser:
        """About 0.1 s. Raises `BrowserStartError`."""
        try:
            return await self._start()
        except BrowserStartError as error:
            if not self._sandboxed or _SANDBOX_REFUSED not in error.stderr:
                raise
        log.warning("browser_sandbox_unavailable", advice="allow unprivileged user namespaces")
        self._sandboxed = False
        return await self._start()

    async def _start(self) -> LiveBrowser:
        plan = self._plan
        account = plan.account
        rules = resolver_rules(plan.origin, plan.site)
        flags = [*_FLAGS, *_memory_flags(), f"--host-resolver-rules={rules}"]
        if not self._sandboxed:
            flags.append("--no-sandbox")
        profile = create_profile(plan.profiles, (account.uid, account.gid) if account else None)
        try:
            process = launch(BrowserProgram(plan.executable, tuple(flags), account), profile)
        except OSError as error:
            profile.remove()
            raise BrowserStartError(f"{type(error).__name__}: {error.strerror}") from error
        browser = await LiveBrowser.start(process, plan.warmth, self._clock)
        log.info("browser_started", pid=process.popen.pid, sandboxed=self._sandboxed)
        return browser


def _memory_flags() -> list[str]:
    """Containers give little shared memory unless asked; pictures then go through files instead."""
    flags = [f"--js-flags=--max-old-space-size={PAGE_HEAP_MB}"]
    shared_bytes = shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.exists() else 0
    return [*flags, "--disable-dev-shm-usage"] if shared_bytes < _SHARED_MEMORY_LEAST_BYTES else flags


def resolver_rules(origin: Origin, site: Site) -> str:
    """Every name and address but the site's own leads nowhere: for pages, sockets and redirects alike.

    The first rule that matches wins, and a rule may hold a port where an exclusion may not.
    """
    rules = [f"MAP {origin.authority} {origin.authority}"]
    if site.includes(origin):
        rules = [f"EXCLUDE {site.domain}", f"EXCLUDE *.{site.domain}"]
    return ", ".join([*rules, "MAP * ~NOTFOUND"])
