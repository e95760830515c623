"""MLflow's pages of registered models, worked as a person works them: found by role and by the text on them."""

import re


class MlflowUi:
    """The UI of a tracking server in one window. Every method ends when the page shows what it promises."""

    def __init__(self, window, uri):
        from playwright.sync_api import expect

        self.window = window
        self.page = window.page
        self.uri = uri
        self.expect = expect

    def open_model(self, name):
        """The registered model's page: its versions in a table."""
        self._open(f"/#/models/{name}", name)
        self.expect(self.page.get_by_role("row", name=re.compile("^Version 1 "))).to_be_visible()

    def open_version(self, name, version):
        """One version's page: its tags, its description."""
        self._open(f"/#/models/{name}/versions/{version}", f"Version {version}")
        # The link to the run comes last.
        self.expect(self.page.get_by_role("main").locator("a[href*='/runs/']")).to_be_visible()

    def move_alias(self, version, alias):
        """On the model's page, give the alias to a version that bears none. The dialog says whom it is taken from."""
        self._row(version).get_by_role("cell").nth(self._column("Aliases")).get_by_role("button").click()
        dialog = self.page.get_by_role("dialog", name=f"Add/Edit alias for model version {version}")
        dialog.get_by_role("combobox").fill(alias)
        dialog.get_by_role("combobox").press("Enter")
        dialog.get_by_role("button", name="Save aliases").click()
        self.expect(dialog).to_be_hidden()

    def aliases(self, version):
        """What the model's page shows as the version's aliases."""
        cell = self._row(version).get_by_role("cell").nth(self._column("Aliases"))
        return [text.removeprefix("@").strip() for text in cell.get_by_role("status").all_inner_texts()]

    def description(self, version):
        """What the model's page shows of the version's description: as much as there is room for."""
        return self._row(version).get_by_role("cell").nth(self._column("Description")).inner_text()

    def use_older_ui(self):
        """Turn "New model registry UI" off: the pages show stages then, and no aliases."""
        self.page.get_by_role("switch", name="New model registry UI").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Disable").click()
        self.expect(self.page.get_by_role("switch", name="New model registry UI")).not_to_be_checked()

    def move_to_stage(self, stage, *, was="None", archive_others=False):
        """On a version's page of the older UI, choose a stage in its menu and say OK."""
        main = self.page.get_by_role("main")
        main.get_by_role("status").filter(has_text=was).click()
        self.page.get_by_role("menuitem", name="Transition to").filter(has_text=stage).click()
        dialog = self.page.get_by_role("dialog", name="Stage transition")
        if archive_others:
            dialog.get_by_role("checkbox").check()
        dialog.get_by_role("button", name="OK").click()
        self.expect(main.get_by_role("status").filter(has_text=stage)).to_be_visible()

    def stages(self):
        """What the model's page of the older UI shows as the versions' stages."""
        rows = self.page.get_by_role("row", name=re.compile("^Version [0-9]")).all()
        column = self._column("Stage")
        texts = [row.get_by_role("cell").all_inner_texts() for row in rows]
        return {int(text[self._column("Version")].removeprefix("Version ")): text[column].strip() for text in texts}

    def tag(self, name):
        """On a version's page, the value of one of its tags."""
        main = self.page.get_by_role("main")
        section = main.get_by_role("button", name="Tags")
        if section.get_attribute("aria-expanded") != "true":
            section.click()
        row = main.get_by_role("row", name=re.compile(f"^{re.escape(name)} "))
        self.expect(row).to_be_visible()
        return row.get_by_role("cell").nth(1).inner_text()

    def text(self):
        """What a person can read on the page."""
        return self.page.get_by_role("main").inner_text()

    def _open(self, place, heading):
        # A new document each time: the UI asks the registry again only when it is loaded anew.
        self.page.goto("about:blank")
        self.page.goto(self.uri + place)
        self.expect(self.page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
        self._close_assistant()

    def _close_assistant(self):
        """The panel that MLflow opens at the first visit covers a quarter of the page."""
        panel = self.page.get_by_role("textbox", name="Ask a question")
        if panel.is_visible():
            self.page.get_by_role("button", name="Close").click()
            self.expect(panel).to_be_hidden()

    def _row(self, version):
        return self.page.get_by_role("row", name=re.compile(f"^Version {version} "))

    def _column(self, title):
        """The place of a column in the table of versions; the page has a table of tags too."""
        version = self.page.get_by_role("columnheader", name="Version", exact=True)
        titles = self.page.get_by_role("row").filter(has=version).get_by_role("columnheader").all_inner_texts()
        return [text.strip() for text in titles].index(title)
