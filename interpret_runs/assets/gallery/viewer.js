"use strict";

/** One run in full, and several side by side. */
const viewer = (() => {
  const NONE = "–";

  function head(id, title, ...tools) {
    return make("header", { class: "top" }, make("h2", { id, tabindex: "-1" }, title), ...tools,
      make("button", { type: "button", class: "close", "aria-label": "Close" }, "✕"));
  }

  function settings() {
    return table.columns.filter((column) => column.kind !== "metric" && column.name !== "error");
  }

  function rowsOf(pairs) {
    return pairs.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, ...broken(name)), make("td", {}, value)));
  }

  function section(title, pairs, closed = false) {
    if (!pairs.length) return null;
    const body = make("table", { class: "facts" }, make("tbody", {}, ...rowsOf(pairs)));
    return make("details", { open: !closed }, make("summary", {}, title), body);
  }

  function command(row) {
    const text = table.command(row);
    const button = make("button", { type: "button", onclick: () => copy(text, button) }, "Copy");
    return make("div", { class: "command" }, make("h3", {}, "Run it again"), make("div", {}, make("code", {}, text), button));
  }

  function files(row) {
    const links = [...table.artefacts(row)].map(([name, path]) => make("a", { href: table.link(path), target: "_blank", rel: "noopener" }, name));
    if (table.failed(row)) links.push(make("a", { href: table.link(`logs/${table.id(row)}.log`), target: "_blank", rel: "noopener" }, "log"));
    return links.length ? make("p", { class: "files" }, "Files: ", ...links) : null;
  }

  function one(dialog, row, { step, choose, chosen }) {
    const { figures, controls } = stage.build([row]);
    const metrics = table.columns.filter((column) => column.kind === "metric" && column.text(row));
    const own = settings().filter((column) => column.text(row));
    const earlier = make("button", { type: "button", class: "arrow", "aria-label": "Previous run", onclick: () => step(-1), disabled: grid.beside(row, -1) === undefined }, "‹");
    const later = make("button", { type: "button", class: "arrow", "aria-label": "Next run", onclick: () => step(1), disabled: grid.beside(row, 1) === undefined }, "›");
    const add = make("button", { type: "button", "aria-pressed": String(chosen), onclick: () => {
      const now = choose(row);
      add.setAttribute("aria-pressed", String(now));
      add.textContent = now ? "In the comparison" : "Add to comparison";
    } }, chosen ? "In the comparison" : "Add to comparison");
    dialog.replaceChildren(
      head("one-title", table.title(row), earlier, later),
      make("div", { class: "one" },
        make("div", { class: "left" }, figures[0], controls),
        make("div", { class: "right" },
          make("p", { class: "line-of" }, table.line(row)),
          table.failed(row) ? make("p", { class: "reason" }, make("b", {}, "Failed. "), table.text(row, "error")) : null,
          section("Metrics", metrics.map((column) => [column.name, column.text(row)])),
          section("Settings that vary", own.map((column) => [column.name, column.text(row)])),
          section("The same in all runs", table.data.same.map(([name, value]) => [name, String(value)]), true),
          command(row), files(row),
          make("p", { class: "quiet" }, `run ${table.id(row)}, finished ${table.data.finished[row]} UTC`),
          add)));
  }

  function several(dialog, rows, { drop }) {
    const { figures, controls } = stage.build(rows);
    const all = make("input", { type: "checkbox", onchange: () => dialog.classList.toggle("whole", all.checked) });
    const heads = rows.map((row, place) => make("th", { scope: "col" }, figures[place],
      make("strong", {}, table.title(row)), make("span", { class: "line-of" }, table.line(row)),
      make("button", { type: "button", class: "drop", "aria-label": `Leave ${table.title(row)} out`, onclick: () => drop(row) }, "Leave out")));
    const metrics = table.columns.filter((column) => column.kind === "metric" && rows.some((row) => column.text(row)));
    const told = [...settings(), ...table.columns.filter((column) => column.name === "error")].filter((column) => rows.some((row) => column.text(row)));
    const shared = table.data.same.map(([name, value]) => line(name, rows.map(() => String(value)), false));
    const copies = make("tr", { class: "again" }, make("th", { scope: "row" }, "Run it again"), ...rows.map((row) => {
      const button = make("button", { type: "button", title: table.command(row), onclick: () => copy(table.command(row), button) }, "Copy command");
      return make("td", {}, button);
    }));
    const lines = told.map((column) => line(column.name, rows.map((row) => column.text(row)), true));
    const differ = lines.filter((made) => made.className === "differs").length;
    dialog.replaceChildren(
      head("several-title", `Comparison of ${rows.length} runs`),
      make("div", { class: "settings" }, controls,
        make("label", { class: "all" }, all, make("span", {}, "Show settings that are equal too"))),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs side by side" },
        sized(rows.length, make("table", { class: "compared" },
          make("thead", {}, make("tr", {}, make("td", {}), ...heads)),
          group(differ ? `Settings: ${differ} ${differ === 1 ? "differs" : "differ"}` : "Settings: none differs", rows.length, [...lines, ...shared]),
          group("Metrics", rows.length, metrics.map((column) => line(column.name, rows.map((row) => column.text(row)), false, true))),
          make("tbody", {}, copies)))));
    dialog.classList.remove("whole");
  }

  function sized(count, made) {
    made.style.setProperty("--runs", count);
    return made;
  }

  function group(title, width, lines) {
    if (!lines.length) return null;
    return make("tbody", {}, make("tr", { class: "heading" }, make("th", { scope: "rowgroup", colspan: width + 1 }, title)), ...lines);
  }

  /** A setting, said to differ where it does; a metric, which always does. */
  function line(name, values, varies, measured = false) {
    const differs = varies && new Set(values).size > 1;
    return make("tr", { class: measured ? "measured" : differs ? "differs" : "equal" },
      make("th", { scope: "row" }, ...broken(name), differs ? make("span", { class: "unseen" }, " (differs)") : null),
      ...values.map((value) => make("td", {}, value ? (differs ? make("mark", {}, value) : value) : NONE)));
  }

  return { one, several };
})();
