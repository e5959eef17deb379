"use strict";

/** The runs as cards. Only those in view are in the page, and the one that has the focus. */
const grid = (() => {
  const host = byId("runs");
  const GAP = 14;
  const CAPTION = 74; // pixels below a picture
  const PLAIN = 84; // pixels in the place of a picture where no run has one
  const MARGIN = 400; // pixels above and below the view that are ready too
  let rows = [];
  let chosen = new Set();
  let metric = "";
  let across = 1;
  let side = 180;
  let active = 0;
  const drawn = new Map();
  const pictured = table.data.main.values.length > 0;
  let open = () => {};
  let choose = () => {};

  function start(actions) {
    ({ open, choose } = actions);
    new ResizeObserver(measure).observe(host);
    addEventListener("scroll", draw, { passive: true });
    addEventListener("resize", draw, { passive: true });
    host.addEventListener("keydown", onKey);
    host.addEventListener("click", onClick);
    host.addEventListener("focusin", (event) => {
      const card = event.target.closest("[data-place]");
      if (card) setActive(Number(card.dataset.place));
      else if (event.target === host && rows.length) focus(active);
    });
  }

  function height() {
    return (pictured ? side : PLAIN) + CAPTION + GAP;
  }

  function measure() {
    const width = host.clientWidth;
    const wanted = width < 480 ? 2 : Math.max(2, Math.floor((width + GAP) / (184 + GAP)));
    const fits = Math.floor((width - (wanted - 1) * GAP) / wanted);
    if (wanted === across && fits === side) return draw();
    across = wanted;
    side = fits;
    host.style.setProperty("--side", `${side}px`);
    host.style.setProperty("--tall", `${pictured ? side : PLAIN}px`);
    clear();
    return draw();
  }

  function clear() {
    for (const line of drawn.values()) line.remove();
    drawn.clear();
  }

  function show(found, state, shownMetric) {
    const before = rows[active];
    const changed = rows !== found || metric !== shownMetric;
    rows = found;
    metric = shownMetric;
    chosen = new Set(state.chosen);
    if (changed) {
      active = Math.max(0, rows.indexOf(before));
      clear();
    } else for (const line of drawn.values()) for (const card of line.children) mark(card, rows[Number(card.dataset.place)]);
    host.hidden = rows.length === 0;
    draw();
  }

  function draw() {
    const lines = Math.ceil(rows.length / across);
    host.style.height = `${Math.max(0, lines * height() - GAP)}px`;
    host.setAttribute("aria-rowcount", lines);
    host.setAttribute("aria-colcount", across);
    const top = host.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((-top - MARGIN) / height()));
    const last = Math.min(lines - 1, Math.floor((innerHeight - top + MARGIN) / height()));
    const kept = Math.floor(active / across);
    for (const [line, element] of drawn) {
      if ((line < first || line > last) && line !== kept) {
        element.remove();
        drawn.delete(line);
      }
    }
    for (let line = first; line <= last; line += 1) add(line);
    if (rows.length) add(kept);
  }

  function add(line) {
    if (drawn.has(line)) return;
    const element = make("div", { role: "row", class: "line", "aria-rowindex": line + 1 });
    element.style.transform = `translateY(${line * height()}px)`;
    for (let place = line * across; place < Math.min(rows.length, (line + 1) * across); place += 1) element.append(card(place));
    drawn.set(line, element);
    const after = [...drawn.keys()].filter((other) => other > line).sort((a, b) => a - b)[0];
    host.insertBefore(element, after === undefined ? null : drawn.get(after));
  }

  function card(place) {
    const row = rows[place];
    const title = table.title(row);
    const column = table.named.get(metric);
    const value = column ? column.text(row) : "";
    const made = make("div", { role: "gridcell", class: table.failed(row) ? "card failed" : "card", tabindex: place === active ? 0 : -1,
      "data-place": place, "aria-colindex": (place % across) + 1 },
      picture(row, title, value),
      make("div", { class: "caption" },
        make("strong", { title }, title),
        make("span", { class: "line-of", title: table.line(row) }, table.line(row)),
        value ? make("span", { class: "value" }, `${metric} `, make("b", {}, value)) : null),
      make("span", { class: "tick", "aria-hidden": "true", title: "Choose for comparison" }));
    mark(made, row);
    return made;
  }

  function picture(row, title, value) {
    const file = table.thumbnail(row);
    if (table.failed(row)) return make("div", { class: "picture" }, make("p", { class: "reason" }, make("b", {}, "Failed. "), table.text(row, "error")));
    if (!file) {
      const words = table.main(row) ? "The picture is missing" : value || "No picture";
      return make("div", { class: "picture" }, make("p", { class: words === value ? "large" : "quiet", "aria-hidden": String(words === value) }, words));
    }
    const image = make("img", { alt: `Picture of ${title}`, decoding: "async", draggable: "false" });
    image.onerror = () => image.replaceWith(make("p", { class: "quiet" }, "The picture is missing"));
    image.src = file;
    return make("div", { class: "picture" }, image);
  }

  function mark(card, row) {
    card.setAttribute("aria-selected", chosen.has(row));
  }

  function setActive(place) {
    if (place === active) return;
    cardAt(active)?.setAttribute("tabindex", -1);
    active = place;
    cardAt(active)?.setAttribute("tabindex", 0);
  }

  function cardAt(place) {
    return host.querySelector(`[data-place="${place}"]`);
  }

  function focus(place) {
    const line = Math.floor(place / across);
    const top = host.getBoundingClientRect().top + line * height();
    const bar = document.querySelector(".bar").getBoundingClientRect().bottom + 8;
    const tray = byId("tray");
    const bottom = innerHeight - (tray.hidden ? 0 : tray.offsetHeight) - 8;
    if (top < bar) scrollBy(0, top - bar);
    else if (top + height() > bottom) scrollBy(0, top + height() - bottom);
    setActive(place);
    draw();
    cardAt(place)?.focus({ preventScroll: true });
  }

  function onClick(event) {
    const card = event.target.closest("[data-place]");
    if (!card) return;
    const place = Number(card.dataset.place);
    focus(place);
    const several = event.target.classList.contains("tick") || event.ctrlKey || event.metaKey || event.shiftKey;
    (several ? choose : open)(rows[place]);
  }

  function onKey(event) {
    const page = across * Math.max(1, Math.floor((innerHeight - 160) / height()));
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, PageUp: -page, PageDown: page };
    const start = active - (active % across);
    if (event.altKey || (event.metaKey && event.key !== "Home" && event.key !== "End")) return;
    if (event.key in steps) {
      const wanted = active + steps[event.key];
      const last = rows.length - 1;
      const column = active % across;
      // Up and down stay in the column, but for the last line, which may be shorter.
      const near = Math.abs(steps[event.key]) === 1 ? Math.min(Math.max(wanted, 0), last) : wanted < 0 ? Math.min(column, last) : Math.min(wanted, last);
      focus(near);
    } else if (event.key === "Home") focus(event.ctrlKey || event.metaKey ? 0 : start);
    else if (event.key === "End") focus(event.ctrlKey || event.metaKey ? rows.length - 1 : Math.min(start + across, rows.length) - 1);
    else if (event.key === "Enter") open(rows[active]);
    else if (event.key === " " || event.key === "x") choose(rows[active]);
    else return;
    event.preventDefault();
  }

  return { start, show, focusRow: (row) => rows.includes(row) && focus(rows.indexOf(row)), beside: (row, step) => rows[rows.indexOf(row) + step] };
})();
