"""A person who signs in to a registry."""

from __future__ import annotations

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser import Page

FORM = "document.querySelector('.bm-credentials')"


def wait_form(page: Page, *, refused: bool = False) -> str:
    """Wait until a person is asked for credentials, and return what is said."""
    shown = f"!!{FORM} && !!{FORM}.querySelector('[role=alert]') === {str(refused).lower()}"

    def is_shown() -> bool:
        assert page.state != "failed", page.visible
        return bool(page.script(f"return {shown}"))

    page.wait(is_shown)
    return str(page.script(f"return {FORM}.innerText"))


def sign_in(page: Page, username: str, secret: str) -> None:
    """Fill in the form by the keyboard, and send it."""
    fields = page.driver.find_elements(By.CSS_SELECTOR, ".bm-credentials input")
    for field, value in zip(fields, (username, secret), strict=True):
        field.clear()
        field.send_keys(value)
    fields[-1].send_keys(Keys.ENTER)
