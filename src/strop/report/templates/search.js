// Zoom and pan of trees; without it they scroll.
(() => {
  for (const box of document.querySelectorAll(".canvas")) {
    const svg = box.querySelector("svg.tree");
    const whole = svg.viewBox.baseVal;
    const size = { width: whole.width, height: whole.height };
    const fit = () => { Object.assign(view, { x: 0, y: 0, ...size }); show(); };
    const view = { x: 0, y: 0, ...size };
    const show = () => svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
    const zoom = (factor, px, py) => {
      const width = Math.min(size.width * 4, Math.max(60, view.width * factor));
      const scale = width / view.width;
      view.x += (view.width - view.width * scale) * px;
      view.y += (view.height - view.height * scale) * py;
      view.width = width; view.height *= scale; show();
    };
    svg.setAttribute("preserveAspectRatio", "xMinYMin meet");
    box.classList.add("live");
    // A large tree opens at its own size around the answer; a small one as a whole.
    let begun = false;
    const begin = () => {
      const area = box.getBoundingClientRect();
      if (begun || !area.width) return;
      begun = true;
      if (size.width <= area.width && size.height <= area.height) {
        box.style.height = `${Math.max(120, size.height + 8)}px`;
        Object.assign(view, { x: 0, y: 0, width: area.width, height: Math.max(112, size.height) });
      } else {
        const answer = svg.querySelector(".chosen");
        const [x, y] = answer ? [answer.cx.baseVal.value, answer.cy.baseVal.value] : [0, 0];
        Object.assign(view, { x: Math.max(0, x - area.width / 2), y: Math.max(0, y - area.height / 2), width: area.width, height: area.height });
      }
      show();
    };
    begin();
    const details = box.closest("details");
    if (details) details.addEventListener("toggle", begin);
    box.addEventListener("wheel", (event) => {
      event.preventDefault();
      const area = box.getBoundingClientRect();
      zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, (event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height);
    }, { passive: false });
    const centre = (mark) => {
      const area = box.getBoundingClientRect();
      const circle = mark && (mark.matches("circle") ? mark : mark.querySelector("circle"));
      if (!circle || !area.width) return;
      const scale = view.width / area.width > 2 ? area.width / view.width : 1; // from afar, at its own size
      view.width *= scale; view.height *= scale;
      view.x = circle.cx.baseVal.value - view.width / 2; view.y = circle.cy.baseVal.value - view.height / 2;
      show();
    };
    let held = null;
    const fingers = new Map();
    box.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, event);
      held = { x: event.clientX, y: event.clientY, moved: false };
    });
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, (event) => fingers.delete(event.pointerId));
    const pinch = (event) => { // two fingers: zoom about their middle
      const other = [...fingers.values()].find((one) => one.pointerId !== event.pointerId);
      const last = fingers.get(event.pointerId);
      const far = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      const area = box.getBoundingClientRect();
      const middle = (name, start, size) => ((event[name] + other[name]) / 2 - start) / size;
      zoom(far(last) / far(event), middle("clientX", area.left, area.width), middle("clientY", area.top, area.height));
      fingers.set(event.pointerId, event);
      held.moved = true;
    };
    box.addEventListener("pointermove", (event) => {
      if (!held) return;
      if (fingers.size > 1 && fingers.has(event.pointerId)) { pinch(event); return; }
      const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
      if (!held.moved && Math.hypot(dx, dy) < 4) return;
      const area = box.getBoundingClientRect();
      const scale = Math.max(view.width / area.width, view.height / area.height);
      view.x -= dx * scale; view.y -= dy * scale;
      held = { x: event.clientX, y: event.clientY, moved: true };
      show();
    });
    box.addEventListener("click", (event) => { if (held && held.moved) event.preventDefault(); held = null; }, true);
    addEventListener("pointerup", () => { if (held && !held.moved) held = null; else setTimeout(() => { held = null; }); });
    const buttons = box.parentElement.querySelector(".zoom");
    buttons.hidden = false;
    buttons.addEventListener("click", (event) => {
      const act = event.target.dataset.zoom;
      if (act === "fit") fit();
      else if (act === "answer") centre(svg.querySelector(".chosen"));
      else if (act) zoom(act === "in" ? 1 / 1.4 : 1.4, 0.5, 0.5);
    });
    // The program that is shown below is marked, with the way to it from its root.
    const links = new Map([...svg.querySelectorAll("a")].map((link) => [link.getAttribute("href"), link]));
    const branches = new Map([...svg.querySelectorAll(".branch")].map((branch) => [branch.dataset.to, branch]));
    const mark = () => {
      for (const one of svg.querySelectorAll(".at, .way")) one.classList.remove("at", "way");
      const link = links.get(location.hash);
      if (!link) return;
      link.classList.add("at");
      for (let place = link.getAttribute("href").split("-").pop(); branches.has(place); place = branches.get(place).dataset.from) branches.get(place).classList.add("way");
      const [dot, area] = [link.querySelector("circle").getBoundingClientRect(), box.getBoundingClientRect()];
      if (dot.left < area.left || dot.right > area.right || dot.top < area.top || dot.bottom > area.bottom) centre(link);
    };
    addEventListener("hashchange", mark);
    mark();
  }
})();
