"""Dagster's web interface through an operator's eyes and hands.

Where to click is here, once for all tests. What is expected of it stands in the tests. Elements are
found by what they say or are to a reader; Dagster's class names change with every version.
"""

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Of one step: a page with its data, a run, a tick of the daemon. A loaded machine's patience.
PATIENCE_SECONDS = 60


class Interface:
    """One browser tab, standing at Dagster's first page."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        page.set_default_timeout(PATIENCE_SECONDS * 1_000)
        expect.set_options(timeout=PATIENCE_SECONDS * 1_000)
        self.go_to("Overview")

    def go_to(self, place: str) -> None:
        """Open one of the places in the navigation: Overview, Runs, Catalog, Jobs, Lineage."""
        self.page.goto(self.url)
        self.link(place).click()

    def open_asset(self, name: str) -> None:
        self.go_to("Catalog")
        self.link(name).click()

    def open_job(self, name: str) -> None:
        self.go_to("Jobs")
        self.page.get_by_text(name, exact=True).click()

    def materialize_all(self, dealer: str, dates: str | None = None) -> None:
        """Launch every asset in sight; ``dates`` such as ``[2026-11-15...2026-11-21]``, else today.

        One partition becomes a run, more of them a backfill.
        """
        self.page.get_by_role("button", name="Materialize all…").click()
        dialog = self.page.get_by_role("dialog").filter(has_text="Partition selection")
        # Dagster warns of what it did not fetch itself, as after a restore.
        sure = self.page.get_by_role("button", name="Confirm")
        expect(dialog.or_(sure).first).to_be_visible()
        if sure.is_visible():
            sure.click()
        if dates is None:
            dialog.get_by_role("button", name="Latest").click()
        else:
            field = dialog.get_by_placeholder("ex: ")
            field.fill(dates)
            field.press("Tab")
        dialog.get_by_text("Select a partition or create one").click()
        self.page.get_by_role("menuitem").filter(has_text=dealer).click()
        # The list closes, the dialog stays.
        self.page.keyboard.press("Escape")
        dialog.get_by_role("button", name="Launch").click()
        expect(dialog).to_be_hidden()

    def open_launched_run(self) -> str:
        """Follow the note that says what was launched; returns the run's id."""
        self.link("View").click()
        self.page.wait_for_url("**/runs/*")
        return self.page.url.rpartition("/")[2].partition("?")[0]

    def open_newest_backfill(self) -> None:
        self.go_to("Runs")
        self.page.get_by_text("Backfills", exact=True).click()
        self.page.locator("a[href*='/runs/b/']").first.click()

    def link(self, text: str) -> Locator:
        """The link with this text; its icon has a name of its own."""
        return self.page.get_by_role("link").filter(has=self.page.get_by_text(text, exact=True))

    def says(self, text: str) -> Locator:
        """Where the page says exactly this."""
        return self.page.get_by_text(text, exact=True).first

    def cells(self) -> list[str]:
        """The texts of the page's first table, cell by cell."""
        return [cell.inner_text().strip() for cell in self.page.locator("table td").all()]
