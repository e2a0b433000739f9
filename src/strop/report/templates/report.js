// Everything here is an extra: the page is complete without it.
(() => {
  const root = document.documentElement;
  const remember = (value) => { try { localStorage.setItem("strop-theme", value); } catch { /* file:// may forbid it */ } };
  const recall = () => { try { return localStorage.getItem("strop-theme"); } catch { return null; } };

  const toggle = document.querySelector(".toggle");
  const choose = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme; else delete root.dataset.theme;
    for (const button of toggle.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.set === (root.dataset.theme || "system")));
    }
  };
  toggle.hidden = false;
  toggle.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) { choose(button.dataset.set); remember(button.dataset.set); }
  });
  choose(recall());

  const copy = document.querySelector("[data-copy]");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      const said = copy.textContent;
      try { await navigator.clipboard.writeText(document.querySelector("#command").textContent); copy.textContent = "Copied"; }
      catch { copy.textContent = "Could not copy"; }
      setTimeout(() => { copy.textContent = said; }, 1500);
    });
  }

  const filters = document.querySelector(".filters");
  if (filters) {
    const tasks = [...document.querySelectorAll("details.task")];
    const said = filters.querySelector("output");
    const [words, outcome, status] = ["words", "outcome", "status"].map((name) => filters.querySelector(`[name=${name}]`));
    const apply = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const task of tasks) {
        const shown = wanted.every((word) => task.dataset.words.toLowerCase().includes(word))
          && (!outcome.value || task.dataset.outcome === outcome.value)
          && (!status.value || task.dataset.statuses.split(" ").includes(status.value));
        task.hidden = !shown;
        count += shown;
      }
      said.textContent = `${count} of ${tasks.length} tasks`;
    };
    filters.hidden = false;
    filters.addEventListener("input", apply);
    apply();
  }

  // Paper has no disclosure triangles: open the tables, and close them again afterwards.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.task)")];
    for (const item of opened) item.open = true;
  });
  addEventListener("afterprint", () => { for (const item of opened) item.open = false; });
})();
