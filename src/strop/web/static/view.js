// Keys of the arena, and pages that follow a run. Pages work without this.
(() => {
  const keys = document.querySelector("[data-keys]");
  if (keys) {
    const recall = () => { try { return localStorage.getItem("strop-keys") !== "off"; } catch { return true; } };
    keys.checked = recall();
    keys.closest("label").hidden = false;
    keys.addEventListener("change", () => { try { localStorage.setItem("strop-keys", keys.checked ? "on" : "off"); } catch { /* private mode */ } });
    let sent = false;
    addEventListener("pageshow", () => { sent = false; });
    document.addEventListener("keydown", (event) => {
      if (!keys.checked || sent || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      // In a scrolling program the arrows scroll.
      if (event.target.closest("input:not([type=checkbox]), textarea, select, pre")) return;
      for (const button of document.querySelectorAll("button[data-key]:enabled")) {
        if (button.dataset.key.split(" ").includes(event.key)) {
          event.preventDefault();
          sent = true;
          button.click();
          return;
        }
      }
    });
  }

  const address = document.body.dataset.live;
  if (address) {
    let before = null;
    const look = async () => {
      try {
        const answer = await (await fetch(address)).json();
        if (before !== null && (answer.state !== before || !answer.written)) { location.reload(); return; }
        before = answer.state;
      } catch { /* the server may be away for a while */ }
      setTimeout(look, 1000);
    };
    look();
  }
})();
