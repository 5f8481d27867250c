"""The page in a real browser (Chromium, headless): it loads, is clicked, sees a fault arrive, survives a lost line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def page(browser: Any, up: Any) -> Iterator[Any]:
    """The page of the shared fleet; an error in its script, or a breach of its policy, fails the test."""
    opened = browser.new_page(viewport={"width": 1500, "height": 950})
    opened.set_default_timeout(25_000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    opened.goto(up.server.url)
    yield opened
    opened.close()
    assert errors == []


def test_it_shows_every_machine_and_every_realm(page: Any, up: Any) -> None:
    page.wait_for_selector("[data-link=live]")
    shown = {tile.get_attribute("data-machine") for tile in page.query_selector_all("[data-machine]")}
    assert shown == {row["name"] for row in up.get("/api/v1/machines").json()["items"]}
    page.wait_for_selector(".dot.serving[data-realm=web-001]")
    dots = {dot.get_attribute("data-realm") for dot in page.query_selector_all(".dot[data-realm]")}
    assert {f"web-00{number}" for number in range(1, 7)} <= dots


def test_a_click_on_a_realm_shows_its_verdict_claim_by_claim_and_why_it_is_there(page: Any, up: Any) -> None:
    page.click("[data-realm=web-001]")
    page.wait_for_selector("[data-verdict=passed]")
    claims = page.query_selector_all(".claims tr")
    verdict = up.get("/api/v1/realms/web-001").json()["verdict"]["what"]
    assert len(claims) == len(verdict["tiers"])
    assert page.query_selector_all("[data-score]")
    page.click(f".inspector .name:text-is('{up.get('/api/v1/realms/web-001').json()['machine']}')")
    page.wait_for_selector(".inspector h3:has-text('Platform attestation')")


def test_a_click_on_a_machine_shows_its_state(page: Any) -> None:
    page.click("[data-machine=r2-std-01]")
    heading = page.wait_for_selector(".inspector h2")
    assert heading.inner_text().startswith("r2-std-01")
    assert "admitted" in heading.inner_text()


def test_a_fault_that_is_injected_on_the_page_is_seen_to_arrive_and_to_heal(page: Any, up: Any) -> None:
    page.wait_for_selector("[data-link=live]")
    up.post("/clock", speed=1)  # slow enough that what lasts for seconds of the run can be seen on any machine
    page.select_option("[name=fault]", "machine.freeze")
    page.select_option("[name=target]", "r3-std-01")
    page.fill("[name=for]", "25s")
    page.click("[data-act=fault] .strike")
    page.wait_for_selector("[data-machine=r3-std-01].truth-frozen")
    page.wait_for_selector(".timeline .span.tone-chaos.open")
    page.wait_for_selector("[data-machine=r3-std-01].believed-suspect")
    up.post("/clock", speed=20)
    page.wait_for_selector("[data-machine=r3-std-01].truth-up")
    up.wait(up.serving)


def test_an_action_that_is_refused_says_why(page: Any) -> None:
    page.wait_for_selector("[data-link=live]")
    page.fill("[name=for]", "soon")
    page.click("[data-act=fault] .strike")
    assert "is not a duration" in page.wait_for_selector(".toast.bad").inner_text()


def test_a_lost_connection_is_said_and_mended(page: Any) -> None:
    page.wait_for_selector("[data-link=live]")
    page.context.set_offline(True)
    page.evaluate("window.stop()")
    page.wait_for_selector("[data-link=lost]")
    assert "This is the fleet as of" in page.wait_for_selector(".banner").inner_text()
    page.context.set_offline(False)
    page.wait_for_selector("[data-link=live]")


def test_with_a_token_the_page_asks_for_it(browser: Any, bring_up: Callable[..., Any]) -> None:
    token = "correct-horse-battery-staple"
    up = bring_up(token=token)
    page = browser.new_page()
    page.goto(up.server.url)
    page.fill("input[type=password]", token)
    page.click(".banner button")
    page.wait_for_selector("[data-link=live]")
    page.close()


def test_the_bundle_was_built_from_the_sources_beside_it() -> None:
    serve = Path(__file__).resolve().parents[3] / "orchestrator" / "serve"
    sources = serve / "page-src"
    names = [
        "index.html",
        "package-lock.json",
        "vite.config.ts",
        *(f"src/{p.name}" for p in (sources / "src").iterdir()),
    ]
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode() + b"\0" + (sources / name).read_bytes() + b"\0")
    built = (serve / "page" / "sources.sha256").read_text().strip()
    assert built == digest.hexdigest(), "run `npm run build` in orchestrator/serve/page-src"


def test_the_lock_file_names_no_host() -> None:
    lock = Path(__file__).resolve().parents[3] / "orchestrator" / "serve" / "page-src" / "package-lock.json"
    assert '"resolved"' not in lock.read_text()
