"use strict";

(() => {
  let state = address.fromText(location.hash.slice(1));
  let written = null;
  let rows = [];
  let passed = null;
  let filtered = "";
  const dialogs = { one: byId("one"), several: byId("several"), keys: byId("keys") };

  /** The address as the state has it; what is opened can be left with the browser's Back. */
  function write(opens = false) {
    written = address.toText(state);
    if (location.hash.slice(1) === written) return;
    history[opens ? "pushState" : "replaceState"](null, "", `#${written}`);
  }

  function metricShown() {
    if (state.sort) return state.sort;
    return table.named.has("score") ? "score" : "";
  }

  /** Everything on the page from the state; runs are filtered and sorted only where that has changed. */
  function show() {
    const wanted = address.toText({ ...state, chosen: [], open: "" });
    if (wanted !== filtered || !passed) {
      filtered = wanted;
      passed = table.pass(state.filters, state.words);
      rows = table.order(state.sort, state.down).filter((row) => passed.fails[row] === 0);
      facets.show(state, passed);
      const count = rows.length.toLocaleString("en");
      byId("count").textContent = rows.length === table.size ? `${count} runs` : `${count} of ${table.size.toLocaleString("en")} runs`;
      byId("none").hidden = rows.length > 0;
      showChips();
      showSort();
    }
    grid.show(rows, state, metricShown());
    showTray();
    showDialogs();
  }

  function showChips() {
    const chips = [...state.filters].map(([name, filter]) => chip(facets.inWords(name, filter), () => filterBy(name, null)));
    if (state.words.trim()) chips.push(chip(`“${state.words.trim()}”`, () => search("")));
    if (chips.length > 1) chips.push(make("button", { type: "button", class: "plain", onclick: clearAll }, "Clear all"));
    byId("chips").replaceChildren(...chips);
    byId("filters").dataset.count = state.filters.size || "";
  }

  function chip(words, remove) {
    return make("button", { type: "button", class: "chip", title: words, "aria-label": `Remove filter ${words}`, onclick: () => {
      remove();
      byId("count").scrollIntoView({ block: "nearest" });
    } }, make("span", {}, words), make("span", { "aria-hidden": "true" }, "✕"));
  }

  function showSort() {
    byId("sort").value = state.sort;
    const button = byId("direction");
    const words = state.sort ? (state.down ? "Largest first" : "Smallest first") : state.down ? "Newest first" : "Oldest first";
    button.setAttribute("aria-pressed", state.down);
    button.setAttribute("aria-label", words);
    button.title = `${words} (s)`;
    if (document.activeElement !== byId("words")) byId("words").value = state.words;
  }

  function showTray() {
    const tray = byId("tray");
    tray.hidden = state.chosen.length === 0;
    document.body.classList.toggle("choosing", !tray.hidden);
    byId("compare").disabled = state.chosen.length < 2;
    byId("compare").textContent = state.chosen.length < 2 ? "Choose one more" : `Compare ${state.chosen.length}`;
    byId("chosen").replaceChildren(...state.chosen.map((row) => {
      const title = table.title(row);
      const file = table.thumbnail(row);
      return make("button", { type: "button", title: `Leave ${title} out`, "aria-label": `Leave ${title} out`, onclick: () => choose(row) },
        file && !table.failed(row) ? make("img", { src: file, alt: "" }) : make("span", {}, title));
    }));
  }

  function showDialogs() {
    const opened = state.open && state.open !== "compare" ? table.rowOf.get(state.open) : undefined;
    present(dialogs.one, opened, () => viewer.one(dialogs.one, opened, { step, choose, chosen: state.chosen.includes(opened) }));
    const key = state.open === "compare" ? state.chosen.join() : undefined;
    present(dialogs.several, key, () => viewer.several(dialogs.several, state.chosen, { drop: choose }));
  }

  /** Show a dialog of something, or close it where that is undefined. */
  function present(dialog, what, fill) {
    const key = what === undefined ? "" : String(what);
    if (dialog.dataset.of === key) return;
    dialog.dataset.of = key;
    if (!key) return void (dialog.open && dialog.close());
    const focused = dialog.open && dialog.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    fill();
    dialog.scrollTop = 0;
    if (!dialog.open) dialog.showModal();
    const again = focused && dialog.querySelector(`[aria-label="${CSS.escape(focused)}"]:not([disabled])`);
    (again || dialog.querySelector("h2")).focus();
  }

  function change(part, opens = false) {
    state = { ...state, ...part };
    write(opens);
    show();
  }

  function filterBy(name, filter) {
    const filters = new Map(state.filters);
    if (filter) filters.set(name, filter);
    else filters.delete(name);
    change({ filters });
  }

  function search(words) {
    if (document.activeElement !== byId("words")) byId("words").value = words;
    change({ words });
  }

  function clearAll() {
    byId("words").value = "";
    change({ words: "", filters: new Map() });
    byId("runs").focus();
  }

  /** Choose a run for comparison, or leave it out; returns whether it is chosen now. */
  function choose(row) {
    const chosen = state.chosen.includes(row) ? state.chosen.filter((other) => other !== row) : [...state.chosen, row];
    if (chosen.length > address.MOST) {
      say(`A comparison has ${address.MOST} runs at most`);
      byId("tray").classList.remove("full");
      void byId("tray").offsetWidth;
      byId("tray").classList.add("full");
      return false;
    }
    const open = state.open === "compare" && chosen.length < 2 ? "" : state.open;
    change({ chosen, open });
    say(`${chosen.length} chosen for comparison`);
    return chosen.includes(row);
  }

  function step(by) {
    const next = grid.beside(table.rowOf.get(state.open), by);
    if (next === undefined) return;
    change({ open: table.id(next) });
  }

  function compare() {
    if (state.chosen.length >= 2) change({ open: "compare" }, true);
    else say("Choose two runs at least: space on a run");
  }

  function close() {
    const row = table.rowOf.get(state.open);
    if (state.open) change({ open: "" });
    if (row !== undefined) grid.focusRow(row);
  }

  function theme() {
    const root = document.documentElement;
    const button = byId("theme");
    const named = { "": "as the system", light: "light", dark: "dark" };
    const set = (name) => {
      if (name) root.dataset.theme = name;
      else delete root.dataset.theme;
      button.setAttribute("aria-label", `Colours: ${named[name]}`);
      button.title = `Colours: ${named[name]}`;
    };
    let kept = "";
    try {
      kept = localStorage.getItem("interpret-runs-theme") || "";
    } catch { /* a browser that keeps nothing for pages from disk */ }
    set(kept in named ? kept : "");
    button.addEventListener("click", () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const turns = dark ? ["", "light", "dark"] : ["", "dark", "light"];
      const next = turns[(turns.indexOf(root.dataset.theme || "") + 1) % turns.length];
      set(next);
      say(`Colours: ${named[next]}`);
      try {
        localStorage.setItem("interpret-runs-theme", next);
      } catch { /* as above */ }
    });
  }

  function sortOptions() {
    const option = (column) => make("option", { value: column.name }, column.name);
    const metrics = table.columns.filter((column) => column.kind === "metric");
    const others = table.columns.filter((column) => column.kind !== "metric" && !column.twin && column.name !== "error");
    byId("sort").append(make("option", { value: "" }, "As they were made"));
    for (const [label, columns] of [["Metrics", metrics], ["Settings", others]]) {
      if (columns.length) byId("sort").append(make("optgroup", { label }, ...columns.map(option)));
    }
  }

  function onKey(event) {
    const typing = event.target.matches("input:not([type=checkbox], [type=radio], [type=range]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (dialogs.one.open) {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && !event.target.matches("input")) {
        event.preventDefault();
        step(by);
      }
      return;
    }
    if (dialogs.several.open || dialogs.keys.open) return;
    if (event.key === "Escape" && event.target === byId("words")) {
      if (state.words) {
        event.preventDefault();
        byId("words").value = "";
        search("");
      } else byId("runs").focus();
    } else if ((event.key === "Enter" || event.key === "ArrowDown") && event.target === byId("words")) {
      event.preventDefault();
      byId("runs").focus();
    } else if (typing) return;
    else if (event.key === "/") {
      event.preventDefault();
      byId("words").focus();
      byId("words").select();
    } else if (event.key === "c") compare();
    else if (event.key === "s") change({ down: !state.down });
    else if (event.key === "?") dialogs.keys.showModal();
  }

  function start() {
    document.title = `${table.data.name} · gallery`;
    byId("name").textContent = table.data.name;
    sortOptions();
    theme();
    facets.start(filterBy);
    grid.start({ open: (row) => change({ open: table.id(row) }, true), choose });
    byId("search").addEventListener("submit", (event) => event.preventDefault());
    byId("words").addEventListener("input", (event) => search(event.target.value));
    byId("sort").addEventListener("change", (event) => change({ sort: event.target.value, down: event.target.value !== "" }));
    byId("direction").addEventListener("click", () => change({ down: !state.down }));
    byId("link").addEventListener("click", () => copy(location.href, byId("link")));
    byId("help").addEventListener("click", () => dialogs.keys.showModal());
    byId("compare").addEventListener("click", compare);
    byId("unchoose").addEventListener("click", () => {
      change({ chosen: [] });
      byId("runs").focus();
    });
    byId("none").querySelector("button").addEventListener("click", clearAll);
    byId("filters").addEventListener("click", () => {
      const open = document.body.classList.toggle("filtering");
      byId("filters").setAttribute("aria-expanded", open);
      if (open) byId("facets").querySelector("summary")?.focus();
    });
    for (const dialog of Object.values(dialogs)) {
      dialog.addEventListener("click", (event) => {
        if (event.target === dialog || event.target.closest(".close")) dialog.close();
      });
      dialog.addEventListener("close", () => {
        if (dialog !== dialogs.keys && dialog.dataset.of) close();
      });
    }
    document.addEventListener("keydown", onKey);
    const follow = () => {
      if (location.hash.slice(1) === written) return;
      state = address.fromText(location.hash.slice(1));
      written = location.hash.slice(1);
      show();
    };
    addEventListener("hashchange", follow);
    addEventListener("popstate", follow);
    show();
    (window.requestIdleCallback || setTimeout)(() => table.searched());
    if (!window.GALLERY) byId("count").textContent = "data.js is not beside this page: write the gallery again with task=gallery";
  }

  start();
})();
